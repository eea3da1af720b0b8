"""503 with Retry-After where the pool refuses, and nothing else changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gunicorn.dirty.errors import DirtyAppError, DirtyNoWorkersAvailableError, DirtyOverloadedError
from gunicorn.dirty.overload import overload_asgi, overload_wsgi

REFUSALS = [DirtyOverloadedError("m:A"), DirtyNoWorkersAvailableError("m:A")]


class Server:
    """What a WSGI server does with headers."""

    def __init__(self) -> None:
        self.started: list[Any] = []
        self.sent = False

    def start_response(self, status: str, headers: Any, exc_info: Any = None) -> Any:
        if self.sent:
            raise exc_info[1]
        assert not self.started or exc_info
        self.started = [status, dict(headers)]

    def run(self, app: Any) -> bytes:
        body = b""
        result = app({}, self.start_response)
        try:
            for part in result:
                self.sent = True
                body += part
        finally:
            if hasattr(result, "close"):
                result.close()
        return body


@pytest.mark.parametrize("error", REFUSALS, ids=str)
@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("generator", [False, True])
def test_wsgi(error: Exception, started: bool, generator: bool) -> None:
    def plain(_environ: Any, start_response: Callable[..., Any]) -> Any:
        if started:
            start_response("200 OK", [])
        raise error

    def lazy(environ: Any, start_response: Callable[..., Any]) -> Iterator[bytes]:
        yield plain(environ, start_response)

    server = Server()
    body = server.run(overload_wsgi(lazy if generator else plain, retry_after=7))
    status, headers = server.started
    assert status == "503 Service Unavailable"
    assert headers["Retry-After"] == "7"
    assert int(headers["Content-Length"]) == len(body) > 0


def test_wsgi_answers_go_through_as_they_are() -> None:
    marks: list[str] = []

    def lazy(_environ: Any, start_response: Callable[..., Any]) -> Iterator[bytes]:
        start_response("200 OK", [])
        try:
            yield b"one "
            yield b"two"
        finally:
            marks.append("closed")

    server = Server()
    assert server.run(overload_wsgi(lazy)) == b"one two"
    assert marks == ["closed"]
    wrapped = object()
    assert overload_wsgi(lambda *_: wrapped)({}, None) is wrapped  # type: ignore[arg-type]
    assert list(overload_wsgi(lambda *_: iter([]))({}, None)) == []


def test_wsgi_cannot_take_back_what_was_sent() -> None:
    def lazy(_environ: Any, start_response: Callable[..., Any]) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"one"
        raise DirtyOverloadedError("m:A")

    with pytest.raises(DirtyOverloadedError):
        Server().run(overload_wsgi(lazy))


def test_wsgi_other_errors_are_not_its_business() -> None:
    def app(*_: Any) -> Any:
        raise DirtyAppError("boom")

    with pytest.raises(DirtyAppError):
        Server().run(overload_wsgi(app))


def run_asgi(app: Any, kind: str = "http") -> list[Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {}

    asyncio.run(overload_asgi(app, 3)({"type": kind}, receive, send))
    return sent


@pytest.mark.parametrize("error", REFUSALS, ids=str)
def test_asgi(error: Exception) -> None:
    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        raise error

    start, body = run_asgi(app)
    assert start["status"] == 503
    assert dict(start["headers"])[b"retry-after"] == b"3"
    assert int(dict(start["headers"])[b"content-length"]) == len(body["body"]) > 0
    with pytest.raises(type(error)):
        run_asgi(app, "websocket")


def test_asgi_that_has_answered_goes_through() -> None:
    message = {"type": "http.response.start", "status": 200, "headers": []}

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send(message)

    async def late(_scope: Any, _receive: Any, send: Any) -> None:
        await send(message)
        raise DirtyOverloadedError("m:A")

    assert run_asgi(app) == [message]
    with pytest.raises(DirtyOverloadedError):
        run_asgi(late)
