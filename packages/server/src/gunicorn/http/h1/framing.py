"""How the body of a response is delimited, and the head that says so (RFC 9112 section 6). Used by ``connection``."""

from __future__ import annotations

from typing import Final

from gunicorn.http.errors import LocalProtocolError, RemoteProtocolError
from gunicorn.http.events import REASONS, Headers, Request, ResponseHead
from gunicorn.http.h1.response import (
    CLOSE,
    DATE,
    HOP_BY_HOP,
    LENGTH,
    PLAIN,
    Preamble,
    field_line,
    known_lines,
    known_status_lines,
    status_line,
    trailer_lines,
)

# The framings of a response.
NOT_STARTED: Final = 0
SIZED: Final = 1  # Content-Length
CHUNKED: Final = 2
UNTIL_CLOSE: Final = 3  # HTTP/1.0 without a length
BODILESS: Final = 4  # HEAD, 204, 304: what the application sends as body is dropped
ENDED: Final = 5

BODILESS_STATUSES: Final = frozenset((204, 304))

known_line: Final = known_lines.get


def frame(event: ResponseHead, request: Request, preamble: Preamble, close: bool) -> tuple[list[bytes], int, int, bool]:
    """The lines of the head that *event* asks for, the framing, the body's length and whether the connection ends.

    The second line is the preamble, without what the application says itself; the last one ends the head. The length is
    in bytes, -1 where the head gives none. *close* says that the connection ends whatever the application answers.
    Raises :class:`LocalProtocolError` for a head that contradicts itself, its body or HTTP.
    """
    status = event.status
    if status < 200:
        raise LocalProtocolError(f"status {status} is no final response")
    lines = [known_status_lines.get((status, event.reason)) or status_line(status, event.reason), preamble.both]
    length = -1
    for header in event.headers:
        line, kind, number = known_line(header) or field_line(header)
        if kind == PLAIN:
            lines.append(line)
        elif kind == LENGTH:
            if length not in (-1, number):
                raise LocalProtocolError(f"Content-Length stands twice, with {length} and {number}")
            length = number
        elif kind == CLOSE:
            close = True
        elif kind != HOP_BY_HOP:
            lines.append(line)
            lines[1] = lines[1].replace(preamble.date if kind == DATE else preamble.server, b"")

    size = len(event.body)
    end = event.end_stream
    framing = SIZED
    if status in BODILESS_STATUSES or not request.target.plain:
        framing, length = _restrict(request, status, length, size if end else -1)
        close = close or framing == UNTIL_CLOSE
    elif length < 0:
        if end:
            length = size
        else:
            framing = CHUNKED
    if framing == SIZED and (size > length or (end and size < length)):
        raise LocalProtocolError(f"Content-Length is {length}, but the body has {size} bytes or more")

    if length >= 0:
        lines.append(b"Content-Length: %d\r\n" % length)
    elif framing == CHUNKED:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    if close:
        lines.append(b"Connection: close\r\n\r\n")
    elif request.target.version[1]:
        lines.append(b"\r\n")
    else:
        lines.append(b"Connection: keep-alive\r\n\r\n")
    return lines, framing, length, close


def _restrict(request: Request, status: int, length: int, size: int) -> tuple[int, int]:
    """Framing and Content-Length (-1 for none) where the request or the status rule something out.

    *size* is that of the whole body where it is known, else -1 (RFC 9110 sections 8.6 and 9.3.2).
    """
    if request.target.method == "HEAD" or status in BODILESS_STATUSES:
        if status == 204:
            length = -1
        elif length < 0 and size > 0 and status != 304:
            length = size
        return BODILESS, length
    if length < 0:
        length = size
    return (SIZED if length >= 0 else UNTIL_CLOSE), length


def refusal(error: RemoteProtocolError, preamble: Preamble, bodiless: bool) -> list[bytes]:
    """The whole answer to a request that is refused, the last one of its connection. *bodiless*: it was a HEAD."""
    body = b"" if bodiless else f"{error.status} {REASONS[error.status]}\n{error}\n".encode("latin-1", "replace")
    return [
        known_status_lines.get((error.status, None)) or status_line(error.status, None),
        preamble.both,
        b"Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body),
        body,
    ]


class BodyWriter:
    """Frames the bodies of a connection's responses, one after the other, into *out*, which others write to as well.

    ``framing`` is one of this module's constants, ``left`` how many bytes a SIZED body still owes.
    """

    __slots__ = ("framing", "left", "out")

    def __init__(self, out: list[bytes]) -> None:
        self.out = out
        self.framing = NOT_STARTED
        self.left = 0

    def write(self, data: bytes, end: bool) -> None:
        """Append *data*, and what ends the body if that was all of it.

        Raises :class:`LocalProtocolError` where no body is under way, or it has another length than the head has said.
        """
        framing = self.framing
        if framing == SIZED:
            if len(data) > self.left:
                raise LocalProtocolError(f"the body is longer than its Content-Length by {len(data) - self.left} bytes")
            self.left -= len(data)
            if end and self.left:
                raise LocalProtocolError(f"the body is shorter than its Content-Length by {self.left} bytes")
            if data:
                self.out.append(data)
        elif framing == CHUNKED:
            if data:
                self.out += (b"%x\r\n" % len(data), data, b"\r\n0\r\n\r\n" if end else b"\r\n")
            elif end:
                self.out.append(b"0\r\n\r\n")
        elif framing == UNTIL_CLOSE:
            if data:
                self.out.append(data)
        elif framing != BODILESS:
            raise LocalProtocolError("a body comes after its head, and ends once")

    def end_with(self, trailers: Headers) -> bool:
        """End the body with fields, if there is room for them: only a chunked one has it (RFC 9112 section 7.1.2)."""
        if self.framing != CHUNKED:
            return False
        self.out += (b"0\r\n", *trailer_lines(trailers), b"\r\n")
        return True

    def pass_by(self) -> int:
        """How many bytes of the body somebody else writes, all that are left."""
        if self.framing not in (SIZED, BODILESS):
            raise LocalProtocolError("only a body of known length can pass the connection by")
        left = self.left if self.framing == SIZED else 0
        self.left = 0
        return left
