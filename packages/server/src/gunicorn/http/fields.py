"""Request field lines, read once and remembered: the table that makes a pure Python parser fast.

Browsers and proxies send the same lines again and again. A validated line is kept as a :class:`Field`, which holds what
WSGI and ASGI each need, so that a line seen before costs one dictionary look-up. Only lines that passed every rule of
the policy are kept, hence a hit needs no further check. Used by ``h1`` for heads and trailers.
"""

from __future__ import annotations

import re
from typing import Final

from gunicorn.http.errors import (
    ExpectationFailed,
    InvalidFraming,
    InvalidHeader,
    InvalidHeaderName,
    InvalidHost,
    LimitRequestHeaders,
)
from gunicorn.http.policy import Policy

TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
FORBIDDEN_IN_VALUE: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
HOST: Final = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+(?:%25[A-Za-z0-9\-._~]+)?\]|(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?"
)
DIGITS: Final = re.compile(rb"[0-9]{1,19}")

# What a field means to the connection; PLAIN fields are only handed on.
PLAIN: Final = 0
HOST_FIELD: Final = 1
CONTENT_LENGTH: Final = 2
TRANSFER_ENCODING: Final = 3
CONNECTION: Final = 4
EXPECT: Final = 5
UNDERSCORED: Final = 6
SCHEME: Final = 7

KINDS: Final = {
    b"host": HOST_FIELD,
    b"content-length": CONTENT_LENGTH,
    b"transfer-encoding": TRANSFER_ENCODING,
    b"connection": CONNECTION,
    b"expect": EXPECT,
}

LONGEST_KEPT_LINE: Final = 512  # bytes: longer lines (cookies, tokens) are seldom seen by two connections
MOST_KEPT_LINES: Final = 2048  # with the above, at most about 2 MiB per worker


class Field:
    """One field line, in the shapes its readers want.

    ``pair`` is ASGI's ``(name, value)`` in bytes with the name in lower case, ``item`` the ``(key, value)`` of a WSGI
    environ, ``kind`` one of this module's constants, ``parsed`` what the kind's rule read from the value.
    """

    __slots__ = ("item", "kind", "pair", "parsed")

    def __init__(self, name: bytes, value: bytes, kind: int, parsed: object) -> None:
        self.pair = (name, value)
        self.kind = kind
        self.parsed = parsed
        key = name.decode("ascii").upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = "HTTP_" + key
        self.item = key, value.decode("latin-1")

    @property
    def key(self) -> str:
        return self.item[0]

    @property
    def text(self) -> str:
        return self.item[1]

    def __repr__(self) -> str:
        return f"Field({self.pair[0]!r}, {self.pair[1]!r})"


class FieldTable:
    """Reads field lines under one policy. ``known`` maps a raw line to its :class:`Field`; look there first."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.known: dict[bytes, Field] = {}
        self._limit = policy.limit_request_field_size
        self._schemes = {
            name.lower().encode("latin-1"): value.encode("latin-1").lower()
            for name, value in policy.secure_scheme_headers.items()
        }

    def read(self, line: bytes) -> Field:
        """The field in *line* (without CRLF), checked and remembered.

        Raises :class:`LimitRequestHeaders` for a line over the limit, :class:`InvalidHeader` and its kin for one that
        breaks the grammar of RFC 9112 section 5 or its own field's rule.
        """
        if self._limit and len(line) > self._limit:
            raise LimitRequestHeaders(f"a header field of {len(line)} bytes is over the limit of {self._limit}")
        name, colon, value = line.partition(b":")
        if not colon:
            raise InvalidHeader(f"header field {line[:64]!r} has no colon")
        if self.policy.strip_header_spaces:
            name = name.rstrip(b" \t")
        if not TOKEN.fullmatch(name):
            raise InvalidHeaderName(f"header name {name[:64]!r} is not a token")
        value = value.strip(b" \t")
        if FORBIDDEN_IN_VALUE.search(value):
            raise InvalidHeader(f"the value of header {name[:64]!r} has a control character", "RFC 9110 section 5.5")
        name = name.lower()
        kind = KINDS.get(name, PLAIN)
        parsed = _PARSERS[kind](value) if kind else None
        if name in self._schemes:
            kind, parsed = SCHEME, value.lower() == self._schemes[name]
        elif b"_" in name:
            kind = UNDERSCORED
        found = Field(name, value, kind, parsed)
        if len(line) <= LONGEST_KEPT_LINE:
            if len(self.known) >= MOST_KEPT_LINES:
                self.known.clear()
            self.known[line] = found
        return found


def _host(value: bytes) -> bytes:
    if not HOST.fullmatch(value):
        raise InvalidHost(f"Host {value[:64]!r} is not a host with an optional port")
    return value


def _content_length(value: bytes) -> int:
    if not DIGITS.fullmatch(value):
        raise InvalidFraming(f"Content-Length {value[:64]!r} is not a decimal number", "RFC 9110 section 8.6")
    return int(value)


def _tokens(value: bytes) -> frozenset[bytes]:
    return frozenset(token.strip(b" \t").lower() for token in value.split(b",")) - {b""}


def _transfer_coding(value: bytes) -> bytes:
    return value.lower()


def _expectation(value: bytes) -> bytes:
    if value.lower() != b"100-continue":
        raise ExpectationFailed(f"expectation {value[:64]!r} is not known")
    return value


_PARSERS: Final = {
    HOST_FIELD: _host,
    CONTENT_LENGTH: _content_length,
    TRANSFER_ENCODING: _transfer_coding,
    CONNECTION: _tokens,
    EXPECT: _expectation,
}
