"""Fixtures for the HTTP/1 tests: a connection without I/O, and a little driver that reads a stream through it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from gunicorn.http.errors import RemoteProtocolError
from gunicorn.http.events import Data, Disconnected, Request, ResponseHead
from gunicorn.http.h1.connection import H1Connection
from gunicorn.http.h1.head import HeadReader
from gunicorn.http.h1.response import Preamble
from gunicorn.http.policy import Policy


@dataclass
class Reading:
    """What a stream of bytes was read as."""

    requests: list[Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    complete: int = 0
    refusal: RemoteProtocolError | None = None
    disconnected: bool = False
    output: bytes = b""
    closing: bool = False

    def summary(self) -> list[tuple[Any, ...]]:
        """The complete requests as (method, target, fields, body)."""
        return [
            (request.method, request.uri, [field.pair for field in request.fields], body)
            for request, body in zip(self.requests[: self.complete], self.bodies, strict=False)
        ]


class Reader:
    """Feeds a connection, and answers every complete request with 200 and its body."""

    def __init__(self, http: H1Connection) -> None:
        self.http = http
        self.reading = Reading()

    def feed(self, data: bytes) -> None:
        if self.http.closing:
            return
        self.http.receive_data(data)
        self.pull()

    def eof(self) -> None:
        if not self.http.closing:
            self.http.receive_eof()
            self.pull()

    def pull(self) -> None:
        http, reading = self.http, self.reading
        try:
            while (event := http.next_event()) is not None:
                if isinstance(event, Request):
                    reading.requests.append(event)
                    reading.bodies.append(b"")
                    if event.end_stream:
                        self.answer()
                elif isinstance(event, Data):
                    reading.bodies[-1] += event.data
                    if event.end_stream:
                        self.answer()
                elif isinstance(event, Disconnected):
                    reading.disconnected = True
        except RemoteProtocolError as error:
            reading.refusal = error
            http.refuse(error)
        reading.output += http.data_to_send()
        reading.closing = http.closing

    def answer(self) -> None:
        self.reading.complete += 1
        self.http.send(ResponseHead(200, [], self.reading.bodies[-1], True))


@pytest.fixture
def connect() -> Callable[..., H1Connection]:
    """Make a connection whose date stands at the epoch; keyword arguments are for the policy."""

    def make(secure: bool = False, trusted: bool = False, **policy: Any) -> H1Connection:
        return H1Connection(HeadReader(Policy(**policy)), Preamble("gunicorn", 0.0), secure, trusted)

    return make


@pytest.fixture
def read(connect: Callable[..., H1Connection]) -> Callable[..., Reading]:
    """Read the pieces of a stream, each as one receipt."""

    def read_pieces(pieces: Iterable[bytes], eof: bool = False, **options: Any) -> Reading:
        reader = Reader(connect(**options))
        for piece in pieces:
            reader.feed(piece)
        if eof:
            reader.eof()
        return reader.reading

    return read_pieces
