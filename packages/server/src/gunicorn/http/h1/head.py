"""Reads the head of an HTTP/1 request: the request line, the fields, and what they say about the body.

One :class:`HeadReader` serves all connections of a worker, since what it remembers (lines seen before) holds for all.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from gunicorn.http.errors import (
    InvalidFraming,
    InvalidHeader,
    InvalidHost,
    InvalidHTTPVersion,
    InvalidRequestLine,
    InvalidRequestMethod,
    LimitRequestHeaders,
    LimitRequestLine,
    MethodNotSupported,
    UnsupportedTransferCoding,
)
from gunicorn.http.events import Request, Target
from gunicorn.http.fields import (
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    HOST,
    HOST_FIELD,
    SCHEME,
    TOKEN,
    TRANSFER_ENCODING,
    UNDERSCORED,
    Field,
    FieldTable,
)
from gunicorn.http.policy import Policy

# Visible ASCII and, as proxies pass them on, bytes of raw UTF-8; never a control character, a space or a fragment.
TARGET: Final = re.compile(rb"[\x21\x22\x24-\x7e\x80-\xff]+")
ABSOLUTE: Final = re.compile(rb"[hH][tT][tT][pP][sS]?://([^/?]+)(/[^?]*)?(?:\?(.*))?", re.DOTALL)
CONVENTIONAL_METHOD: Final = re.compile(rb"[A-Z0-9!$&*+\-.^_|~]{3,20}")
VERSION: Final = re.compile(rb"HTTP/([0-9])\.([0-9])")
FOLD: Final = re.compile(rb"[ \t]*\r\n[ \t]+")

LONGEST_KEPT_LINE: Final = 256  # bytes
MOST_KEPT_LINES: Final = 2048


class HeadReader:
    """Turns the bytes of a head into a :class:`~gunicorn.http.events.Request`, under one policy."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.table = FieldTable(policy)
        self._targets: dict[bytes, Target] = {}
        self._most_fields = policy.limit_request_fields or 1 << 30
        line, size = policy.limit_request_line, policy.limit_request_field_size
        self.longest_line = line or 1 << 40
        self.longest_head = line + (size + 2) * self._most_fields + 4 if line and size else 1 << 40
        """Bytes after which a head without an end is refused."""

    def read(self, head: bytes, secure: bool, trusted: bool) -> Request:
        """The request in *head*: everything before the empty line, without the last CRLF.

        *secure* says whether the connection is under TLS, *trusted* whether the peer may speak for its clients
        (``forwarded_allow_ips``). Raises :class:`~gunicorn.http.errors.RemoteProtocolError` for what RFC 9112 or the
        policy forbid.
        """
        if self.policy.permit_obsolete_folding:
            head = FOLD.sub(b" ", head)
        lines = head.split(b"\r\n")
        first = lines.pop(0)
        target = self._targets.get(first) or self._read_target(first)
        if len(lines) > self._most_fields:
            raise LimitRequestHeaders(f"{len(lines)} header fields are over the limit of {self._most_fields}")
        known, read = self.table.known.get, self.table.read
        fields = [known(line) or read(line) for line in lines]

        minor = target.version[1]
        scheme = "https" if secure else "http"
        persistent = self.policy.keepalive > 0
        keep_alive = persistent and minor >= 1
        hosts = 0
        length: int | None = None
        chunked = expects_continue = False
        script_name = ""
        schemes: list[bool] = []
        for field in [field for field in fields if field.kind]:
            kind = field.kind
            if kind == HOST_FIELD:
                hosts += 1
            elif kind == CONNECTION:
                tokens: frozenset[bytes] = field.parsed  # type: ignore[assignment]
                if b"close" in tokens:
                    persistent = keep_alive = False
                elif b"keep-alive" in tokens:
                    keep_alive = persistent
            elif kind == CONTENT_LENGTH:
                if length is not None:
                    raise InvalidFraming("Content-Length stands twice")
                length = field.parsed  # type: ignore[assignment]
            elif kind == TRANSFER_ENCODING:
                if chunked:
                    raise InvalidFraming("Transfer-Encoding stands twice")
                chunked = self._read_transfer_coding(field, minor)
            elif kind == EXPECT:
                expects_continue = minor >= 1
            elif kind == UNDERSCORED:
                if self._drops(field, trusted):
                    fields.remove(field)
                elif trusted and field.key == "HTTP_SCRIPT_NAME":
                    script_name = field.text
            elif kind == SCHEME and trusted:
                schemes.append(field.parsed)  # type: ignore[arg-type]
        if chunked and length is not None:
            raise InvalidFraming("Content-Length and Transfer-Encoding stand together", "RFC 9112 section 6.1")
        if hosts != 1 and (minor >= 1 or hosts > 1):
            raise InvalidHost(f"a request has exactly one Host, HTTP/1.0's may have none, this one has {hosts}")
        if target.authority is not None:
            # RFC 9112 section 3.2.2: the absolute form's authority replaces Host.
            fields = [field for field in fields if field.kind != HOST_FIELD]
            fields.append(Field(b"host", target.authority, HOST_FIELD, target.authority))
        if schemes:
            if len(set(schemes)) > 1:
                raise InvalidHeader("the proxy's headers disagree on the scheme", "secure_scheme_headers")
            scheme = "https" if schemes[0] else "http"
        return Request(
            1,
            target,
            fields,
            None if chunked else length or 0,
            scheme,
            keep_alive,
            expects_continue and (chunked or bool(length)),
            script_name,
        )

    def _read_target(self, line: bytes) -> Target:
        if len(line) > self.longest_line:
            raise LimitRequestLine(f"a request line of {len(line)} bytes is over the limit of {self.longest_line}")
        parts = line.split(b" ")
        if len(parts) != 3:
            raise InvalidRequestLine(f"request line {line[:64]!r} is not 'method target version'")
        method, raw, version = parts
        method = self._check_method(method)
        minor = self._check_version(version)
        if not TARGET.fullmatch(raw):
            raise InvalidRequestLine(f"target {raw[:64]!r} has a character that no URI has", "RFC 9112 section 3.2")
        target = _take_apart(method, raw, minor)
        if len(line) <= LONGEST_KEPT_LINE:
            if len(self._targets) >= MOST_KEPT_LINES:
                self._targets.clear()
            self._targets[line] = target
        return target

    def _check_method(self, method: bytes) -> bytes:
        if self.policy.casefold_http_method:
            method = method.upper()
        if not TOKEN.fullmatch(method):
            raise InvalidRequestMethod(f"method {method[:64]!r} is not a token")
        if not self.policy.permit_unconventional_http_method and not CONVENTIONAL_METHOD.fullmatch(method):
            raise InvalidRequestMethod(f"method {method[:64]!r} is unconventional, and refused by default")
        if method == b"CONNECT":
            raise MethodNotSupported("CONNECT asks for a tunnel, which an origin server does not open")
        return method

    def _check_version(self, version: bytes) -> int:
        match = VERSION.fullmatch(version)
        if match is None:
            raise InvalidRequestLine(f"version {version[:64]!r} is not HTTP/x.y", "RFC 9112 section 2.3")
        major, minor = int(match[1]), int(match[2])
        if (major, minor) not in ((1, 0), (1, 1)):
            if not self.policy.permit_unconventional_http_version or major != 1:
                raise InvalidHTTPVersion(f"version {version.decode()} is not spoken on this connection")
            minor = 1
        return minor

    def _read_transfer_coding(self, field: Field, minor: int) -> bool:
        value = field.parsed
        if minor == 0:
            raise InvalidFraming("Transfer-Encoding in an HTTP/1.0 request", "RFC 9112 section 6.1")
        if value == b"chunked":
            return True
        codings = [coding.strip(b" \t") for coding in field.pair[1].lower().split(b",")]
        if codings[-1] != b"chunked" or codings.count(b"chunked") > 1:
            raise InvalidFraming(f"Transfer-Encoding {field.text[:64]!r} does not end with one chunked")
        raise UnsupportedTransferCoding(f"Transfer-Encoding {field.text[:64]!r} is not supported")

    def _drops(self, field: Field, trusted: bool) -> bool:
        """Whether ``header_map`` keeps a name with an underscore, which could forge another's key, from the app."""
        policy = self.policy
        if policy.header_map == "dangerous" or (trusted and field.key[5:] in policy.forwarder_headers):
            return False
        if policy.header_map == "refuse":
            raise InvalidHeader(f"header name {field.pair[0][:64]!r} has an underscore, and header_map refuses those")
        return True


def _take_apart(method: bytes, raw: bytes, minor: int) -> Target:
    authority: bytes | None = None
    if raw[0] == 0x2F:  # origin form
        path, _, query = raw.partition(b"?")
    elif raw == b"*":
        if method != b"OPTIONS":
            raise InvalidRequestLine("target '*' is for OPTIONS only", "RFC 9112 section 3.2.4")
        path, query = raw, b""
    else:
        match = ABSOLUTE.fullmatch(raw)
        if match is None:
            raise InvalidRequestLine(f"target {raw[:64]!r} is neither a path nor an http URI", "RFC 9112 section 3.2")
        authority, path, query = match[1], match[2] or b"/", match[3] or b""
        if not HOST.fullmatch(authority):
            raise InvalidHost(f"authority {authority[:64]!r} is not a host with an optional port")
    return Target(
        method.decode("ascii"),
        raw.decode("latin-1"),
        path,
        unquote_to_bytes(path) if b"%" in path else path,
        query,
        authority,
        minor,
    )
