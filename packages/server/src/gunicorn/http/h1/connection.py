"""One HTTP/1 connection as a state machine (RFC 9112); implements :class:`gunicorn.http.connection.Connection`.

The receiving half is always in one of these states, each a method that :attr:`_read` points to:

    _read_head ──► _read_body ──► _read_nothing ──► _read_head …      (and _read_nothing after an error or the end)
     └──► _read_after_empty_line ──┘

The sending half is a framing: what the head promised about the body, and so what ``Data`` turns into.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gunicorn.http.errors import (
    InvalidFraming,
    LocalProtocolError,
    RemoteProtocolError,
)
from gunicorn.http.events import (
    Data,
    Disconnected,
    Headers,
    InEvent,
    Informational,
    OutEvent,
    Request,
    ResponseHead,
    Trailers,
)
from gunicorn.http.h1.body import BodyReader, ChunkedBody, SizedBody
from gunicorn.http.h1.framing import ENDED, NOT_STARTED, SIZED, BodyWriter, frame, refusal
from gunicorn.http.h1.head import HeadReader, Progress
from gunicorn.http.h1.response import Preamble, informational

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

LONGEST_REPEAT: Final = 2048  # bytes of a head that is remembered for the connection's next request

Answer = tuple[tuple[list[Any], int, str | None, int], bytes, bytes]
"""Headers, status, reason and length of a body, and what they became: the lines before the preamble, and after it."""


class H1Connection:
    """An HTTP/1.0 or HTTP/1.1 server connection without I/O.

    *secure* says whether it runs under TLS, *trusted* whether the peer is a proxy that may speak for its clients.
    """

    __slots__ = (
        "_answer",
        "_body",
        "_buffer",
        "_eof",
        "_last",
        "_out",
        "_preamble",
        "_prefix",
        "_progress",
        "_read",
        "_reader",
        "_repeat",
        "_repeated",
        "_secure",
        "_tail",
        "_trusted",
        "_wants_continue",
        "_writer",
        "closing",
        "request",
        "served",
    )

    def __init__(self, reader: HeadReader, preamble: Preamble, secure: bool = False, trusted: bool = False) -> None:
        self._reader = reader
        self._preamble = preamble
        self._secure = secure
        self._trusted = trusted
        # Bytes that were received and not read yet: bytes while heads come whole, which spares a copy; a bytearray
        # while something is taken from them piece by piece.
        self._buffer: bytes | bytearray = b""
        # The last request, and its bytes when they were nothing but its head, or its head when it has a body.
        self._repeated: Request | None = None
        self._repeat = b""
        self._prefix = b""
        self._tail = b""  # of _repeat: what follows its request line
        self._progress: Progress | None = None  # of a head that came without its end
        self._eof = False
        self._last = False  # the request at hand is the last one
        self._answer: Answer | None = None  # the last one, if it was an ordinary one
        self._read: Callable[[], InEvent | None] = self._read_head
        self._body: BodyReader | None = None
        self._wants_continue = False
        self._out: list[bytes] = []
        self._writer = BodyWriter(self._out)
        self.request: Request | None = None  # the one that is being received or answered
        self.served = False  # whether a request was read
        self.closing = False

    # ---------------------------------------------------------------- receiving

    def receive_data(self, data: bytes) -> None:
        if self._buffer:
            self._buffer += data
        else:
            self._buffer = data

    def receive_eof(self) -> None:
        self._eof = True
        self._answer = None  # the last ones differ
        if self.request is None and not self._buffer:
            self.closing = True

    def next_event(self) -> InEvent | None:
        return self._read()

    @property
    def idle(self) -> bool:
        return self.request is None and not self._buffer

    @property
    def responding(self) -> bool:
        """Whether a response has begun that is not at its end."""
        return self._writer.framing not in (NOT_STARTED, ENDED)

    @property
    def buffered(self) -> int:
        """Bytes that were received and not read yet; a driver pauses reading where they become too many."""
        return len(self._buffer)

    def deadline(self) -> float | None:
        policy = self._reader.policy
        if self.request is None:
            if self._buffer or not self.served:
                return policy.head_timeout or None
            return policy.keepalive
        if self._body is not None and not self._body.done:
            return policy.body_timeout or None
        return None

    def drain(self) -> None:
        self._last = True
        self._answer = None
        if self.idle:
            self.closing = True

    def _read_head(self) -> Request | None:
        buffer = self._buffer
        if not buffer:
            return None
        if buffer == self._repeat:
            # The same request again, which is what keep-alive clients that poll and health checks send.
            self._buffer = b""
            self._progress = None
            self.request = request = self._repeated
            self._read = self._read_nothing
            return request
        if self._repeated is not None:
            if self._prefix:
                if buffer.startswith(self._prefix):
                    self._progress = None
                    return self._begin(self._repeated, len(self._prefix))
            elif buffer.endswith(self._tail):
                request = self._read_like_last(buffer)
                if request is not None:
                    return request
        if buffer[0] == 0x0D:
            return self._skip_empty_line()
        progress = self._progress
        end = buffer.find(b"\r\n\r\n", max(0, progress.scanned - 3) if progress else 0)
        if end < 0:
            self._wait_for_head()
            return None
        head = bytes(buffer[: end + 4])
        self._progress = None
        request = self._begin(self._reader.read(head[:-4], self._secure, self._trusted), end + 4)
        self.served = True
        if end < LONGEST_REPEAT and request.target.authority is None:
            if not request.end_stream:
                self._prefix, self._repeat, self._repeated = head, b"", request
            elif not self._buffer:
                self._prefix, self._repeat, self._repeated = b"", head, request
                self._tail = head[head.index(b"\r\n") :]
        return request

    def _begin(self, request: Request, size: int) -> Request:
        """Begin to receive *request*, the first *size* bytes of the buffer being its head."""
        self.request = request
        buffer = self._buffer
        if request.end_stream:
            if len(buffer) == size:
                self._buffer = b""
            else:
                self._drop(size)
            self._read = self._read_nothing
            return request
        if type(buffer) is bytes:  # what came with the head is mostly the whole body, and can be handed on as it is
            self._buffer = buffer[size:]
        else:
            self._drop(size)
        length = request.content_length
        self._body = ChunkedBody(self._reader.table) if length is None else SizedBody(length)
        self._wants_continue = request.expects_continue and not self._buffer
        self._read = self._read_body
        return request

    def _read_like_last(self, buffer: bytes | bytearray) -> Request | None:
        """A request with the last one's fields, which is what a client sends that asks for one thing after the other.

        The request line has no CR, so the first empty line is that of the tail, as it was in the last request.
        """
        line = bytes(buffer[: -len(self._tail)])
        if b"\r" in line:
            return None
        request = self._reader.read_like(self._repeated, line)  # type: ignore[arg-type]
        if request is None:
            return None
        self._repeat, self._repeated = bytes(buffer), request
        self._buffer = b""
        self._progress = None
        self.request = request
        self._read = self._read_nothing
        return request

    def _drop(self, size: int) -> None:
        """Take *size* bytes off the buffer. Of a bytearray that is cheap however much is left (a pipeline)."""
        buffer = self._buffer
        if type(buffer) is bytes:
            self._buffer = bytearray(memoryview(buffer)[size:])
        else:
            del buffer[:size]  # type: ignore[union-attr]

    def _skip_empty_line(self) -> Request | None:
        """RFC 9112 section 2.2: one empty line before the request line is forgiven."""
        start = self._buffer[:2]
        if start == b"\r":
            if self._eof:
                self.closing = True
            return None
        if start != b"\r\n":
            raise InvalidFraming("a bare CR stands where a request line belongs", "RFC 9112 section 2.2")
        self._drop(2)
        self._read = self._read_after_empty_line
        return self._read_after_empty_line()

    def _read_after_empty_line(self) -> Request | None:
        if not self._buffer:
            if self._eof:
                self.closing = True
            return None
        if self._buffer[0] == 0x0D:
            raise InvalidFraming("empty lines stand where a request line belongs", "RFC 9112 section 2.2")
        return self._read_head()

    def _wait_for_head(self) -> None:
        """The head goes on. What cannot become one is refused now, and nothing is read twice when more comes."""
        if self._progress is None:
            self._progress = Progress()
        if type(self._buffer) is bytes:
            self._buffer = bytearray(self._buffer)
        self._reader.check_unfinished(self._buffer, self._progress)  # type: ignore[arg-type]
        if self._eof:
            self.closing = True

    def _read_body(self) -> Data | Disconnected | None:
        body = self._body
        assert body is not None
        buffer = self._buffer
        if not buffer:
            if self._wants_continue:
                # The application is about to read: now the peer may send (RFC 9110 section 10.1.1).
                self._wants_continue = False
                if self._writer.framing == NOT_STARTED:
                    self._out.append(CONTINUE)
            data = b""
        elif type(buffer) is bytes and len(buffer) <= body.left:
            data = buffer
            self._buffer = b""
            body.skip(len(data))
        else:
            if type(buffer) is bytes:
                self._buffer = buffer = bytearray(buffer)
            data = body.read(buffer)  # type: ignore[arg-type]
            if not buffer:
                self._buffer = b""
        if body.done:
            self._read = self._read_nothing
            if self._writer.framing == ENDED:
                self._begin_next()
            return Data(data, True)
        if data:
            return Data(data)
        if self._eof:
            self.closing = True
            self._read = self._read_nothing
            return Disconnected()
        return None

    def _drop_body(self) -> bool:
        """Whether the rest of the body is here already: then it is dropped, and the connection can go on."""
        try:
            while self._buffer:
                event = self._read_body()
                if event is None:
                    return False
                if type(event) is Data and event.end_stream:
                    return True
        except RemoteProtocolError:
            pass  # the response is made, and ends the connection
        return False

    def whole_body(self) -> bytes | None:
        """The body of the request that was just read, if all of it is here and nothing else; then no event brings it.

        Most small ones come in one piece with their head.
        """
        body, buffer = self._body, self._buffer
        if type(body) is not SizedBody or type(buffer) is not bytes or not buffer or len(buffer) != body.left:
            return None
        body.skip(len(buffer))
        self._buffer = b""
        self._read = self._read_nothing
        return buffer

    def body_ahead(self) -> int:
        """How many of the bytes that the peer sends next are body, whatever they are; 0 while that is not known.

        A driver may hand so many on without giving them to :meth:`receive_data`, if it tells :meth:`skip_body`.
        """
        body = self._body
        if body is None or self._buffer or self._wants_continue or self._eof:
            return 0
        return body.left

    def skip_body(self, size: int) -> bool:
        """Count *size* bytes of body, at most :meth:`body_ahead`; whether they were the last."""
        body = self._body
        assert body is not None
        body.skip(size)
        if body.done:
            self._read = self._read_nothing
            if self._writer.framing == ENDED:
                self._begin_next()
        return body.done

    def _read_nothing(self) -> None:
        return None

    # ---------------------------------------------------------------- sending

    def send(self, event: OutEvent) -> None:
        kind = type(event)
        if kind is ResponseHead:
            if event.end_stream:  # type: ignore[union-attr]
                self.send_whole(event.status, event.headers, event.body, event.reason)  # type: ignore[union-attr]
            else:
                self._send_head(event)  # type: ignore[arg-type]
        elif kind is Data:
            self._send_data(event.data, event.end_stream)  # type: ignore[union-attr]
        elif kind is Informational:
            self._send_informational(event)  # type: ignore[arg-type]
        else:
            self._send_trailers(event)  # type: ignore[arg-type]

    def send_whole(self, status: int, headers: Headers, body: bytes, reason: str | None = None) -> None:
        """:meth:`send` a head with the whole body; the event is made only if the answer is not the last one again."""
        answer = self.repeat(status, headers, body, reason)
        if answer is not None:
            self._out.append(answer)
        else:
            self._send_head(ResponseHead(status, headers, body, True, reason))

    def pass_body(self) -> int:
        left = self._writer.pass_by()
        self._end_response()
        return left

    def data_to_send(self) -> bytes:
        out = self._out
        if not out:
            return b""
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return data

    def parts_to_send(self) -> list[bytes]:
        """:meth:`data_to_send` in pieces, for drivers that can write those without joining them."""
        parts = self._out.copy()
        self._out.clear()
        return parts

    def _send_informational(self, event: Informational) -> None:
        request = self.request
        if request is None or self._writer.framing != NOT_STARTED:
            raise LocalProtocolError("an interim response goes before the final one")
        if not 100 <= event.status < 200 or event.status == 101:
            raise LocalProtocolError(f"status {event.status} is not that of an interim response")
        if request.version >= (1, 1):  # RFC 9110 section 15.2: never to HTTP/1.0
            self._out.append(informational(event.status, event.headers))

    def _send_head(self, event: ResponseHead) -> None:
        request = self.request
        if request is None or self._writer.framing != NOT_STARTED:
            raise LocalProtocolError("a request gets exactly one response")
        # Answered before the body was read: what still comes could not be told from a next request.
        body_unread = self._body is not None and not self._body.done
        if body_unread and event.end_stream and self._buffer:
            body_unread = not self._drop_body()
        ends = body_unread or not request.keep_alive or self._ends()
        lines, framing, length, close = frame(event, request, self._preamble, ends)
        if close:
            self.closing = True
        if event.end_stream and framing == SIZED:
            headers = event.headers
            ordinary = not close and not self._eof and request.target.plain and lines[1] is self._preamble.both
            if ordinary and type(headers) is list:
                made = (headers.copy(), event.status, event.reason, length)
                self._answer = made, lines[0], b"".join(lines[2:])
            lines.append(event.body)
            self._out.append(b"".join(lines))
            self._end_response()
            return
        self._out.append(b"".join(lines))
        self._writer.framing = framing
        self._writer.left = length
        if event.body or event.end_stream:
            self._send_data(event.body, event.end_stream)

    def repeat(self, status: int, headers: Headers, body: bytes, reason: str | None = None) -> bytes | None:
        """The whole answer to the request at hand, made, if it differs from the last one in the body's bytes only.

        None: it does not, and :meth:`send` has to make it. What is returned is to be written at once.
        """
        answer = self._answer
        request = self.request
        if (
            answer is None
            or answer[0] != (headers, status, reason, len(body))
            or request is None
            or not request.target.plain
            or not request.keep_alive
            or self._writer.framing
            or self._out
        ):
            return None
        if self._body is not None:
            if not self._body.done:
                return None
            self._body = None
            self._wants_continue = False
        self.request = None
        self._read = self._read_head
        return b"".join((answer[1], self._preamble.both, answer[2], body))

    def _send_data(self, data: bytes, end: bool) -> None:
        try:
            self._writer.write(data, end)
        except LocalProtocolError:
            if self._writer.framing == SIZED:
                self.closing = True  # the length was promised
            raise
        if end:
            self._end_response()

    def _send_trailers(self, event: Trailers) -> None:
        if self._writer.end_with(event.headers):
            self._end_response()
        else:
            self._send_data(b"", True)

    def _end_response(self) -> None:
        if self.closing:
            self._writer.framing = ENDED
            self._read = self._read_nothing
        elif self._body is not None and not self._body.done:
            self._writer.framing = ENDED  # the rest of the request's body is read and dropped first
        else:
            self._begin_next()

    def _ends(self) -> bool:
        """Whether no request can follow: this end wants none, or the peer sends none."""
        return self._last or (self._eof and not self._buffer)

    def _begin_next(self) -> None:
        self.request = None
        self._body = None
        self._wants_continue = False
        self._writer.framing = NOT_STARTED
        self._read = self._read_head
        if self._ends():
            self.closing = True
            self._read = self._read_nothing

    def abort(self) -> None:
        self.closing = True
        self._writer.framing = ENDED
        self._read = self._read_nothing

    def refuse(self, error: RemoteProtocolError) -> None:
        """Answer with the error's status, unless a response is under way, and end the connection."""
        self.closing = True
        self._read = self._read_nothing
        if self._writer.framing == NOT_STARTED:
            self._writer.framing = ENDED
            bodiless = self.request is not None and self.request.method == "HEAD"
            self._out += refusal(error, self._preamble, bodiless)
