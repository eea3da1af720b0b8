"""Channel: real sockets on loopback. What sync and gthread have in common is tested on both."""

import io
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gunicorn.drivers import spool
from gunicorn.drivers.spool import MOST_IN_MEMORY
from small_apps import GET, echo, hello, post

Serve = Callable[..., Any]
Eventually = Callable[..., Any]
StartResponse = Callable[..., Any]


# ---------------------------------------------------------------- connections


def test_keep_alive(serve: Serve) -> None:
    site = serve(hello)
    peer = site.connect()
    for _ in range(3):
        status, fields, body = peer.get()
        assert (status, body) == (200, b"hello")
        assert "connection" not in fields
    assert site.worker.scoreboard.requests == 3


def test_connection_close(serve: Serve) -> None:
    peer = serve(hello).connect()
    assert peer.get("/", "Connection: close")[1]["connection"] == "close"
    assert peer.closed()


def test_pipelining(serve: Serve) -> None:
    peer = serve(echo).connect()
    peer.send(b"".join(post(b"%d" % number) for number in range(50)) + GET)
    assert [peer.answer()[2] for _ in range(51)] == [*(b"%d" % number for number in range(50)), b""]


def test_half_close_still_gets_the_answers(serve: Serve) -> None:
    peer = serve(hello).connect()
    peer.send(GET + GET)
    peer.sock.shutdown(socket.SHUT_WR)
    assert peer.rest().count(b"hello") == 2


def test_unix_sockets(serve: Serve, short_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(short_path / "s"))
    listener.listen()

    def app(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [])
        return [repr((environ["REMOTE_ADDR"], environ["SERVER_NAME"], environ["wsgi.url_scheme"])).encode()]

    serve(app, listener=listener)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(20)
        peer.connect(str(short_path / "s"))
        peer.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n\r\n")
        answer = b""
        while part := peer.recv(65536):
            answer += part
    assert answer.endswith(b"('', 'localhost', 'https')")


# ---------------------------------------------------------------- bodies


@pytest.mark.parametrize("size", [0, 1, MOST_IN_MEMORY, MOST_IN_MEMORY + 1, 3_000_000])
def test_bodies_of_any_size(size: int, serve: Serve) -> None:
    body = os.urandom(size)
    peer = serve(echo).connect()
    peer.send(post(body) + GET)
    assert peer.answer()[2] == body
    assert peer.answer()[2] == b""


def test_chunked_bodies(serve: Serve) -> None:
    peer = serve(echo).connect()
    peer.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
    for part in (b"hello", b" ", b"world"):
        peer.send(b"%x\r\n%b\r\n" % (len(part), part))
    peer.send(b"0\r\n\r\n" + GET)
    assert peer.answer()[2] == b"hello world"
    assert peer.answer()[2] == b""


def test_a_large_body_is_a_file_that_is_gone_afterwards(serve_wsgi: Serve, eventually: Eventually) -> None:
    inputs = []

    def app(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        inputs.append(environ["wsgi.input"])
        start_response("200 OK", [])
        return [str(os.fstat(inputs[-1].fileno()).st_nlink).encode()]

    peer = serve_wsgi(app).connect()
    peer.send(post(b"x" * (MOST_IN_MEMORY + 1)))
    assert peer.answer()[2] == b"0"
    eventually(lambda: inputs[0].closed, "the end of the file")


def test_expect_continue(serve: Serve) -> None:
    peer = serve(echo).connect()
    peer.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert peer.answer()[0] == 100
    peer.send(b"hi")
    assert peer.answer()[2] == b"hi"


def test_on_sync_a_body_over_the_limit_is_answered_413(serve_wsgi: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "MOST_IN_MEMORY", 1000)
    site = serve_wsgi(echo, tmp_upload_limit=100_000)
    peer = site.connect()
    peer.send(post(b"x" * 100_001)[:200])
    assert peer.answer()[0] == 413
    chunked = site.connect()
    chunked.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n186A1\r\n" + b"x" * 100_001)
    assert chunked.answer()[0] == 413
    fine = site.connect()
    fine.send(post(b"x" * 100_000))
    assert len(fine.answer()[2]) == 100_000
    assert site.worker.scoreboard.requests == 1


def test_on_sync_a_body_without_room_is_answered_503(serve_wsgi: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "MOST_IN_MEMORY", 1000)
    site = serve_wsgi(echo, tmp_upload_dir="/no/such/directory")
    peer = site.connect()
    peer.send(post(b"x" * 200_000))
    status, fields, _ = peer.answer()
    assert (status, fields["connection"]) == (503, "close")
    assert "cannot be written to /no/such/directory" in site.log.messages(30)[0]
    assert site.connect().get()[0] == 200


def test_on_gthread_a_large_body_is_read_while_it_arrives(serve_wsgi: Serve) -> None:
    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
        begin = environ["wsgi.input"].read(70_000)
        start_response("200 OK", [("Content-Length", "100000")])
        yield begin
        yield environ["wsgi.input"].read()

    peer = serve_wsgi(app, threads=1).connect()
    raw = post(b"x" * 100_000)
    peer.send(raw[:-30_000])
    assert b"200 OK" in peer._until(b"\r\n\r\n")
    assert peer._take(70_000) == b"x" * 70_000
    peer.send(raw[-30_000:])
    assert peer._take(30_000) == b"x" * 30_000


def test_on_gthread_the_application_decides_whether_a_client_may_continue(serve_wsgi: Serve) -> None:
    def app(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        if environ["PATH_INFO"] == "/no":
            start_response("413 Content Too Large", [])
            return []
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()]

    site = serve_wsgi(app, threads=1)
    expecting = b"POST %b HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    peer = site.connect()
    peer.send(expecting % b"/no")
    status, fields, _ = peer.answer()
    assert (status, fields["connection"]) == (413, "close")
    assert peer.closed()
    peer = site.connect()
    peer.send(expecting % b"/")
    assert peer.answer()[0] == 100
    peer.send(b"hi" + GET)
    assert peer.answer()[2] == b"hi"
    assert peer.answer()[2] == b""


def test_on_gthread_a_body_that_stays_away_is_answered_408(serve_wsgi: Serve) -> None:
    site = serve_wsgi(echo, threads=1, policy={"body_timeout": 0.2})
    peer = site.connect()
    peer.send(post(b"x" * 100_000)[:-10])
    status, fields, _ = peer.answer()
    assert (status, fields["connection"]) == (408, "close")
    assert peer.closed()
    assert len(site.log.messages(30)) == 1


def test_a_client_that_goes_away_in_its_body(serve: Serve, eventually: Eventually) -> None:
    site = serve(echo)
    for reset in (False, True):
        peer = site.connect()
        peer.send(post(b"hello")[:-2])
        eventually(lambda: site.connections == 1, "its connection")
        if reset:
            peer.reset()
        else:
            peer.sock.close()
        eventually(lambda: site.connections == 0, "its end")
    assert site.worker.scoreboard.requests == 0
    assert site.log.messages(30) == []


# ---------------------------------------------------------------- failures


def test_an_application_that_fails_before_the_head(serve: Serve) -> None:
    def app(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [])
        raise KeyError("mine")

    site = serve(app)
    peer = site.connect()
    status, fields, body = peer.get()
    assert (status, fields["connection"]) == (500, "close")
    assert b"Internal Server Error" in body
    assert b"mine" not in body
    assert peer.closed()
    assert site.log.messages(40) == ["Error handling request /"]
    assert site.worker.scoreboard.errors == 1


def test_an_application_that_fails_after_the_head(serve: Serve) -> None:
    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"some"
        raise KeyError("mine")

    site = serve(app)
    peer = site.connect()
    peer.send(GET)
    assert peer.rest().endswith(b"\r\n\r\n4\r\nsome\r\n")
    assert site.log.messages(40) == ["Error handling request /"]


def test_a_wrong_length_never_puts_the_connection_out_of_step(serve: Serve) -> None:
    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", "5")])
        yield b"abc" if environ["PATH_INFO"] == "/short" else b"abcdefgh"

    site = serve(app)
    short = site.connect()
    short.send(b"GET /short HTTP/1.1\r\nHost: h\r\n\r\n" + GET)
    assert short.rest().endswith(b"\r\n\r\nabc")
    long = site.connect()
    assert long.get()[0] == 500  # nothing was sent yet
    assert len(site.log.messages(40)) == 2


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n" + b"x" * 200_000, 400),
        (b"GET /" + b"x" * 200_000, 414),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nsize\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
    ],
)
def test_refusals_are_answered_and_logged_once(raw: bytes, status: int, serve: Serve, eventually: Eventually) -> None:
    site = serve(echo)
    peer = site.connect()
    peer.send(raw)
    answer = peer.answer()
    assert (answer[0], answer[1]["connection"]) == (status, "close")
    assert peer.closed()
    peer.sock.close()
    eventually(lambda: site.connections == 0, "the end of the connection")
    assert [message for message in site.log.messages(30) if "Invalid request from ip=127.0.0.1: " in message]
    assert len(site.log.messages(30)) == 1


# ---------------------------------------------------------------- time


@pytest.mark.parametrize("raw", [GET[:10], post(b"hello")[:-2]], ids=["head", "body"])
def test_a_request_that_takes_too_long_is_answered_408(raw: bytes, serve: Serve) -> None:
    site = serve(echo, policy={"head_timeout": 0.1, "body_timeout": 0.1})
    peer = site.connect()
    peer.send(raw)
    status, fields, _ = peer.answer()
    assert (status, fields["connection"]) == (408, "close")
    assert peer.closed()
    assert site.log.messages(30) == [
        "Invalid request from ip=127.0.0.1: the request was not complete after 0.1 seconds (RFC 9110 section 15.5.9)"
    ]


def test_dripping_a_head_does_not_extend_its_deadline(serve: Serve) -> None:
    peer = serve(hello, policy={"head_timeout": 0.2}).connect()
    peer.sock.settimeout(0.01)
    began = time.monotonic()
    peer.send(b"GET / HTTP/1.1\r\nX: ")
    while time.monotonic() < began + 15:
        try:
            peer.send(b"x")
            if peer._receive():
                break
        except TimeoutError:
            pass
    assert peer.buffer.startswith(b"HTTP/1.1 408 ")


def test_dripping_a_body_is_allowed(serve: Serve) -> None:
    peer = serve(echo, policy={"body_timeout": 2.0}).connect()
    raw = post(b"x" * 60)
    peer.send(raw[:-60])
    began = time.monotonic()
    for _ in range(60):
        peer.send(b"x")
        began += 0.05
        time.sleep(max(0.0, began - time.monotonic()))  # the time that the peer takes
    assert peer.answer()[2] == b"x" * 60


def test_idle_connections_end_silently(serve: Serve) -> None:
    site = serve(hello, policy={"keepalive": 0.1, "head_timeout": 0.1})
    used, fresh = site.connect(), site.connect()
    used.get()
    assert used.closed()
    assert fresh.closed()
    assert site.log.messages(30) == []


# ---------------------------------------------------------------- what the application is told


def test_the_environ_has_the_connection(serve: Serve) -> None:
    found: list[dict[str, Any]] = []

    def app(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        found.append(environ)
        start_response("200 OK", [])
        return []

    site = serve(app)
    peer = site.connect()
    peer.get()
    environ = found[0]
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("127.0.0.1", str(site.port))
    host, port = peer.sock.getsockname()
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == (host, str(port))
    assert isinstance(environ["gunicorn.socket"], socket.socket)
    assert isinstance(environ["wsgi.input"], io.BytesIO)
