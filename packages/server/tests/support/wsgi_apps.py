"""A WSGI application whose paths do what tests of workers need; loaded by name (``wsgi_apps:app``)."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.validate import validator

StartResponse = Callable[..., Any]


def app(environ: dict[str, Any], start_response: StartResponse) -> Any:
    name = environ["PATH_INFO"].strip("/") or "hello"
    return globals()[f"do_{name.replace('-', '_')}"](environ, start_response)


def _answer(start_response: StartResponse, body: bytes) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def do_hello(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    return _answer(start_response, b"hello")


def do_pid(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    return _answer(start_response, b"%d" % os.getpid())


def do_echo(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    return _answer(start_response, environ["wsgi.input"].read())


def do_lines(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    """Every way to read: a line, some bytes, the other lines."""
    body = environ["wsgi.input"]
    parts = [body.readline(), body.read(3), body.readline(2), *body.readlines()]
    return _answer(start_response, repr(parts).encode())


def do_stream_back(environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
    """Answers while the request is still arriving."""
    start_response("200 OK", [])
    for line in environ["wsgi.input"]:
        yield line.upper()


def do_first_line(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    """Reads one line of the body and leaves the rest."""
    return _answer(start_response, environ["wsgi.input"].readline())


def do_swallow(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    """Takes no notice of a body that cannot be read."""
    try:
        environ["wsgi.input"].read()
    except Exception as error:
        return _answer(start_response, type(error).__name__.encode())
    return _answer(start_response, b"read")


def do_fail(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    raise KeyError("the application fails")


def do_fail_late(environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [])
    yield b"some"
    raise KeyError("the application fails")


def do_big(environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
    """As many blocks of 64 KiB as the query says, each of its own letter."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    for number in range(int(environ["QUERY_STRING"])):
        yield b"%c" % (97 + number % 26) * 65536


def do_sleep(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    time.sleep(float(environ["QUERY_STRING"]))
    return _answer(start_response, b"slept")


def do_wait(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    """Says that it has begun by making the file *query*, and ends once that is gone."""
    path = environ["QUERY_STRING"]
    with open(path, "w"):
        pass
    while os.path.exists(path):
        time.sleep(0.005)
    return _answer(start_response, b"waited")


def do_events(environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
    """Begins, and ends once the file *query* is there."""
    start_response("200 OK", [("Content-Type", "text/event-stream")])
    yield b"data: first\n\n"
    while not os.path.exists(environ["QUERY_STRING"]):
        time.sleep(0.005)
    yield b"data: last\n\n"


def do_block(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    """Occupies the processor, and with it an event loop."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        pass
    return _answer(start_response, b"blocked")


def do_deaf(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    """The same, after an exception got lost, as it does in a callback that nobody called."""
    with contextlib.suppress(SystemExit):
        do_block(environ, start_response)
    return do_block(environ, start_response)


def do_modules(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    """Which classes the application sees under the names of the standard library."""
    import socket
    import threading

    found = [socket.socket.__module__, type(threading.Lock()).__module__, "asyncio" in sys.modules]
    return _answer(start_response, " ".join(map(str, found)).encode())


def do_environ(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    lines = [f"{name}={environ[name]}" for name in sorted(environ)]
    return _answer(start_response, "\n".join(lines).encode())


def do_early_hints(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    environ["wsgi.early_hints"]([("Link", "</a>")])
    return _answer(start_response, b"late")


def do_file(environ: dict[str, Any], start_response: StartResponse) -> Any:
    """Sends the file *query* by wsgi.file_wrapper."""
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return environ["wsgi.file_wrapper"](open(environ["QUERY_STRING"], "rb"))


def do_cipher(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    """What the application can ask its TLS connection."""
    sock = environ["gunicorn.socket"]
    return _answer(start_response, repr((sock.version(), sock.getpeercert(), sock.getsockname()[0])).encode())


def do_client_context(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    """Makes a context for a client of TLS, which fails when two kinds of them meet."""
    import ssl

    context = ssl.create_default_context()
    return _answer(start_response, f"{type(context).__module__} {context.protocol.name}".encode())


def do_echo_all(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    """Reads as wsgiref.validate allows it, which wants an argument."""
    parts = []
    while part := environ["wsgi.input"].read(65536):
        parts.append(part)
    return _answer(start_response, b"".join(parts))


def do_endless(environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
    """Blocks of 64 KiB for as long as they are taken; the file *query* grows by a byte for each."""
    start_response("200 OK", [])
    path = environ["QUERY_STRING"]
    try:
        with open(path, "wb", buffering=0) as log:
            while True:
                log.write(b".")
                yield b"x" * 65536
    finally:
        with open(path + ".closed", "w"):
            pass


slot: Any = None  # the scoreboard slot, where a test has set it


def do_slot(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    """What the scoreboard shows of this worker."""
    shown = {name: getattr(slot, name) for name in ("busy_since", "connections", "current", "requests")}
    return _answer(start_response, json.dumps({**shown, "state": slot.state.name}).encode())


validated = validator(app)
"""The same, held to PEP 3333 from both sides."""
