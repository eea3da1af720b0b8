"""Fixtures of the drivers' tests: an asyncio server on a loopback port of the test's own loop, and raw clients;
WSGI workers in threads (selector, crew) and in processes of their own (greenlet), and raw blocking clients.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
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
    except BaseException:
        for client in site.clients:  # what they have not sent would keep them from closing
            client.writer.transport.abort()
        raise
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
    if request.param == "uvloop":
        loop = pytest.importorskip("uvloop", reason="uvloop is not installed").new_event_loop()
    else:
        loop = asyncio.new_event_loop()
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


# ---------------------------------------------------------------- WSGI workers

SUPPORT = Path(__file__).parent.parent / "support"
SOON = 0.02  # seconds: how often the drivers under test look at the clock


class Peer:
    """A raw client on a blocking socket."""

    def __init__(self, port: int, receive_buffer: int = 0) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(PATIENCE)
        self.buffer = b""
        try:
            self.sock.connect(("127.0.0.1", port))
        except OSError:
            self.sock.close()
            raise

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def get(self, path: str = "/", *fields: str) -> tuple[int, dict[str, str], bytes]:
        self.send("\r\n".join([f"GET {path} HTTP/1.1", "Host: h", *fields, "", ""]).encode())
        return self.answer()

    def answer(self, bodiless: bool = False) -> tuple[int, dict[str, str], bytes]:
        """The next response, whole."""
        lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        status = int(lines[0].split()[1])
        fields = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:-2])}
        if bodiless or status < 200:
            return status, fields, b""
        if "content-length" in fields:
            return status, fields, self._take(int(fields["content-length"]))
        if fields.get("transfer-encoding") != "chunked":
            return status, fields, self.rest()
        body = b""
        while size := int(self._until(b"\r\n"), 16):
            body += self._take(size)
            assert self._take(2) == b"\r\n"
        assert self._take(2) == b"\r\n"
        return status, fields, body

    def rest(self) -> bytes:
        """Everything until the server closes. ConnectionResetError when it does so rudely."""
        while self._receive():
            pass
        found, self.buffer = self.buffer, b""
        return found

    def closed(self) -> bool:
        """Whether the server has closed, or does so now; nothing may come before."""
        return self.rest() == b""

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def _receive(self) -> bool:
        data = self.sock.recv(65536)
        self.buffer += data
        return bool(data)

    def _until(self, mark: bytes) -> bytes:
        while mark not in self.buffer:
            assert self._receive(), f"the server closed after {self.buffer!r}"
        found, _, self.buffer = self.buffer.partition(mark)
        return found + mark

    def _take(self, size: int) -> bytes:
        while len(self.buffer) < size:
            assert self._receive(), f"the server closed after {len(self.buffer)} of {size} bytes"
        found, self.buffer = self.buffer[:size], self.buffer[size:]
        return found


class TestLog:
    """What a worker needs of glogging.Logger, kept in a list."""

    __test__ = False
    access_log_enabled = False

    def __init__(self) -> None:
        self.error_log = logging.Logger("test")
        self.handler = ListHandler()
        self.error_log.addHandler(self.handler)
        for name in ("debug", "info", "warning", "error", "exception", "critical"):
            setattr(self, name, getattr(self.error_log, name))
        self.accesses: list[tuple[Any, ...]] = []

    def access(self, *args: Any) -> None:
        self.accesses.append(args)

    def messages(self, level: int = logging.INFO) -> list[str]:
        return [record.getMessage() for record in self.handler.records if record.levelno >= level]


def until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.002)


class WSGISite:
    """A worker without a master, in a thread."""

    def __init__(self, worker: Any) -> None:
        self.worker = worker
        self.log: TestLog = worker.log
        self.peers: list[Peer] = []
        self.errors: list[BaseException] = []
        name = worker.sockets[0].getsockname()
        self.port = int(name[1]) if isinstance(name, tuple) else 0
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.worker.run()
        except BaseException as error:
            self.errors.append(error)

    def connect(self, receive_buffer: int = 0) -> Peer:
        peer = Peer(self.port, receive_buffer)
        self.peers.append(peer)
        return peer

    @property
    def connections(self) -> int:
        return int(self.worker.scoreboard.connections)

    def terminate(self) -> None:
        """What TERM does to a worker."""
        self.worker.handle_exit(signal.SIGTERM, None)
        self.worker.wakeup()

    def wait(self) -> None:
        """Wait for the end of the worker's run()."""
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive(), f"the worker does not end; log: {self.log.messages(0)}"

    def close(self) -> None:
        for peer in self.peers:
            peer.sock.close()
        self.terminate()
        self.wait()
        for listener in self.worker.sockets:
            listener.close()
        os.close(self.worker.wakeup_fd)
        os.close(self.worker._wakeup_write_fd)
        assert self.errors == []


@pytest.fixture
def serve_wsgi(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., WSGISite]]:
    """``serve_wsgi(app, threads=0, policy={}, observed=False, **settings)``: a ``sync`` worker, or with threads a
    ``gthread`` worker. *policy* overrides fields of the worker's Policy, *observed* switches the access log on,
    *listener* is closed with the worker, *parent_fd* is the caller's.
    """
    from gunicorn.config import Config
    from gunicorn.drivers import crew, selector
    from gunicorn.workers.gthread import ThreadWorker
    from gunicorn.workers.sync import SyncWorker

    sites: list[WSGISite] = []
    monkeypatch.setattr(selector, "TICK", SOON)
    monkeypatch.setattr(crew, "SUPERVISE", SOON)

    def start(
        app: Any,
        threads: int = 0,
        policy: dict[str, Any] | None = None,
        observed: bool = False,
        listener: socket.socket | None = None,
        parent_fd: int = -1,
        **settings: Any,
    ) -> WSGISite:
        cfg = Config()
        for name, value in {**settings, "threads": max(threads, 1)}.items():
            cfg.set(name, value)
        made = Policy.from_config(cfg)
        for name, value in (policy or {}).items():
            setattr(made, name, value)
        monkeypatch.setattr(Policy, "from_config", lambda cfg: made)
        kind = ThreadWorker if threads else SyncWorker
        listener = listener or socket.create_server(("127.0.0.1", 0), backlog=128)
        log = TestLog()
        log.access_log_enabled = observed
        worker = kind(1, os.getppid(), [listener], None, 15, cfg, log)
        worker.wsgi = app
        worker.parent_fd = parent_fd
        worker._open_wakeup()
        site = WSGISite(worker)
        sites.append(site)
        until(lambda: worker.scoreboard.heartbeat, "the first heartbeat")  # by then the driver has read its policy
        return site

    yield start
    for site in sites:
        site.close()


@pytest.fixture(params=[0, 3], ids=["sync", "gthread"])
def serve(request: pytest.FixtureRequest, serve_wsgi: Callable[..., WSGISite]) -> Callable[..., WSGISite]:
    """``serve_wsgi`` inline, and with three threads."""

    def start(app: Any, **options: Any) -> WSGISite:
        return serve_wsgi(app, threads=request.param, **options)

    return start


class GreenletSite:
    """A gevent worker without a master, in a process of its own (support/greenlet_site.py)."""

    def __init__(self, options: dict[str, Any]) -> None:
        parent, self._parent = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, str(SUPPORT / "greenlet_site.py"), json.dumps({**options, "parent_fd": parent})],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=(parent,),
        )
        os.close(parent)
        assert self.process.stdout is not None
        self.peers: list[Peer] = []
        line = self.process.stdout.readline()
        assert line.startswith("port "), self._end()
        self.port = int(line.split()[1])

    def _end(self) -> str:
        self.process.kill()
        return "".join(self.process.communicate())

    def connect(self, receive_buffer: int = 0) -> Peer:
        peer = Peer(self.port, receive_buffer)
        self.peers.append(peer)
        return peer

    def send_signal(self, signum: int) -> None:
        self.process.send_signal(signum)

    def wait(self) -> tuple[int, str]:
        """Wait for the end of the process: its exit status and what it has logged."""
        try:
            output = "".join(self.process.communicate(timeout=PATIENCE))
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the worker does not end: {self._end()}") from None
        return self.process.returncode, output

    def finish(self) -> str:
        """The end of all clients, TERM, and what was logged."""
        for peer in self.peers:
            peer.sock.close()
        self.send_signal(signal.SIGTERM)
        status, output = self.wait()
        assert status == 0, output
        return output

    def lose_parent(self) -> None:
        """What the end of the master does."""
        if self._parent >= 0:
            os.close(self._parent)
            self._parent = -1

    def close(self) -> None:
        for peer in self.peers:
            peer.sock.close()
        if self.process.returncode is None:
            self._end()
        self.lose_parent()


@pytest.fixture
def serve_greenlets() -> Iterator[Callable[..., GreenletSite]]:
    """``serve_greenlets(policy={}, app="wsgi_apps:app", patience=0.0, **settings)``: a gevent worker. *patience*
    replaces that of ``drivers.admission``.
    """
    pytest.importorskip("gevent")
    sites: list[GreenletSite] = []

    def start(
        policy: dict[str, Any] | None = None, app: str = "wsgi_apps:app", patience: float = 0.0, **settings: Any
    ) -> GreenletSite:
        options = {"policy": policy or {}, "settings": settings, "tick": SOON, "app": app, "patience": patience}
        sites.append(GreenletSite(options))
        return sites[-1]

    yield start
    for site in sites:
        site.close()
