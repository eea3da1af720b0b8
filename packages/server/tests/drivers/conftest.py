"""Fixtures of the drivers' tests: an asyncio server on a loopback port of the test's own loop, and raw clients."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop
from gunicorn.drivers.asyncio_server import Options, Server
from gunicorn.http.policy import Policy

PATIENCE = 20.0


class ListHandler(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


class Client:
    """A raw TCP client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes | str) -> None:
        self.writer.write(data.encode("latin-1") if isinstance(data, str) else data)

    async def head(self) -> tuple[int, dict[str, str]]:
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = (line.split(": ", 1) for line in lines[1:-2])
        return int(lines[0].split()[1]), {name.lower(): value for name, value in fields}

    async def answer(self, bodiless: bool = False) -> tuple[int, dict[str, str], bytes]:
        """The next response, whole."""
        status, fields = await self.head()
        if bodiless:
            return status, fields, b""
        if "content-length" in fields:
            return status, fields, await self.reader.readexactly(int(fields["content-length"]))
        if fields.get("transfer-encoding") != "chunked":
            return status, fields, await self.reader.read()
        body = b""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
        assert await self.reader.readexactly(2) == b"\r\n"
        return status, fields, body

    async def get(self, path: str = "/", *fields: str) -> tuple[int, dict[str, str], bytes]:
        self.send("\r\n".join([f"GET {path} HTTP/1.1", "Host: h", *fields, "", ""]))
        return await self.answer()

    async def ended(self) -> bytes:
        """What still comes until the server closes."""
        try:
            return await self.reader.read()
        except ConnectionResetError:
            return b""

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await self.writer.wait_closed()

    def reset(self) -> None:
        """Go without a goodbye: RST, not FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class Site:
    """A running server with its log, for one test."""

    def __init__(self, server: Server, listener: socket.socket, handler: ListHandler) -> None:
        self.server = server
        self.listener = listener
        self.handler = handler
        self.clients: list[Client] = []

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def messages(self, level: int = logging.INFO) -> list[str]:
        return [record.getMessage() for record in self.handler.records if record.levelno >= level]

    async def connect(self, **how: Any) -> Client:
        where = (self.listener.getsockname()[0], self.port)
        client = Client(*await asyncio.open_connection(*where, **how))
        self.clients.append(client)
        return client

    async def until(self, condition: Callable[[], Any], what: str = "condition") -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not happen; log: {self.messages(0)}"
            await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def serving_app(
    app: Any, *, listener: socket.socket | None = None, policy: Policy | None = None, **options: Any
) -> AsyncIterator[Site]:
    loop = asyncio.get_running_loop()
    log = logging.Logger("test")
    handler = ListHandler()
    log.addHandler(handler)
    if listener is None:
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    state = options.pop("state", {})
    server = Server(app, loop, log, Options(policy or Policy(), **options), state)
    site = Site(server, listener, handler)
    server.start([listener])
    try:
        yield site
    finally:
        for client in site.clients:
            await client.close()
        await server.stop()
        listener.close()


@pytest.fixture
def serving() -> Any:
    """``async with serving(app, **options) as site``: a server with *app*; *options* as of Options, or ``policy``."""
    return serving_app


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """Runs a coroutine on a loop of each kind; errors that nobody awaited, and tasks left over, fail the test."""
    loop = uvloop.new_event_loop() if request.param == "uvloop" else asyncio.new_event_loop()
    lost: list[Any] = []
    loop.set_exception_handler(lambda _, context: lost.append(context))
    asyncio.set_event_loop(loop)

    def runner(coroutine: Coroutine[Any, Any, Any]) -> Any:
        result = loop.run_until_complete(asyncio.wait_for(coroutine, PATIENCE * 2))
        assert not asyncio.all_tasks(loop)
        gc.collect()
        loop.run_until_complete(asyncio.sleep(0))
        assert lost == []
        return result

    yield runner
    loop.run_until_complete(loop.shutdown_asyncgens())
    asyncio.set_event_loop(None)
    loop.close()
