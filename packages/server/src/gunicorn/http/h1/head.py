"""Reads the head of an HTTP/1 request: the request line, the fields, and what they say about the body.

One :class:`HeadReader` serves all connections of a worker, since what it remembers (lines seen before) holds for all.
A head gets one reading however it arrives: what is wrong with it is found in the order of its bytes, lines first and
then what they mean together, and :meth:`HeadReader.check_unfinished` finds no more and no less in a part of it.
"""

from __future__ import annotations

import re
from typing import Final, NoReturn, cast
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
    HOST_FIELD,
    SCHEME,
    TOKEN,
    TRANSFER_ENCODING,
    UNDERSCORED,
    Acquaintance,
    Field,
    FieldTable,
    check_host,
    refuse_line,
)
from gunicorn.http.policy import Policy

# Visible ASCII and, as proxies pass them on, bytes of raw UTF-8; never a control character, a space or a fragment.
TARGET: Final = re.compile(rb"[\x21\x22\x24-\x7e\x80-\xff]+")
# What nearly all request lines are; what does not match is looked at part by part.
COMMON_LINE: Final = re.compile(
    rb"(?!CONNECT )([A-Z]{3,20}) "
    rb"((/[\x21\x22\x24-\x3e\x40-\x7e\x80-\xff]*)(?:\?([\x21\x22\x24-\x7e\x80-\xff]*))?) HTTP/1\.([01])"
)
ABSOLUTE: Final = re.compile(rb"[hH][tT][tT][pP][sS]?://([^/?]*)(/[^?]*)?(?:\?(.*))?", re.DOTALL)
CONVENTIONAL_METHOD: Final = re.compile(rb"[A-Z0-9!$&*+\-.^_|~]{3,20}")
CODING: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+(?:[ \t]*;.*)?")
VERSION: Final = re.compile(rb"HTTP/([0-9])\.([0-9])")
FOLD: Final = re.compile(rb"\r\n[ \t]+")
FOLDED_NAME: Final = re.compile(rb"\r\n[^ \t:\r][^:\r]*\r\n[ \t]")

LONGEST_KEPT_LINE: Final = 256  # bytes
MOST_KEPT_LINES: Final = 512


class Progress:
    """How far the head that is arriving was looked at."""

    __slots__ = ("line", "lines", "scanned")

    def __init__(self) -> None:
        self.scanned = 0  # bytes
        self.line = 0  # offset of the line that is not complete
        self.lines = 0  # how many are


class HeadReader:
    """Turns the bytes of a head into a :class:`~gunicorn.http.events.Request`, under one policy."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.table = FieldTable(policy)
        self._targets: dict[bytes, Target] = {}
        self._has_met = Acquaintance().has_met
        self._folds = policy.permit_obsolete_folding
        self._most_fields = policy.limit_request_fields or 1 << 30
        self._longest_line = policy.limit_request_line or 1 << 40
        self._longest_field = policy.limit_request_field_size or 1 << 40
        self._longest_head = self._longest_line + (self._longest_field + 2) * self._most_fields + 4

    def read(self, head: bytes, secure: bool, trusted: bool) -> Request:
        """The request in *head*: everything before the empty line, without the last CRLF.

        *secure* says whether the connection is under TLS, *trusted* whether the peer may speak for its clients
        (``forwarded_allow_ips``). Raises :class:`~gunicorn.http.errors.RemoteProtocolError` for what RFC 9112 or the
        policy forbid.
        """
        if self._folds:
            head = self._unfold(head)
        lines = head.split(b"\r\n")
        first = lines.pop(0)
        target = self._targets.get(first) or self.read_target(first)
        if len(lines) > self._most_fields:
            self._refuse_many(lines)
        found = list(map(self.table.known.get, lines))
        if not all(found):
            for place, known in enumerate(found):
                if known is None:
                    found[place] = self.table.read(lines[place])
        fields = cast("list[Field]", found)

        minor = target.version[1]
        scheme = "https" if secure else "http"
        persistent = self.policy.keepalive > 0
        keep_alive = persistent and minor >= 1
        hosts = 0
        length: int | None = None
        coding: bytes | None = None
        expects_continue = drops = False
        script_name: str | None = None
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
                coding = field.parsed if coding is None else b",".join((coding, field.parsed))  # type: ignore[assignment,arg-type]
            elif kind == EXPECT:
                expects_continue = minor >= 1
            elif kind == UNDERSCORED:
                if self._drops(field, trusted):
                    drops = True
                elif trusted and field.key == "HTTP_SCRIPT_NAME":
                    if script_name is not None:
                        raise InvalidHeader("SCRIPT_NAME stands twice", "forwarder_headers")
                    script_name = field.text
            elif kind == SCHEME and trusted:
                schemes.append(field.parsed)  # type: ignore[arg-type]
        if coding is not None:
            _check_coding(coding, minor, length)
            length = None
        elif length is None:
            length = 0
        if hosts != 1 and (minor >= 1 or hosts > 1):
            raise InvalidHost(f"a request has exactly one Host, HTTP/1.0's may have none, this one has {hosts}")
        if drops:
            fields = [field for field in fields if field.kind != UNDERSCORED or not self._drops(field, trusted)]
        if target.authority is not None:
            # RFC 9112 section 3.2.2: the absolute form's authority replaces Host.
            fields = [field for field in fields if field.kind != HOST_FIELD]
            fields.append(Field(b"host", target.authority, HOST_FIELD, target.authority))
        if schemes:
            if len(set(schemes)) > 1:
                raise InvalidHeader("the proxy's headers disagree on the scheme", "secure_scheme_headers")
            scheme = "https" if schemes[0] else "http"
        return Request(
            1, target, fields, length, scheme, keep_alive, expects_continue and length != 0, script_name or ""
        )

    def read_like(self, last: Request, line: bytes) -> Request | None:
        """The request that begins with the request line *line*, and goes on as *last* did; None if that matters.

        For a client that asks for one thing after the other with the same fields.
        """
        target = self._targets.get(line) or self.read_target(line)
        before = last.target
        if target.version != before.version or target.authority is not None or before.authority is not None:
            return None
        return Request(
            1, target, last.fields, last.content_length, last.scheme, last.keep_alive, last.expects_continue,
            last.script_name,
        )  # fmt: skip

    def check_unfinished(self, head: bytearray, progress: Progress) -> None:
        """Refuse a head whose end has not come if more of it could not mend it: limits, line ends.

        *progress* is a new one for each head, and the same one while it grows.
        """
        start = max(progress.line, progress.scanned - 1)
        progress.scanned = size = len(head)
        ends = head.count(b"\r\n", start)
        bad = head.count(b"\n", start) != ends
        if ends:
            end = head.rfind(b"\r\n", start)
            lengths = [len(line) for line in head[progress.line : end].split(b"\r\n")]
            if not progress.lines and lengths.pop(0) > self._longest_line:
                bad = True
            # Folded fields are measured when they are joined.
            bad = bad or (not self._folds and max(lengths, default=0) > self._longest_field)
            progress.lines += ends
            progress.line = end + 2
        length = size - progress.line - (head[-1] == 0x0D)
        if not progress.lines:
            bad = bad or length > self._longest_line
        elif self._folds:
            bad = bad or size > self._longest_head
        else:
            bad = bad or length > self._longest_field or progress.lines - 1 > self._most_fields
        if bad:
            self._refuse_unfinished(bytes(head))

    def _refuse_unfinished(self, head: bytes) -> NoReturn:
        if self._folds:
            head = self._unfold(head)
        first, *lines = head.split(b"\r\n")
        if not lines:
            refuse_line(first, self._longest_line, LimitRequestLine, "a request line")
        self.read_target(first)
        rest = lines.pop()
        if len(lines) > self._most_fields or (len(lines) == self._most_fields and rest not in (b"", b"\r")):
            self._refuse_many(lines)
        for line in lines:
            self.table.read(line)
        refuse_line(rest, self._longest_field, LimitRequestHeaders, "a header field")

    def _refuse_many(self, lines: list[bytes]) -> NoReturn:
        for line in lines[: self._most_fields]:
            self.table.read(line)
        raise LimitRequestHeaders(f"there are more header fields than the limit of {self._most_fields}")

    def _unfold(self, head: bytes) -> bytes:
        """*head* with its folded lines joined (RFC 9112 section 5.2); one before the first field stays as it is."""
        if len(head) > self._longest_head:
            raise LimitRequestHeaders(f"a head is over {self._longest_head} bytes, the sum of its limits")
        first, end, rest = head.partition(b"\r\n")
        if FOLDED_NAME.search(end + rest):
            raise InvalidHeader("a header name is folded, which only a value may be", "RFC 9112 section 5.2")
        return first + end + FOLD.sub(b" ", rest)

    def read_target(self, line: bytes) -> Target:
        """What the request line *line* says, checked, and remembered if it came before."""
        if b"\n" in line or len(line) > self._longest_line:
            refuse_line(line, self._longest_line, LimitRequestLine, "a request line")
        match = COMMON_LINE.fullmatch(line)
        if match is None:
            target = self._read_uncommon(line)
        else:
            method, raw, path, query, minor = match.groups(b"")
            target = Target(
                method.decode("ascii"),
                raw.decode("latin-1"),
                path,
                unquote_to_bytes(path) if b"%" in path else path,
                query,
                None,
                1 if minor == b"1" else 0,
            )
        if len(line) <= LONGEST_KEPT_LINE and self._has_met(line):
            if len(self._targets) >= MOST_KEPT_LINES:
                self._targets.clear()
            self._targets[line] = target
        return target

    def _read_uncommon(self, line: bytes) -> Target:
        parts = line.split(b" ")
        if len(parts) != 3:
            raise InvalidRequestLine(f"request line {line[:64]!r} is not 'method target version'")
        method, raw, version = parts
        method = self._check_method(method)
        minor = self._check_version(version)
        if not TARGET.fullmatch(raw):
            raise InvalidRequestLine(f"target {raw[:64]!r} has a character that no URI has", "RFC 9112 section 3.2")
        return _take_apart(method, raw, minor)

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

    def _drops(self, field: Field, trusted: bool) -> bool:
        """Whether ``header_map`` keeps a name with an underscore, which could forge another's key, from the app."""
        policy = self.policy
        if policy.header_map == "dangerous" or (trusted and field.key[5:] in policy.forwarder_headers):
            return False
        if policy.header_map == "refuse":
            raise InvalidHeader(f"header name {field.pair[0][:64]!r} has an underscore, and header_map refuses those")
        return True


def _check_coding(coding: bytes, minor: int, length: int | None) -> None:
    """Raise unless *coding*, all of Transfer-Encoding in lower case, is one chunked and nothing contradicts it."""
    if minor == 0:
        raise InvalidFraming("Transfer-Encoding in an HTTP/1.0 request", "RFC 9112 section 6.1")
    if length is not None:
        raise InvalidFraming("Content-Length and Transfer-Encoding stand together", "RFC 9112 section 6.1")
    if coding == b"chunked":
        return
    codings = [each.strip(b" \t") for each in coding.split(b",")]
    if codings[-1] != b"chunked" or codings.count(b"chunked") > 1 or not all(map(CODING.fullmatch, codings)):
        raise InvalidFraming(f"Transfer-Encoding {coding[:64]!r} does not end with one chunked")
    raise UnsupportedTransferCoding(f"Transfer-Encoding {coding[:64]!r} is not supported")


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
        check_host(authority, "authority")
        if method == b"OPTIONS" and match[2] is None and match[3] is None:
            path = b"*"  # RFC 9112 section 3.2.4: what the last proxy would have made of it
    return Target(
        method.decode("ascii"),
        raw.decode("latin-1"),
        path,
        unquote_to_bytes(path) if b"%" in path else path,
        query,
        authority,
        minor,
    )
