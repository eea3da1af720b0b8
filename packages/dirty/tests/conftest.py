"""Fixtures of this package's tests: pools of real processes, and waiting for conditions with a deadline."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from gunicorn.dirty.client import DirtyClient
from gunicorn.dirty.errors import DirtyError
from gunicorn.dirty.protocol import BinaryProtocol

HERE = Path(__file__).parent
DEADLINE = 20.0  # seconds for anything that should happen at once, on a machine that is busy


def wait_for(condition: Callable[[], Any], what: str, deadline: float = DEADLINE) -> Any:
    """Poll until `condition()` is true and return what it gave."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"waited {deadline:g} s in vain: {what}"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie that nobody has reaped yet does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter when it ends between opening and reading
        return False


def session(sid: int) -> list[int]:
    """The running processes of a session."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as file:
                    fields = file.read().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if fields[0] != "Z" and int(fields[3]) == sid:
                found.append(int(entry))
    return found


class Calls:
    """Calls in threads, with what became of each."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.outcomes: list[Any] = []

    def start(self, function: Callable[[], Any]) -> None:
        def run() -> None:
            try:
                self.outcomes.append(function())
            except DirtyError as exc:
                self.outcomes.append(exc)

        thread = threading.Thread(target=run)
        thread.start()
        self.threads.append(thread)

    def join(self) -> list[Any]:
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive()
        return self.outcomes


class PoolProcess:
    """A pool run by `python -m gunicorn.dirty` in a session of its own."""

    def __init__(self, directory: str, arguments: list[str], env: dict[str, str], program: str | None = None) -> None:
        """:param program: Python text to be run instead, with the socket's path as its argument"""
        self.directory = directory
        self.path = os.path.join(directory, "s")
        self.log_path = os.path.join(directory, "log")
        self.log_file = open(self.log_path, "w")  # noqa: SIM115 (closed in end)
        words = ["-m", "gunicorn.dirty", "--socket", self.path, "--chdir", str(HERE), *arguments]
        if program is not None:
            words = ["-c", program, self.path]
        self.process = subprocess.Popen(
            [sys.executable, *words],
            cwd=HERE,
            stdout=self.log_file,
            stderr=self.log_file,
            env={**os.environ, "PYTHONWARNINGS": "error", **env},
            start_new_session=True,
        )
        self.pid = self.process.pid
        self.clients: list[DirtyClient] = []
        wait_for(lambda: self.process.poll() is not None or self.accepts(), "the pool listens")

    def accepts(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            try:
                sock.connect(self.path)
            except OSError:
                return False
            return True

    @property
    def log(self) -> str:
        return Path(self.log_path).read_text()

    def client(self, timeout: float | None = 20.0) -> DirtyClient:
        client = DirtyClient(self.path, timeout)
        self.clients.append(client)
        return client

    def ask(self, message: dict[str, Any]) -> Any:
        """One message over a connection of its own; returns the answer."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(10)
            sock.connect(self.path)
            BinaryProtocol.write_message(sock, message)
            return BinaryProtocol.read_message(sock)

    def status(self) -> dict[str, Any]:
        result: dict[str, Any] = self.ask({"type": "status", "id": 1})["result"]
        return result

    def ready(self) -> PoolProcess:
        wait_for(lambda: self.status()["state"] == "ready", "the pool is ready")
        return self

    def busy(self) -> list[dict[str, Any]]:
        """The slots that run something."""
        return [slot for worker in self.status()["workers"] for slot in worker["slots"] if slot["busy"]]

    def idle(self) -> None:
        """Wait until no slot runs anything and nothing waits."""

        wait_for(lambda: not self.busy() and not self.status()["queued"], "the pool is idle")

    def worker_pids(self) -> list[int]:
        return [worker["pid"] for worker in self.status()["workers"] if worker["state"] in ("ready", "loading")]

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(DEADLINE)

    def end(self) -> None:
        for client in self.clients:
            client.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        left = []
        try:
            wait_for(lambda: not session(self.pid), "all of the pool's processes are gone", 5)
        except AssertionError:
            left = session(self.pid)
            for pid in left:
                os.kill(pid, signal.SIGKILL)
        self.log_file.close()
        log = self.log
        shutil.rmtree(self.directory)
        assert not left, f"left over: {left}\n{log}"
        assert "Traceback" not in log or "expected failure" in log, log


Start = Callable[..., PoolProcess]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start pools: `start("--workers", "2", app="Sample:1")`; they and all their processes are gone at the end."""
    pools: list[PoolProcess] = []

    def start_pool(
        *arguments: str, app: str | tuple[str, ...] = "Sample", env: dict[str, str] | None = None
    ) -> PoolProcess:
        pools.append(make_pool(*arguments, app=app, env=env))
        return pools[-1]

    yield start_pool
    for pool in pools:
        pool.end()


@pytest.fixture
def program() -> Iterator[Callable[[str], PoolProcess]]:
    """Start a pool by a program of its own (Python text, `sys.argv[1]` is the socket's path); it is gone at the end."""
    pools: list[PoolProcess] = []

    def start_program(text: str) -> PoolProcess:
        pools.append(PoolProcess(tempfile.mkdtemp(prefix="gd"), [], {}, text))
        return pools[-1]

    yield start_program
    for pool in pools:
        pool.end()


def make_pool(*arguments: str, app: str | tuple[str, ...] = "Sample", env: dict[str, str] | None = None) -> PoolProcess:
    apps = (app,) if isinstance(app, str) else app
    options = [word for name in apps for word in ("--app", f"sampleapps:{name}")]
    return PoolProcess(tempfile.mkdtemp(prefix="gd"), [*options, *arguments], env or {})


@pytest.fixture(scope="session")
def pools() -> Callable[..., Any]:
    """Like `start`, as a context manager, for fixtures of a module."""

    @contextmanager
    def pool(*arguments: str, **options: Any) -> Iterator[PoolProcess]:
        made = make_pool(*arguments, **options)
        try:
            yield made
        finally:
            made.end()

    return pool


@pytest.fixture(scope="module")
def shared() -> Iterator[PoolProcess]:
    """A pool for the tests of a module that leave it as it was: two workers with two threads."""
    arguments = ["--app", "sampleapps:Sample", "--workers", "2", "--threads", "2"]
    pool = PoolProcess(tempfile.mkdtemp(prefix="gd"), arguments, {})
    try:
        yield pool.ready()
    finally:
        pool.end()


@pytest.fixture(name="wait_for")
def wait_for_fixture() -> Callable[..., Any]:
    return wait_for


@pytest.fixture(name="alive")
def alive_fixture() -> Callable[[int], bool]:
    return alive


@pytest.fixture
def short_dir() -> Iterator[str]:
    """A directory whose path is short enough for unix sockets."""
    path = tempfile.mkdtemp(prefix="gd")
    yield path
    shutil.rmtree(path)


@pytest.fixture
def calls() -> Iterator[Calls]:
    """Calls in threads, which have all come back at the end."""
    made = Calls()
    yield made
    made.join()
