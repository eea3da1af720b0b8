"""One HTTP request and its response as ASGI messages: a pure state machine, which the asyncio driver gives a voice.

The response goes through these states; ``FAILED`` is reached when a message could not be put on the wire:

    EXPECTED ── http.response.start ──► STARTED ── http.response.body ──► STREAMING ──► COMPLETE
                                                                              └─► TRAILING ──┘  where trailers follow

``http.response.start`` is held back until the first body message (ASGI: the server must not send before it): head and
body leave in one write, the length of a body in one message is known, and an application that fails in between can
still be answered with 500.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any, Final

from gunicorn.http.errors import LocalProtocolError
from gunicorn.http.events import Data, Header, Informational, OutEvent, Request, ResponseHead, Trailers

EXPECTED: Final = 0
STARTED: Final = 1
STREAMING: Final = 2
TRAILING: Final = 3
COMPLETE: Final = 4
FAILED: Final = 5

_STATE_NAMES: Final = ("expected", "started", "streaming", "trailing", "complete", "failed")

Message = MutableMapping[str, Any]


class ClientDisconnected(OSError):
    """The client is gone, so nothing can be sent any more; raised by ``send()`` (ASGI HTTP 2.4)."""


class HTTPCycle:
    """What the application receives for one request, and what it sends."""

    __slots__ = (
        "_awaits_body",
        "_parts",
        "_trailers",
        "disconnected",
        "headers",
        "received",
        "request",
        "sent",
        "state",
        "status",
    )

    def __init__(self, request: Request) -> None:
        self.request = request
        self.state = EXPECTED
        self.status = 0  # of the response, once it was started
        self.headers: Sequence[Header] = ()  # of the response
        self.received = 0  # bytes of body that came
        self.sent = 0  # bytes of body that the application gave
        self.disconnected = False  # the client will send no more, and may be gone
        self._parts: list[Data] | None = None  # of the body: received, not yet given to the application
        self._trailers: list[Header] | None = None  # promised for the end of the response, as far as they have come
        self._awaits_body = True  # the application has not been given the end of the request's body

    # ---------------------------------------------------------------- receive

    @property
    def wants_body(self) -> bool:
        """Whether the application's next message is a part of the body that has not been read yet."""
        return self._awaits_body and not self._parts and not self.request.end_stream

    def feed(self, part: Data) -> None:
        """Take a part of the request's body."""
        if self._parts is None:
            self._parts = [part]
        else:
            self._parts.append(part)
        self.received += len(part.data)

    def next_message(self) -> dict[str, Any] | None:
        """What ``receive()`` answers now, or None: it has to wait for the body or for the client to go."""
        if self._parts:
            part = self._parts.pop(0)
            if part.end_stream:
                self._awaits_body = False
            return {"type": "http.request", "body": part.data, "more_body": not part.end_stream}
        if self._awaits_body and self.request.end_stream:
            self._awaits_body = False
            return {"type": "http.request", "body": b"", "more_body": False}
        if self.disconnected or self.state >= COMPLETE:
            return {"type": "http.disconnect"}
        return None

    # ---------------------------------------------------------------- send

    def event_for(self, message: Message) -> OutEvent | None:
        """The event that *message* asks for, or None when nothing is to be sent yet.

        Raises :class:`LocalProtocolError` for a message out of order or of a type that no HTTP response has.
        """
        kind = message["type"]
        if kind == "http.response.body":
            body = message.get("body", b"")
            if type(body) is not bytes:
                body = _as_bytes(body)
            state = self.state
            end = not message.get("more_body", False)
            event: OutEvent
            if end and self._trailers is not None and state in (STARTED, STREAMING):
                # Not the end yet.
                event = ResponseHead(self.status, self.headers, body) if state == STARTED else Data(body)
                self.state = TRAILING
            elif state == STREAMING:
                event = Data(body, end)
                if end:
                    self.state = COMPLETE
            elif state == STARTED:
                event = ResponseHead(self.status, self.headers, body, end)
                self.state = COMPLETE if end else STREAMING
            else:
                raise self._out_of_order(kind)
            self.sent += len(body)
            return event
        if kind == "http.response.start":
            self.start(message)
            return None
        if kind == "http.response.trailers":
            return self._trailers_event(message)
        return self._interim_event(kind, message)

    def start(self, message: Message) -> None:
        """Take ``http.response.start``, of which nothing is sent yet. Raises as :meth:`event_for` does."""
        if self.state != EXPECTED:
            raise self._out_of_order("http.response.start")
        status = message["status"]
        if type(status) is not int:
            status = _as_status(status)
        self.headers = [*(message.get("headers") or ())]
        self.status = status
        if message.get("trailers"):
            self._trailers = []
        self.state = STARTED

    def file_head(self, size: int) -> ResponseHead:
        """The head of a response that ``http.response.pathsend`` ends with a file of *size* bytes.

        Raises :class:`LocalProtocolError` for a message out of order, and where Content-Length says something else.
        """
        if self.state != STARTED or self._trailers is not None:
            raise self._out_of_order("http.response.pathsend")
        headers = self.plain_headers()
        declared = [value for name, value in headers if name.lower() == b"content-length"]
        if not declared:
            headers = [*headers, (b"content-length", b"%d" % size)]
        elif any(value.strip() != b"%d" % size for value in declared):
            raise LocalProtocolError(f"Content-Length is {declared[0]!r}, but the file has {size} bytes")
        self.state = STREAMING
        return ResponseHead(self.status, headers)

    @property
    def begun(self) -> bool:
        """Whether the response's head was put on the wire, so that no other response can be given."""
        return self.state >= STREAMING

    def rejected(self, event: OutEvent) -> None:
        """*event* could not be put on the wire.

        Where it was the head, the application may start another response; where it was a part of the body, this
        response is beyond repair.
        """
        if type(event) is ResponseHead:
            self.state = EXPECTED
            self._trailers = None
        elif type(event) is not Informational:
            self.state = FAILED

    def plain_headers(self) -> Sequence[Header]:
        """The response's headers with every pair a tuple of bytes, for applications that give lists or bytearrays."""
        self.headers = _pairs(self.headers, "http.response.start")
        return self.headers

    def _interim_event(self, kind: str, message: Message) -> Informational | None:
        if kind == "http.response.early_hint":
            links = message.get("links") or ()
            if isinstance(links, (str, bytes)):
                raise LocalProtocolError(f"links of http.response.early_hint is {links!r}, not several byte strings")
            status, headers = 103, _pairs([(b"link", link) for link in links], kind)
        elif kind == "http.response.informational":
            status, headers = message["status"], _pairs(message.get("headers") or (), kind)
            if not isinstance(status, int) or not 102 <= status <= 199:
                raise LocalProtocolError(f"status {status!r} of http.response.informational is not from 102 to 199")
        else:
            raise LocalProtocolError(f"message type {kind!r} is none that an HTTP response has")
        if self.state in (STREAMING, TRAILING):
            return None  # allowed, but the final head is on its way: there is nothing to hint at any more
        if self.state not in (EXPECTED, STARTED):
            raise self._out_of_order(kind)
        return Informational(status, headers)

    def _trailers_event(self, message: Message) -> OutEvent | None:
        trailers = self._trailers
        if self.state != TRAILING or trailers is None:
            raise self._out_of_order("http.response.trailers")
        trailers += _pairs(message.get("headers") or (), "http.response.trailers")
        if message.get("more_trailers"):
            return None
        self.state = COMPLETE
        # Only for clients that say that they take them (RFC 9110 section 6.5.1, and ASGI).
        wanted = any(field.pair[0] == b"te" and b"trailers" in field.pair[1].lower() for field in self.request.fields)
        return Trailers(trailers) if wanted else Data(b"", True)

    def _out_of_order(self, kind: str) -> LocalProtocolError:
        request = self.request
        reasons = {
            EXPECTED: "http.response.start has to come first",
            STARTED: "the response was already started",
            STREAMING: "the response was already started",
            TRAILING: "the body has already ended, and its trailers have to come",
            COMPLETE: "the response is already complete",
            FAILED: "the response failed before, and its connection closes",
        }
        reason = reasons[self.state]
        if kind == "http.response.trailers" and self.state in (STARTED, STREAMING):
            reason = "they come after the body, and http.response.start has to announce them by trailers=True"
        elif kind == "http.response.pathsend" and self.state == STARTED:
            reason = "a file has no room for the trailers that were announced"
        elif kind == "http.response.pathsend" and self.state == STREAMING:
            reason = "a file is the whole body, and a part of another one was sent already"
        return LocalProtocolError(f"{kind} for {request.method} {request.uri}: {reason}")

    def __repr__(self) -> str:
        return f"<HTTPCycle {self.request.method} {self.request.uri} {_STATE_NAMES[self.state]}>"


def _as_bytes(body: Any) -> bytes:
    if isinstance(body, (bytearray, memoryview, bytes)):
        return bytes(body)
    raise LocalProtocolError(f"the body of http.response.body is {type(body).__name__}, not a byte string")


def _as_status(status: Any) -> int:
    if isinstance(status, int):  # http.HTTPStatus
        return int(status)
    raise LocalProtocolError(f"status {status!r} of http.response.start is {type(status).__name__}, not a number")


def _pairs(headers: Any, kind: str) -> list[Header]:
    try:
        return [(_as_header_part(name), _as_header_part(value)) for name, value in headers]
    except (TypeError, ValueError) as error:
        raise LocalProtocolError(f"the headers of {kind} are not pairs of byte strings: {headers!r}") from error


def _as_header_part(part: Any) -> bytes:
    if isinstance(part, (bytes, bytearray, memoryview)):
        return bytes(part)
    raise TypeError(f"{part!r} is no byte string")
