"""The 16 bytes in front of every message: magic, version, type, payload length and request id.

Called by the frame decoder and the message classes; a relay reads nothing else of most frames.
Source: docs/protocol.md, "Frame".
"""

from __future__ import annotations

import enum
import struct
from typing import NamedTuple

from .errors import ErrorKind, FrameError

__all__ = [
    "HEADER_SIZE",
    "MAGIC",
    "MAX_REQUEST_ID",
    "VERSION",
    "Buffer",
    "Header",
    "MessageType",
    "pack_header",
    "unpack_header",
]

Buffer = bytes | bytearray | memoryview  # what encoder and decoder take as bytes

MAGIC = b"GD"
VERSION = 1
HEADER_SIZE = 16
MAX_REQUEST_ID = 2**64 - 1

_HEADER = struct.Struct(">2sBBIQ")
_pack = _HEADER.pack
_unpack_from = _HEADER.unpack_from


class MessageType(enum.IntEnum):
    """The fourth byte of a frame."""

    REQUEST = 0x01
    RESPONSE = 0x02
    ERROR = 0x03
    CHUNK = 0x04
    END = 0x05
    CANCEL = 0x06  # not in v1: the request id names the request that its caller no longer wants
    STASH = 0x10
    STATUS = 0x11
    MANAGE = 0x12


_TYPES = {int(member): member for member in MessageType}


class Header(NamedTuple):
    """A frame's header. `length` is that of the payload in bytes, without the header."""

    type: MessageType
    request_id: int
    length: int


def pack_header(message_type: int, request_id: int, length: int) -> bytes:
    """The 16 bytes for a message; `request_id` is 0 to 2**64-1, `length` 0 to 2**32-1 bytes (else `struct.error`)."""
    return _pack(MAGIC, VERSION, message_type, length, request_id)


def unpack_header(data: Buffer, offset: int = 0, *, at: int = 0) -> Header:
    """Read the header at `offset` of `data`, which must hold 16 bytes from there.

    :param at: where in the stream that offset is, for the error
    :raises FrameError: truncated, bad_magic, bad_version or unknown_type
    """
    try:
        magic, version, code, length, request_id = _unpack_from(data, offset)
    except struct.error:
        raise FrameError(ErrorKind.TRUNCATED, "a header has 16 bytes, fewer are here", at) from None
    if magic != MAGIC:
        raise FrameError(ErrorKind.BAD_MAGIC, f"a frame starts with {MAGIC!r}, not {magic!r}: another protocol?", at)
    if version != VERSION:
        raise FrameError(ErrorKind.BAD_VERSION, f"protocol version {version} is unknown, {VERSION} is spoken", at + 2)
    message_type = _TYPES.get(code)
    if message_type is None:
        raise FrameError(ErrorKind.UNKNOWN_TYPE, f"message type 0x{code:02x} is unknown", at + 3)
    return Header(message_type, request_id, length)
