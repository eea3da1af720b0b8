"""The health path on sync and gthread: answered without the application, also while all threads are taken."""

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from small_apps import GET, WAIT, Gate

Serve = Callable[..., Any]
Eventually = Callable[..., Any]
StartResponse = Callable[..., Any]


@pytest.fixture
def app() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.go.set()


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize("tls", [False, True])
def test_it_is_answered_without_the_application(
    threads: int, tls: bool, app: Gate, serve_wsgi: Serve, tls_files: Any
) -> None:
    settings = {"certfile": tls_files.combined} if tls else {}
    site = serve_wsgi(app, threads=threads, health_path="/healthz", observed=True, **settings)
    peer = site.connect()
    if tls:
        peer.sock = tls_files.context().wrap_socket(peer.sock, server_hostname="localhost")
    for _ in range(2):
        assert peer.get("/healthz")[2] == b"ok"
        assert peer.get("/other")[2] == b"0"
    peer.send(b"HEAD /healthz HTTP/1.1\r\nHost: h\r\n\r\n" + GET)
    assert peer.answer(bodiless=True)[0] == 200
    assert peer.answer()[2] == b"0"
    assert site.worker.scoreboard.requests == 3
    assert {access[1].path for access in site.log.accesses} <= {"/other", "/"}


def test_it_is_answered_while_all_threads_are_taken(app: Gate, serve_wsgi: Serve, eventually: Eventually) -> None:
    site = serve_wsgi(app, threads=2, health_path="/healthz")
    blocked = [site.connect() for _ in range(2)]
    for peer in blocked:
        peer.send(WAIT)
    eventually(lambda: app.waiting == 2, "both requests")
    held = [site.connect() for _ in range(4)]
    held[0].send(GET)
    held[1].send(GET * 3)
    held[2].send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello")
    held[3].send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000)
    for _ in range(3):
        assert site.connect().get("/healthz")[2] == b"ok"
    assert app.most == 2
    app.go.set()
    assert [peer.answer()[0] for peer in blocked] == [200] * 2
    assert held[0].answer()[2] == b"0"
    assert [held[1].answer()[2] for _ in range(3)] == [b"0"] * 3
    assert held[2].answer()[2] == b"5"
    assert held[3].answer()[2] == b"200000"
    assert app.most == 2
    for peer in blocked:  # and all goes on
        assert peer.get()[2] == b"0"


def test_a_drain_is_told(app: Gate, serve_wsgi: Serve, eventually: Eventually) -> None:
    site = serve_wsgi(app, threads=1, health_path="/healthz", policy={"keepalive": 600.0})
    blocked, probe = site.connect(), site.connect()
    assert probe.get("/healthz")[2] == b"ok"
    blocked.send(WAIT)
    eventually(lambda: app.waiting == 1, "the request")
    site.terminate()
    status, _, body = probe.get("/healthz")
    assert (status, body) == (503, b"draining")
    app.go.set()
    assert blocked.answer()[0] == 200
    site.wait()


def test_a_held_request_whose_client_leaves(app: Gate, serve_wsgi: Serve, eventually: Eventually) -> None:
    site = serve_wsgi(app, threads=1, health_path="/healthz")
    blocked, leaving = site.connect(), site.connect()
    blocked.send(WAIT)
    eventually(lambda: app.waiting == 1, "the request")
    leaving.send(GET)
    assert site.connect().get("/healthz", "Connection: close")[2] == b"ok"
    leaving.sock.shutdown(socket.SHUT_RDWR)
    leaving.reset()
    assert site.connect().get("/healthz", "Connection: close")[2] == b"ok"
    app.go.set()
    assert blocked.answer()[0] == 200
    eventually(lambda: site.connections == 1, "its end")
