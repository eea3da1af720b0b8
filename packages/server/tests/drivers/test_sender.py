"""Sender: responses and their readers, on real sockets. What sync and gthread have in common is tested on both."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gunicorn.drivers import patience
from small_apps import GET, big, blocks

Serve = Callable[..., Any]
Eventually = Callable[..., Any]
StartResponse = Callable[..., Any]


@pytest.mark.parametrize("count", [1, 3, 40])
def test_streams(count: int, serve: Serve) -> None:
    peer = serve(big).connect()
    for _ in range(2):
        assert peer.get(f"/?{count}")[2] == blocks(count)


def test_a_slow_reader_of_a_whole_response_keeps_nobody_waiting(serve: Serve) -> None:
    body = os.urandom(8_000_000)

    def app(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [])
        return [body if environ["PATH_INFO"] == "/body" else b"hello"]

    site = serve(app)
    slow, other = site.connect(receive_buffer=32768), site.connect()
    slow.send(b"GET /body HTTP/1.1\r\nHost: h\r\n\r\n" + GET)
    for _ in range(5):
        assert other.get()[2] == b"hello"
        slow._receive()
    assert slow.answer()[2] == body
    assert slow.answer()[2] == b"hello"


@pytest.mark.parametrize("length", [None, 40 * 65536])
def test_a_slow_reader_of_a_stream_gets_it_in_order(length: int | None, serve: Serve) -> None:
    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", str(length))] if length else [])
        for number in range(40):
            yield b"%c" % (97 + number % 26) * 65536

    site = serve(app)
    slow = site.connect(receive_buffer=32768)
    slow.send(GET)
    for _ in range(60):
        slow._receive()
        time.sleep(0.001)  # what makes it slow
    assert slow.answer()[2] == blocks(40)
    assert slow.get()[2] == blocks(40)


def test_a_block_is_with_its_reader_before_the_next_is_asked_for(serve: Serve) -> None:
    """PEP 3333: what was yielded is not held back while the application computes, however slowly it is read."""
    read = threading.Event()

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", "8000003")])
        yield b"x" * 8_000_000
        assert read.wait(20)
        yield b"end"

    peer = serve(app).connect(receive_buffer=32768)
    peer.send(GET)
    peer._until(b"\r\n\r\n")
    assert peer._take(8_000_000) == b"x" * 8_000_000
    read.set()
    assert peer._take(3) == b"end"


def test_a_reader_that_takes_nothing_is_given_up(serve: Serve, eventually: Eventually,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(patience, "WRITE_TIMEOUT", 0.2)
    closed = threading.Event()

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            while True:
                yield b"x" * 65536

        def close(self) -> None:
            closed.set()

    def app(environ: dict[str, Any], start_response: StartResponse) -> Any:
        start_response("200 OK", [])
        return Body() if environ["PATH_INFO"] == "/endless" else [b"hello"]

    site = serve(app)
    stuck = site.connect(receive_buffer=32768)
    stuck.send(b"GET /endless HTTP/1.1\r\nHost: h\r\n\r\n")
    assert closed.wait(20)
    eventually(lambda: site.connections == 0, "its end")
    assert site.connect().get()[2] == b"hello"
    assert site.log.messages(30) == []


def test_a_whole_response_that_nobody_takes_is_given_up(serve: Serve, eventually: Eventually,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(patience, "WRITE_TIMEOUT", 0.2)

    def app(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [])
        return [b"x" * 20_000_000]

    site = serve(app)
    site.connect(receive_buffer=32768).send(GET)
    eventually(lambda: site.worker.scoreboard.requests == 1, "the request")
    eventually(lambda: site.connections == 0, "its end")


def test_a_client_that_leaves_a_stream(serve: Serve) -> None:
    closed = threading.Event()

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            while True:
                yield b"x" * 65536

        def close(self) -> None:
            closed.set()

    def app(environ: dict[str, Any], start_response: StartResponse) -> Any:
        start_response("200 OK", [])
        return Body() if environ["PATH_INFO"] == "/endless" else [b"hello"]

    site = serve(app)
    peer = site.connect()
    peer.send(b"GET /endless HTTP/1.1\r\nHost: h\r\n\r\n")
    peer._receive()
    peer.reset()
    assert closed.wait(20)
    assert site.connect().get()[2] == b"hello"
