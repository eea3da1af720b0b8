"""Small WSGI applications and requests for them, for tests of the drivers (``from small_apps import hello``)."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

StartResponse = Callable[..., Any]

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
WAIT = b"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n"


def hello(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def echo(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [])
    return [environ["wsgi.input"].read()]


def big(environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
    """As many blocks of 64 KiB as the query says, each of its own letter."""
    start_response("200 OK", [])
    for number in range(int(environ["QUERY_STRING"])):
        yield b"%c" % (97 + number % 26) * 65536


def blocks(count: int) -> bytes:
    """What :func:`big` answers."""
    return b"".join(b"%c" % (97 + number % 26) * 65536 for number in range(count))


def post(body: bytes, *fields: str) -> bytes:
    lines = ["POST / HTTP/1.1", "Host: h", f"Content-Length: {len(body)}", *fields, "", ""]
    return "\r\n".join(lines).encode() + body


class Gate:
    """``/wait`` waits for :attr:`go`; anything else answers at once, with the length of its input, and with the name
    of its thread in X-Thread. ``most`` is how many requests ran at the same time.
    """

    def __init__(self) -> None:
        self.go = threading.Event()
        self.waiting = 0
        self.running = 0
        self.most = 0
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        waits = environ["PATH_INFO"] == "/wait"
        self._count(1, waits)
        if waits:
            assert self.go.wait(20)
        size = len(environ["wsgi.input"].read())
        start_response("200 OK", [("X-Thread", threading.current_thread().name)])
        self._count(-1, waits)
        return [b"%d" % size]

    def _count(self, change: int, waits: bool) -> None:
        with self._lock:
            self.running += change
            self.waiting += change * waits
            self.most = max(self.most, self.running)
