"""One call of an application: start_response, write, the iterable, the end; through a real H1Connection."""

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.validate import validator

import pytest
from gunicorn.http.errors import LocalProtocolError
from gunicorn.http.events import Request
from gunicorn.http.h1.connection import H1Connection
from gunicorn.http.h1.head import HeadReader
from gunicorn.http.h1.response import Preamble
from gunicorn.http.policy import Policy
from gunicorn.wsgi.environ import build_environ, connection_environ, server_environ
from gunicorn.wsgi.response import Response, respond

GET = b"GET /path?q=1 HTTP/1.1\r\nHost: a\r\n\r\n"
PREFIX = b"HTTP/1.1 200 OK\r\nServer: s\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
StartResponse = Callable[..., Any]


class Call:
    """One request on a connection of its own. ``writes`` are what was transmitted, the last one by the driver."""

    def __init__(self, app: Callable[..., Any], raw: bytes = GET, body: bytes = b"") -> None:
        self.http = H1Connection(HeadReader(Policy()), Preamble("s", 0.0))
        self.http.receive_data(raw + body)
        request = self.http.next_event()
        assert isinstance(request, Request)
        if not request.end_stream:
            assert self.http.next_event() is not None
        self.app = app
        self.writes: list[bytes] = []
        self.response = Response(self.http, request, lambda parts: self.writes.append(b"".join(parts)))
        connection = connection_environ(server_environ(sys.stderr, True, True), None, ("127.0.0.1", 80), ("::1", 1))
        self.environ = build_environ(connection, request, io.BytesIO(body), self.response.early_hints)

    def run(self) -> list[bytes]:
        try:
            respond(self.app, self.environ, self.response)
        finally:
            self.writes.append(self.http.data_to_send())
        return self.writes


class Body:
    """An iterable with a close(), which counts."""

    def __init__(self, parts: Iterable[Any]) -> None:
        self.parts = parts
        self.closed = 0

    def __iter__(self) -> Iterator[Any]:
        return iter(self.parts)

    def close(self) -> None:
        self.closed += 1


def says(result: Any, status: str = "200 OK", headers: list[Any] | None = None) -> Callable[..., Any]:
    def app(environ: dict[str, Any], start_response: StartResponse) -> Any:
        start_response(status, headers or [])
        return result

    return app


@pytest.mark.parametrize("result", [[b"hello"], (b"hello",), [b"hel", b"", b"lo"]])
def test_a_list_is_one_write_with_its_length(result: Any) -> None:
    assert Call(says(result)).run() == [PREFIX + b"Content-Length: 5\r\n\r\nhello"]


def test_an_empty_body() -> None:
    assert Call(says([])).run() == [PREFIX + b"Content-Length: 0\r\n\r\n"]
    assert Call(says(iter([]))).run() == [PREFIX + b"Content-Length: 0\r\n\r\n"]
    assert Call(says(iter([b"", b""]))).run() == [PREFIX + b"Content-Length: 0\r\n\r\n"]


def test_what_a_generator_yields_is_transmitted_at_once() -> None:
    transmitted: list[int] = []

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        for part in (b"a", b"", b"bc"):
            yield part
            transmitted.append(len(call.writes))

    call = Call(app)
    assert call.run() == [PREFIX + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n", b"2\r\nbc\r\n", b"0\r\n\r\n"]
    assert transmitted == [1, 1, 2]
    assert call.response.sent == 3


def test_write_goes_before_the_iterable() -> None:
    def app(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        write = start_response("200 OK", [])
        write(b"a")
        write(b"b")
        return [b"c"]

    assert Call(app).run() == [
        PREFIX + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
        b"1\r\nb\r\n",
        b"1\r\nc\r\n0\r\n\r\n",
    ]


def test_the_iterable_is_closed() -> None:
    body = Body([b"a"])
    Call(says(body)).run()
    assert body.closed == 1


def test_the_iterable_is_closed_after_an_error() -> None:
    def parts() -> Iterator[bytes]:
        yield b"a"
        raise KeyError("x")

    body = Body(parts())
    with pytest.raises(KeyError):
        Call(says(body)).run()
    assert body.closed == 1


def test_the_iterable_is_closed_when_the_client_has_gone() -> None:
    def gone(parts: list[bytes]) -> None:
        raise ConnectionResetError

    body = Body([b"a", b"b"])
    call = Call(says(body))
    call.response._transmit = gone
    with pytest.raises(ConnectionResetError):
        call.run()
    assert body.closed == 1


def test_head_has_the_length_and_no_body() -> None:
    call = Call(says([b"hello"]), GET.replace(b"GET", b"HEAD"))
    assert call.run() == [PREFIX + b"Content-Length: 5\r\n\r\n"]


def test_the_response_is_known_afterwards() -> None:
    call = Call(says([b"hello"], "404 Not Here", [("X", "1")]))
    assert call.response.status_code == 0
    call.run()
    response = call.response
    assert (response.status, response.status_code) == ("404 Not Here", 404)
    assert (response.headers, response.sent, response.started) == ([("X", "1")], 5, True)


def test_exc_info_replaces_a_head_that_is_not_out() -> None:
    def app(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [("X", "1")])
        try:
            raise KeyError("x")
        except KeyError:
            start_response("500 Oops", [("Y", "2")], sys.exc_info())
        return [b"sorry"]

    sent = b"".join(Call(app).run())
    assert sent.startswith(b"HTTP/1.1 500 Oops\r\n")
    assert b"Y: 2\r\n" in sent
    assert b"X: 1" not in sent


def test_exc_info_is_raised_when_the_head_is_out() -> None:
    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"a"
        try:
            raise KeyError("x")
        except KeyError:
            start_response("500 Oops", [], sys.exc_info())
        yield b"b"

    call = Call(app)
    with pytest.raises(KeyError):
        call.run()
    assert b"b" not in b"".join(call.writes).partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(
    ("app", "reason"),
    [
        (lambda e, s: [b"x"], "before it called start_response"),
        (lambda e, s: [], "before it called start_response"),
        (lambda e, s: (s("200 OK", []), s("200 OK", []))[:0], "twice"),
        (says(["text"]), "str, not bytes"),
        (says(iter(["text"])), "str, not bytes"),
        (says([bytearray(b"x")]), "bytearray, not bytes"),
        (says([b"x"], "200"), None),
        (says([b"x"], "OK"), "three digits"),
        (says([b"x"], "2000 OK"), "three digits"),
        (says([b"x"], "²00 OK"), "three digits"),
        (says([b"x"], b"200 OK"), "three digits"),  # type: ignore[arg-type]
        (says([b"x"], "103 Early Hints"), "no final response"),
        (says([b"x"], "200 OK\r\nX: 1"), "control character"),
        (says([b"x"], "200 OK", [("X", "1\r\nY: 2")]), "control character"),
        (says([b"x"], "200 OK", [("Content-Length", "2")]), "Content-Length is 2"),
        (says([b"xyz"], "200 OK", [("Content-Length", "2")]), "Content-Length is 2"),
        (says(iter([b"xyz"]), "200 OK", [("Content-Length", "2")]), "Content-Length is 2"),
    ],
)
def test_what_the_specification_forbids(app: Any, reason: str | None) -> None:
    call = Call(app)
    if reason is None:  # no reason phrase is no crime (RFC 9112 section 4)
        assert call.run()[0].startswith(b"HTTP/1.1 200 \r\n")
        return
    with pytest.raises(LocalProtocolError, match=reason):
        call.run()
    assert not call.response.started
    assert b"".join(call.writes) == b""


def test_early_hints() -> None:
    def app(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        environ["wsgi.early_hints"]([("Link", "</a.css>; rel=preload")])
        start_response("200 OK", [])
        return [b""]

    assert Call(app).run() == [
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n",
        PREFIX + b"Content-Length: 0\r\n\r\n",
    ]


def test_file_wrapper_streams_the_file_and_closes_it() -> None:
    file = io.BytesIO(b"x" * 100)

    def app(environ: dict[str, Any], start_response: StartResponse) -> Any:
        start_response("200 OK", [("Content-Length", "100")])
        return environ["wsgi.file_wrapper"](file, 64)

    assert Call(app).run() == [PREFIX + b"Content-Length: 100\r\n\r\n" + b"x" * 64, b"x" * 36, b""]
    assert file.closed


# ---------------------------------------------------------------- the standard library's judge


def list_app(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    body = environ["wsgi.input"].read(100)
    environ["wsgi.errors"].write("")
    environ["wsgi.errors"].flush()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def generator_app(environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield from environ["wsgi.input"]
    yield environ["wsgi.input"].readline(5)


def write_app(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])(b"written")
    return [b"listed"]


def error_app(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    try:
        raise KeyError("x")
    except KeyError:
        start_response("500 Oops", [("Content-Type", "text/plain")], sys.exc_info())
    return [b"sorry"]


def nothing_app(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    start_response("204 No Content", [])
    return []


@pytest.mark.parametrize("app", [list_app, generator_app, write_app, error_app, nothing_app])
@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (GET, b""),
        (b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\n", b"a\nbc"),
        (b"OPTIONS /o HTTP/1.0\r\n\r\n", b""),
    ],
)
def test_wsgiref_has_nothing_to_say(app: Any, raw: bytes, body: bytes) -> None:
    assert b"".join(Call(validator(app), raw, body).run()).startswith(b"HTTP/1.1 ")
