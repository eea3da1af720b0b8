"""HeldBody: bodies of the sync worker that wait in the kernel, with real sockets on loopback."""

import io
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gunicorn.drivers import spool
from gunicorn.drivers.body_stream import BodyFile
from gunicorn.drivers.errors import PeerGoneError
from gunicorn.drivers.held import AVAILABLE, HeldBody
from gunicorn.drivers.spool import SpoolRoom
from small_apps import GET, post

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="the kernel's low-water mark is that of Linux")

Serve = Callable[..., Any]
Eventually = Callable[..., Any]

SIZE = 1_000_000


class App:
    """Answers with what it reads, *size* bytes of it; remembers the kinds of input."""

    def __init__(self, size: int = -1) -> None:
        self.size = size
        self.kinds: list[type[Any]] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.kinds.append(type(environ["wsgi.input"]))
        start_response("200 OK", [])
        return [environ["wsgi.input"].read(self.size)]


# ---------------------------------------------------------------- in the worker


def test_the_application_is_called_when_all_of_it_is_here(serve_wsgi: Serve, eventually: Eventually) -> None:
    app = App()
    site = serve_wsgi(app)
    body = os.urandom(SIZE)
    uploading, other = site.connect(), site.connect()
    uploading.send(post(body)[:600_000])
    assert other.get()[0] == 200
    assert len(app.kinds) == 1
    uploading.send(post(body)[600_000:])
    assert uploading.answer()[2] == body
    assert app.kinds == [io.BytesIO, BodyFile]


@pytest.mark.parametrize("read", [0, 70_000])
def test_what_the_application_leaves_is_dropped_and_the_connection_goes_on(read: int, serve_wsgi: Serve) -> None:
    peer = serve_wsgi(App(read)).connect()
    for _ in range(3):
        peer.send(post(b"x" * SIZE) + GET)
        status, fields, body = peer.answer()
        assert (status, "connection" in fields, body) == (200, False, b"x" * read)
        assert peer.answer()[2] == b""


def test_an_unread_body_before_the_end_of_the_connection_is_no_reset(serve_wsgi: Serve) -> None:
    peer = serve_wsgi(App(0)).connect()
    peer.send(post(b"x" * SIZE).replace(b"Host", b"Connection: close\r\nHost"))
    assert peer.answer()[0] == 200
    assert peer.closed()


def test_of_what_the_kernel_does_not_hold_the_beginning_is_collected(serve_wsgi: Serve) -> None:
    app = App()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 200_000)  # which its connections inherit
    site = serve_wsgi(app, listener=listener)
    body = os.urandom(3 * SIZE)
    for _ in range(2):
        peer = site.connect()
        peer.send(post(body) + GET)
        assert peer.answer()[2] == body
        assert peer.answer()[2] == b""
    assert app.kinds == [BodyFile, io.BytesIO] * 2


def test_without_a_place_the_worker_collects_it(serve_wsgi: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "HELD", 50_000)
    app = App()
    peer = serve_wsgi(app).connect()
    peer.send(post(b"x" * SIZE))
    assert peer.answer()[2] == b"x" * SIZE
    assert app.kinds == [io.BytesIO]


def test_expect_continue(serve_wsgi: Serve) -> None:
    peer = serve_wsgi(App()).connect()
    head, _, body = post(os.urandom(SIZE)).partition(b"\r\n\r\n")
    peer.send(head + b"\r\nExpect: 100-continue\r\n\r\n")
    assert peer.answer()[0] == 100
    peer.send(body)
    assert peer.answer()[2] == body


def test_a_client_that_stalls_gets_408(serve_wsgi: Serve) -> None:
    app = App()
    peer = serve_wsgi(app, policy={"body_timeout": 0.2}).connect()
    peer.send(post(b"x" * SIZE)[:500_000])
    assert peer.answer()[0] == 408
    assert app.kinds == []


def test_a_slow_client_that_goes_on_is_waited_for(serve_wsgi: Serve) -> None:
    peer = serve_wsgi(App(), policy={"body_timeout": 2.0}).connect()
    request = post(b"x" * SIZE)
    peer.send(request[:-5])
    peer.sock.settimeout(0.7)
    for place in range(-5, -1):
        with pytest.raises(TimeoutError):
            peer.sock.recv(1)
        peer.send(request[place : place + 1])
    peer.sock.settimeout(20)
    peer.send(request[-1:])
    assert len(peer.answer()[2]) == SIZE


def test_a_client_that_goes_away_ends_the_connection(serve_wsgi: Serve, eventually: Eventually) -> None:
    app = App()
    site = serve_wsgi(app)
    for go in ("shutdown", "reset"):
        peer = site.connect()
        peer.send(post(b"x" * SIZE)[:500_000])
        eventually(lambda: site.connections == 1, "the connection")
        peer.sock.shutdown(socket.SHUT_WR) if go == "shutdown" else peer.reset()
        eventually(lambda: site.connections == 0, "its end")
    assert app.kinds == []


def test_a_client_that_ends_its_side_after_the_request_is_answered(serve_wsgi: Serve) -> None:
    peer = serve_wsgi(App()).connect()
    peer.send(post(b"x" * SIZE))
    peer.sock.shutdown(socket.SHUT_WR)
    assert len(peer.answer()[2]) == SIZE


# ---------------------------------------------------------------- by itself


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client, and the server's side of its connection, which does not block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    server.setblocking(False)
    with client, server:
        yield client, server


def test_it_gives_its_place_back(pair: tuple[socket.socket, socket.socket], eventually: Eventually) -> None:
    client, server = pair
    room = SpoolRoom()
    before = room.held
    held = HeldBody(server, room, 100_000)
    assert room.held == before - 100_000
    assert not held.here()
    client.sendall(b"x" * 100_010)
    eventually(held.here, "the body")
    assert held.next_part(10) == (b"x" * 10, False)
    assert held.close()
    assert room.held == before
    assert server.recv(100) == b"x" * 10


def test_it_tells_what_has_moved(pair: tuple[socket.socket, socket.socket], eventually: Eventually) -> None:
    client, server = pair
    held = HeldBody(server, SpoolRoom(), 100_000)
    assert held.moved() == 0
    client.sendall(b"x" * 1000)
    eventually(lambda: held.moved() == 1000, "the bytes")
    assert held.moved() == 0


def test_a_connection_that_lost_its_bytes_cannot_go_on(pair: tuple[socket.socket, socket.socket]) -> None:
    client, server = pair
    held = HeldBody(server, SpoolRoom(), 10)
    with pytest.raises(PeerGoneError):
        held.next_part(10)
    assert not held.close()
    client.close()
    with pytest.raises(PeerGoneError):
        HeldBody(server, SpoolRoom(), 10).next_part(10)
