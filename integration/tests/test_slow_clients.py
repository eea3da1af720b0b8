"""Slow clients by the thousand (slowhttptest) on every worker class, while another client is served promptly.

As many slow connections as `worker_connections` allows, which is 1,000, and the other client on top of them. It needs
slowhttptest (Debian: `apt-get install slowhttptest`): without it the test is skipped, but in CI (environment variable
CI) it fails. By hand for longer: `SLOW_SECONDS=30 pytest integration/tests/test_slow_clients.py`.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from integration.conftest import Server

CONNECTIONS = 1000
MADE = 900  # of them at least; the attacker too is slow where much else runs
SECONDS = int(os.environ.get("SLOW_SECONDS", "10"))  # of each attack
PROMPTLY = 6.0  # seconds for each answer to the other client; a lot, but shorter than an attack
DESCRIPTORS = CONNECTIONS + 200

WORKERS = {
    "sync": ("--worker-class", "sync", "slow_wsgi:app"),
    "gthread": ("--worker-class", "gthread", "--threads", "4", "slow_wsgi:app"),
    "gevent": ("--worker-class", "gevent", "slow_wsgi:app"),
    "asgi": ("--worker-class", "asgi", "slow_asgi:app"),
}
ATTACKS = {
    "header": ("/", "-H", "-i", "2", "-x", "24"),
    "body": ("/", "-B", "-i", "2", "-x", "10", "-s", "8192"),
    "read": ("/big", "-X", "-w", "10", "-y", "20", "-n", "1", "-z", "5", "-k", "1"),
}

WSGI = """
BIG = b"x" * 131072

def app(environ, start_response):
    environ["wsgi.input"].read()
    body = BIG if environ["PATH_INFO"] == "/big" else b"hello"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""
ASGI = """
BIG = b"x" * 131072

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    while (await receive()).get("more_body"):
        pass
    body = BIG if scope["path"] == "/big" else b"hello"
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""
# Accepted connections inherit it: otherwise the kernel takes responses of this size from the server at once.
CONFIG = """
import socket

def when_ready(server):
    for listener in server.LISTENERS:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
"""


@pytest.fixture
def descriptors() -> Iterator[None]:
    """As many file descriptors for each process as the test needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS:
        missing(f"a process may open {hard} files here (ulimit -Hn), and this needs {DESCRIPTORS}")
    if soft != resource.RLIM_INFINITY and soft < DESCRIPTORS:
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def missing(reason: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


class Attack:
    """slowhttptest against a server, as long as the `with` block lasts or until it has had its time."""

    def __init__(self, port: int, path: str, options: tuple[str, ...], output: Path) -> None:
        words = ["slowhttptest", *options, "-c", str(CONNECTIONS), "-r", str(CONNECTIONS), "-l", str(SECONDS)]
        self._output = output
        with output.open("wb") as file:
            self._process = subprocess.Popen(
                [*words, "-p", "5", "-u", f"http://127.0.0.1:{port}{path}"],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Attack:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def going_on(self) -> bool:
        return self._process.poll() is None

    def wait(self, seconds: float) -> None:
        """Wait for its end, at most so long."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    @property
    def output(self) -> str:
        return self._output.read_text(errors="replace")

    @property
    def connections(self) -> int:
        """How many connections it has made, as it said last."""
        text = re.sub(r"\x1b\[[0-9;]*m", "", self.output)
        now = re.findall(r"connected:\s+(\d+)", text)
        gone = re.findall(r"closed:\s+(\d+)", text)
        return int(now[-1]) + int(gone[-1]) if now and gone else 0


class OtherClient:
    """A client that asks on a new connection each time, while an attack goes on.

    :ivar slowest: seconds for the slowest answer
    :ivar served: how many good answers it got
    :ivar failures: what else happened
    """

    def __init__(self, server: Server, attack: Attack) -> None:
        self.slowest = 0.0
        self.served = 0
        self.failures: list[str] = []
        self._server = server
        self._attack = attack
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> OtherClient:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._thread.join()

    def _run(self) -> None:
        while self._attack.going_on:
            began = time.monotonic()
            try:
                reply = self._server.ask("/")
            except Exception as error:
                self.failures.append(f"{type(error).__name__} after {time.monotonic() - began:.1f} s: {error}")
                continue
            self.slowest = max(self.slowest, time.monotonic() - began)
            if reply.status != 200 or reply.body != b"hello":
                self.failures.append(str(reply))
            self.served += 1
            self._attack.wait(0.1)  # a pause: there are four of these, and one machine


@pytest.mark.parametrize("kind", ATTACKS)
@pytest.mark.usefixtures("descriptors")
def test_other_clients_are_served(kind: str, serve: Callable[..., Server], directory: Path) -> None:
    if shutil.which("slowhttptest") is None:
        missing("slowhttptest is not installed: slow clients are not tested")
    for name, text in {"slow_wsgi.py": WSGI, "slow_asgi.py": ASGI, "gunicorn.conf.py": CONFIG}.items():
        (directory / name).write_text(text)
    servers = {name: serve("--no-control-socket", *words) for name, words in WORKERS.items()}
    for server in servers.values():
        server.ready()
    path, *options = ATTACKS[kind]
    with ExitStack() as ends:
        attacks, others = {}, {}
        for name, server in servers.items():
            assert isinstance(server.address, int)
            attack = Attack(server.address, path, tuple(options), directory / f"slow-{name}")
            attacks[name] = ends.enter_context(attack)
            others[name] = ends.enter_context(OtherClient(server, attack))
    report = {}
    for name, other in others.items():
        made = attacks[name].connections
        print(f"{kind}, {name}: {made} slow connections; {other.served} answers to the other client, the slowest")
        print(f"after {other.slowest:.2f} s; failures: {other.failures}")
        if other.failures or other.slowest > PROMPTLY or not other.served:
            report[name] = (other.served, other.slowest, other.failures)
        assert made >= MADE, attacks[name].output
    assert report == {}, "answers, the slowest, and failures of the workers that did not serve the other client"
