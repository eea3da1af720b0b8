"""The applications of http.py, as every server serves them: one path per scenario, 13 bytes for all others."""

from collections.abc import Callable, Iterable
from typing import Any

HELLO = b"Hello, World!"
PAGE = bytes(range(32, 127)) * 108
PAGE = PAGE[: 10 * 1024]
BLOCK = bytes(64 * 1024)
BLOCKS = 100
PLAIN = ("Content-Type", "text/plain")
HELLO_HEADERS = [PLAIN, ("Content-Length", str(len(HELLO)))]
PAGE_HEADERS = [PLAIN, ("Content-Length", str(len(PAGE)))]


def hello(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", HELLO_HEADERS.copy())
    return [HELLO]


def page(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", PAGE_HEADERS.copy())
    return [PAGE]


def echo(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    start_response("200 OK", [PLAIN, ("Content-Length", str(len(body)))])
    return [body]


def upload(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Reads as frameworks do, in blocks, and answers how many bytes there were."""
    left = int(environ["CONTENT_LENGTH"])
    read, total = environ["wsgi.input"].read, 0
    while left and (block := read(min(left, len(BLOCK)))):
        total += len(block)
        left -= len(block)
    answer = str(total).encode()
    start_response("200 OK", [PLAIN, ("Content-Length", str(len(answer)))])
    return [answer]


def stream(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return (BLOCK for _ in range(BLOCKS))


WSGI: dict[str, Callable[[dict[str, Any], Any], Iterable[bytes]]] = {
    "/page": page,
    "/echo": echo,
    "/upload": upload,
    "/stream": stream,
}


def wsgi(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    return WSGI.get(environ["PATH_INFO"], hello)(environ, start_response)


RAW_PLAIN = (b"content-type", b"text/plain")
RAW_HELLO_HEADERS = [RAW_PLAIN, (b"content-length", str(len(HELLO)).encode())]
RAW_PAGE_HEADERS = [RAW_PLAIN, (b"content-length", str(len(PAGE)).encode())]
RAW_STREAM_HEADERS = [(b"content-type", b"application/octet-stream")]


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise RuntimeError(f"no {scope['type']} here")
    path = scope["path"]
    if path == "/page":
        headers, body = RAW_PAGE_HEADERS.copy(), PAGE
    elif path == "/echo":
        body = await received(receive)
        headers = [RAW_PLAIN, (b"content-length", str(len(body)).encode())]
    elif path == "/upload":
        body = str(await counted(receive)).encode()
        headers = [RAW_PLAIN, (b"content-length", str(len(body)).encode())]
    elif path == "/stream":
        await send({"type": "http.response.start", "status": 200, "headers": RAW_STREAM_HEADERS.copy()})
        for _ in range(BLOCKS):
            await send({"type": "http.response.body", "body": BLOCK, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    else:
        headers, body = RAW_HELLO_HEADERS.copy(), HELLO
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def received(receive: Any) -> bytes:
    """The body, as one piece."""
    blocks = []
    while True:
        message = await receive()
        blocks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(blocks)


async def counted(receive: Any) -> int:
    """The body's length; its blocks are let go as they come."""
    total = 0
    while True:
        message = await receive()
        total += len(message.get("body", b""))
        if not message.get("more_body", False):
            return total
