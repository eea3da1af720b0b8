"""What can go wrong with the dirty protocol's bytes, as a tree of typed exceptions.

Raised by every module of this package and caught by the arbiter, the workers, the clients and the control endpoint.
Callers that only want to know "these bytes or this value are no good" catch :exc:`ProtocolError`.

    ProtocolError
    ├── EncodeError     our value cannot be carried (a bug on this side)
    ├── DecodeError     their payload is not a well-formed value (a bug or an attack on the other side)
    ├── FrameError      their stream is not a sequence of frames; the connection is of no more use
    └── MessageError    their payload is a well-formed value, but not the payload of that message type
"""

from __future__ import annotations

import enum

__all__ = ["DecodeError", "EncodeError", "ErrorKind", "FrameError", "MessageError", "ProtocolError"]


class ErrorKind(str, enum.Enum):
    """The reasons for which bytes or values are refused; docs/protocol.md and the golden vectors use these words."""

    TRUNCATED = "truncated"  # the bytes end inside a value or a frame
    TRAILING = "trailing"  # bytes follow the value
    UNKNOWN_CODE = "unknown_code"  # a type code that is not of the protocol
    FORBIDDEN_CODE = "forbidden_code"  # an extension where only v1 is allowed
    KEY_NOT_STR = "key_not_str"  # a dict's key that is not a str value
    BAD_UTF8 = "bad_utf8"  # a str whose bytes are not UTF-8, or a str with surrogates
    BAD_EXTENSION = "bad_extension"  # an extension value whose content breaks its own rules
    TOO_LONG = "too_long"  # a str, bytes or extension value, or a payload, over its limit
    TOO_MANY_ITEMS = "too_many_items"  # a list, dict or set over its limit
    TOO_DEEP = "too_deep"  # nested deeper than the limit (a cyclic value is)
    INT_RANGE = "int_range"  # an integer beyond 64 bits where extensions are forbidden, or over the limit
    UNSUPPORTED = "unsupported"  # a Python value that the protocol has no code for
    BAD_MAGIC = "bad_magic"  # the stream does not start with "GD"
    BAD_VERSION = "bad_version"  # a version other than 1
    UNKNOWN_TYPE = "unknown_type"  # a message type that is not of the protocol
    BAD_PAYLOAD = "bad_payload"  # a payload that lacks a field, or has one of a wrong type

    def __str__(self) -> str:
        return self.value


class ProtocolError(Exception):
    """Base of all errors of this package.

    :ivar kind: why, as an :class:`ErrorKind`
    :ivar reason: why, as a sentence for people
    :ivar offset: the byte at fault, counted from the start of what was decoded (of what was encoded, for
        :exc:`EncodeError`; of the stream, for :exc:`FrameError`); it is the type code of the value at fault
    """

    def __init__(self, kind: ErrorKind, reason: str, offset: int = 0) -> None:
        super().__init__(kind, reason, offset)
        self.kind = kind
        self.reason = reason
        self.offset = offset

    def __str__(self) -> str:
        return f"{self.reason} (at byte {self.offset})"


class EncodeError(ProtocolError):
    """The value cannot be encoded: it is of a type without a code, cyclic, or over a limit."""


class DecodeError(ProtocolError):
    """The payload's bytes are not one well-formed value within the limits."""


class FrameError(ProtocolError):
    """The stream is not a sequence of frames, or ended inside one. Nothing after it can be trusted: close."""


class MessageError(ProtocolError):
    """The payload is well-formed but lacks a field of its message type, or has one of another type."""
