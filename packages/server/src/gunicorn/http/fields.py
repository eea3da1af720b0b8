"""Request field lines, read once and remembered: the table that makes a pure Python parser fast.

Browsers and proxies send the same lines again and again. A validated line is kept as a :class:`Field`, which holds what
WSGI and ASGI each need, so that a line seen before costs one dictionary look-up. Only lines that passed every rule of
the policy are kept, hence a hit needs no further check. Used by ``h1`` for heads and trailers.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NoReturn

from gunicorn.http.errors import (
    ContentTooLarge,
    ExpectationFailed,
    InvalidFraming,
    InvalidHeader,
    InvalidHeaderName,
    InvalidHost,
    LimitRequestHeaders,
    RemoteProtocolError,
)
from gunicorn.http.policy import Policy

TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
FORBIDDEN_IN_VALUE: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
HOST: Final = re.compile(
    rb"(?:\[([0-9A-Fa-f:.]+)(?:%25[A-Za-z0-9\-._~]+)?\]|(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+)"
    rb"(?::([0-9]{0,5}))?"
)
DIGITS: Final = re.compile(rb"[0-9]+")
LARGEST_LENGTH: Final = (1 << 63) - 1  # bytes; what other parties of a chain keep lengths in

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

LONGEST_KEPT_NAME: Final = 64  # bytes
MOST_KEPT_NAMES: Final = 512
LONGEST_KEPT_LINE: Final = 512  # bytes: longer lines (cookies, tokens) are seldom seen by two connections
MOST_KEPT_LINES: Final = 2048  # with the above, at most about 2 MiB per worker


class Acquaintance:
    """Which lines were seen before: what comes once is not worth keeping, and would drive out of memory what is.

    A few hashes are all that it has, each in the place that its last bits say; a wrong answer does no harm.
    """

    __slots__ = ("_hashes",)

    def __init__(self) -> None:
        self._hashes = [0] * 1024

    def has_met(self, line: bytes) -> bool:
        """Whether *line* was seen lately; from now on it was."""
        number = hash(line)
        place = number & 1023
        if self._hashes[place] == number:
            return True
        self._hashes[place] = number
        return False


Name = tuple[bytes, str, int, bytes | None]
"""A valid field name: in lower case, as a WSGI key, what it means, and the value that says https if it may."""


class Field:
    """One field line, in the shapes its readers want.

    ``pair`` is ASGI's ``(name, value)`` in bytes with the name in lower case, ``item`` the ``(key, value)`` of a WSGI
    environ, ``kind`` one of this module's constants, ``parsed`` what the kind's rule read from the value.
    """

    __slots__ = ("item", "kind", "pair", "parsed")

    def __init__(
        self, name: bytes, value: bytes, kind: int, parsed: object, item: tuple[str, str] | None = None
    ) -> None:
        self.pair = (name, value)
        self.kind = kind
        self.parsed = parsed
        self.item = item or (environ_key(name), value.decode("latin-1"))

    @property
    def key(self) -> str:
        return self.item[0]

    @property
    def text(self) -> str:
        return self.item[1]

    def __repr__(self) -> str:
        return f"Field({self.pair[0]!r}, {self.pair[1]!r})"


def environ_key(name: bytes) -> str:
    """The key under which a WSGI environ has the field *name* (PEP 3333, "environ Variables")."""
    key = name.decode("ascii").upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key


class FieldTable:
    """Reads field lines under one policy.

    ``known`` maps a raw line that came at least twice to its :class:`Field`; look there first.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.known: dict[bytes, Field] = {}
        self._names: dict[bytes, Name] = {}
        self._has_met = Acquaintance().has_met
        self._limit = policy.limit_request_field_size or 1 << 40
        self._schemes = {
            name.lower().encode("latin-1"): value.encode("latin-1").lower()
            for name, value in policy.secure_scheme_headers.items()
        }

    def read(self, line: bytes) -> Field:
        """The field in *line* (without CRLF), checked, and remembered if it came before.

        Raises :class:`LimitRequestHeaders` for a line over the limit, :class:`InvalidHeader` and its kin for one that
        breaks the grammar of RFC 9112 section 5 or its own field's rule.
        """
        if b"\n" in line or len(line) > self._limit:
            refuse_line(line, self._limit, LimitRequestHeaders, "a header field")
        name, colon, value = line.partition(b":")
        if not colon:
            raise InvalidHeader(f"header field {line[:64]!r} has no colon")
        lower, key, kind, https = self._names.get(name) or self._read_name(name)
        value = value.strip(b" \t")
        text = value.decode("latin-1")
        if not text.isprintable() and FORBIDDEN_IN_VALUE.search(value):
            raise InvalidHeader(f"the value of header {name[:64]!r} has a control character", "RFC 9110 section 5.5")
        parsed: object = None
        if kind == SCHEME:
            parsed = value.lower() == https
        elif kind and kind in _PARSERS:
            parsed = _PARSERS[kind](value)
        found = Field(lower, value, kind, parsed, (key, text))
        if len(line) <= LONGEST_KEPT_LINE and self._has_met(line):
            if len(self.known) >= MOST_KEPT_LINES:
                self.known.clear()
            self.known[line] = found
        return found

    def _read_name(self, raw: bytes) -> Name:
        name = raw.rstrip(b" \t") if self.policy.strip_header_spaces else raw
        if not TOKEN.fullmatch(name):
            raise InvalidHeaderName(f"header name {raw[:64]!r} is not a token")
        name = name.lower()
        kind = KINDS.get(name, PLAIN)
        https = self._schemes.get(name)
        if https is not None:
            kind = SCHEME
        elif b"_" in name:
            kind = UNDERSCORED
        found = name, environ_key(name), kind, https
        if len(raw) <= LONGEST_KEPT_NAME:
            if len(self._names) >= MOST_KEPT_NAMES:
                self._names.clear()
            self._names[raw] = found
        return found


def refuse_line(line: bytes, limit: int, too_long: type[RemoteProtocolError], what: str) -> NoReturn:
    """Refuse a line that is over *limit* bytes or has a bare LF in it, for what comes first.

    So a line gets the same answer whether it came whole or is refused before its end came.
    """
    if b"\n" in line[: limit + 1]:
        raise InvalidFraming("a line ends with a bare LF", "RFC 9112 section 2.2")
    raise too_long(f"{what} is over the limit of {limit} bytes")


def check_host(value: bytes, what: str) -> None:
    """Raise :class:`InvalidHost` unless *value* is a host with an optional port (RFC 9110 section 4.2, RFC 3986).

    An empty host is none, and a port is a number below 65536.
    """
    match = HOST.fullmatch(value)
    valid = match is not None and int(match[2] or 0) < 65536
    if match is not None and match[1]:
        try:
            ipaddress.IPv6Address(match[1].decode("ascii"))
        except ValueError:
            valid = False
    if not valid:
        raise InvalidHost(f"{what} {value[:64]!r} is not a host with an optional port")


def _host(value: bytes) -> bytes:
    if value:  # RFC 9110 section 7.2: empty where the target has no authority
        check_host(value, "Host")
    return value


def _content_length(value: bytes) -> int:
    if not DIGITS.fullmatch(value):
        raise InvalidFraming(f"Content-Length {value[:64]!r} is not a decimal number", "RFC 9110 section 8.6")
    if len(value) > 19 or (length := int(value)) > LARGEST_LENGTH:
        raise ContentTooLarge(f"Content-Length {value[:64]!r} is over {LARGEST_LENGTH}")
    return length


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
