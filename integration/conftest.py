"""Fixtures of the integration tests: real servers in directories of their own, clients that load them, and the proof
that nothing of a server is left when its test ends.

Used by tests/test_serving.py and tests/test_faults.py; test_demo.py starts its servers by the demo's own command.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

APPS = Path(__file__).parent / "apps"
PATIENCE = 30.0  # seconds, for one thing to happen; a loaded machine is slow
MARK = "GUNICORN_TEST_TREE"  # environment variable by which a process is known to be of a test's tree
FOREIGN = ("GUNICORN_CMD_ARGS", "GUNICORN_DIRTY_SOCKET", "GUNICORN_FD", "GUNICORN_PID", "WEB_CONCURRENCY")


def eventually(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Ask for `condition` until it is true, and return its value."""
    deadline = time.monotonic() + patience
    while True:
        if value := condition():
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {patience:g} s: {what}")
        time.sleep(0.01)


class Reply(NamedTuple):
    status: int
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        assert self.status == 200, self
        return json.loads(self.body)


class Connection(http.client.HTTPConnection):
    """A client's connection to a TCP port or a unix socket."""

    def __init__(self, address: int | str) -> None:
        super().__init__("127.0.0.1", address if isinstance(address, int) else 80, timeout=PATIENCE)
        self.address = address

    def connect(self) -> None:
        if isinstance(self.address, int):
            super().connect()
        else:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(PATIENCE)
            self.sock.connect(self.address)

    def ask(self, path: str = "/", body: bytes | None = None) -> Reply:
        """One request, whole."""
        self.request("GET" if body is None else "POST", path, body)
        response = self.getresponse()
        return Reply(response.status, response.read())

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


class Process(NamedTuple):
    pid: int
    began: str  # a pid may come again, with another start time
    parent: int


def process(pid: int) -> Process | None:
    """A process as it is now; None when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else Process(pid, fields[19], int(fields[1]))


class Server:
    """A `gunicorn` command in a directory, a session and temporary folders of its own.

    :ivar address: port, or path of the unix socket
    :ivar clean: whether a traceback in the output fails the test at its end
    """

    def __init__(self, directory: Path, args: tuple[str, ...], env: dict[str, str]) -> None:
        self.directory = directory
        self.control = str(directory / "c")
        self.mark = f"{MARK}={uuid.uuid4().hex}"
        self.clean = True
        self._strangers: set[tuple[int, str]] = set()  # processes known to be none of this tree
        self._bound: str | None = args[args.index("--bind") + 1] if "--bind" in args else None
        self._log = directory / f"log-{self.mark[-6:]}"
        folders = {"TMPDIR": "tmp", "HOME": "home", "XDG_RUNTIME_DIR": "run"}
        for name in folders.values():
            (directory / name).mkdir(mode=0o700, exist_ok=True)
        base = {name: value for name, value in os.environ.items() if name not in FOREIGN}
        base |= {name: str(directory / folder) for name, folder in folders.items()}
        base |= {**dict([self.mark.split("=")]), "PYTHONWARNINGS": "default"}  # finish() fails for any
        bind = () if self._bound else ("--bind", "127.0.0.1:0")
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "--control-socket", self.control, *bind, *args],
                cwd=directory,
                env={**base, **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self.process.pid

    # What it says

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first match of `pattern` in the output, once it is there."""

        def found() -> re.Match[str] | None:
            match = re.search(pattern, self.output)
            assert match or self.process.poll() is None, f"the master ended with {self.process.returncode}"
            return match

        match = eventually(found, f"{pattern!r} in the output")
        assert isinstance(match, re.Match)
        return match

    @property
    def address(self) -> int | str:
        if self._bound and self._bound.startswith("unix:"):
            return self._bound.removeprefix("unix:")
        return int(self.wait_for(r"Listening at: http://127\.0\.0\.1:(\d+)")[1])

    # What it answers

    def connect(self) -> Connection:
        """A connection to it, to be closed by the caller."""
        return Connection(self.address)

    def ask(self, path: str = "/", body: bytes | None = None) -> Reply:
        """One request on a connection of its own."""
        with self.connect() as connection:
            return connection.ask(path, body)

    def try_to_ask(self, path: str = "/") -> Reply | None:
        """The answer, if it is a good one."""
        try:
            reply = self.ask(path)
        except (OSError, http.client.HTTPException):
            return None
        return reply if reply.status == 200 else None

    def ready(self, path: str = "/") -> Reply:
        """Wait for the first good answer."""

        def answered() -> Reply | None:
            assert self.process.poll() is None, f"the master ended with {self.process.returncode}"
            return self.try_to_ask(path)

        reply = eventually(answered, f"an answer to {path}")
        assert isinstance(reply, Reply)
        return reply

    def control_client(self, command: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Run gunicornc against it."""
        words = [sys.executable, "-m", "gunicornc", "-s", self.control, "-c", command, *options]
        return subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)

    # Its processes

    def tree(self) -> dict[int, Process]:
        """Every living process of the tree, whoever its parent is by now."""
        found = {}
        mark = self.mark.encode()
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            one = process(int(entry))
            if one is None or (one.pid, one.began) in self._strangers:
                continue
            try:
                environ = Path(f"/proc/{entry}/environ").read_bytes()
                if os.getsid(one.pid) == self.pid or mark in environ:
                    found[one.pid] = one
                elif environ:  # it is empty for a moment while a process becomes another program
                    self._strangers.add((one.pid, one.began))
            except (FileNotFoundError, ProcessLookupError):
                continue
            except PermissionError:
                self._strangers.add((one.pid, one.began))
        return found

    def children(self) -> set[int]:
        """The living children of the master."""
        return {one.pid for one in self.tree().values() if one.parent == self.pid}

    def wait_for_children(self, count: int, without: set[int] = frozenset()) -> set[int]:  # type: ignore[assignment]
        """Wait until the master has `count` children, and none of `without`."""

        def complete() -> set[int] | None:
            now = self.children()
            return now if len(now) == count and not now & without else None

        return set(eventually(complete, f"{count} children, none of {without or 'no'}"))

    # Its end

    def send(self, signum: signal.Signals) -> None:
        os.kill(self.pid, signum)

    def wait(self, patience: float = PATIENCE) -> int:
        """Wait for the end of the master; returns its exit status."""
        return self.process.wait(patience)

    def wait_until_gone(self, patience: float = PATIENCE) -> None:
        """Wait until no process of the tree is left."""
        eventually(lambda: not self.tree(), "the end of all processes of the tree", patience)

    def files_left(self) -> list[str]:
        """Files, sockets and folders that are there and were not before the start."""
        found = [*(self.directory / "tmp").rglob("*"), *(self.directory / "run").rglob("*")]
        found += [path for path in self.directory.rglob("*") if path.is_socket()]
        return sorted({str(path.relative_to(self.directory)) for path in found})

    def assert_nothing_left(self) -> None:
        self.wait_until_gone()
        assert self.files_left() == []

    def kill(self) -> None:
        """End whatever is left, without mercy."""
        for pid in self.tree():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait(PATIENCE)
        self.wait_until_gone()

    def finish(self) -> None:
        """The end of a test: the server stops when asked to, leaves nothing behind and did not complain."""
        try:
            if self.process.poll() is None:
                self.send(signal.SIGTERM)
                assert self.wait() == 0
                self.assert_nothing_left()
            if self.clean:
                assert "Traceback" not in self.output
                assert "Warning:" not in self.output
        finally:
            self.kill()
            print(self.output)  # pytest shows it when the test has failed


class Load:
    """Clients that ask one after the other, each as long as the `with` block lasts.

    :param keep_alive: each client keeps its connection; when the server has closed it while it was idle, the request is
        repeated on a new one, as every HTTP client does (RFC 9112, 9.3.1)
    :ivar answers: those with status 200, in the order in which they came: when each was asked for (monotonic), its body
    :ivar bad: what else happened
    """

    def __init__(self, address: int | str, path: str = "/", clients: int = 3, keep_alive: bool = False) -> None:
        self.path = path
        self.answers: list[tuple[float, str]] = []
        self.bad: list[str] = []
        self._address = address
        self._keep_alive = keep_alive
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    @property
    def good(self) -> list[str]:
        """The bodies of the answers."""
        return [text for _, text in self.answers]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _run(self) -> None:
        connection = Connection(self._address)
        used = False
        while not self._over.wait(0.001):  # the pace; a machine that is shared must not drown
            asked = time.monotonic()
            try:
                reply = connection.ask(self.path)
            except (OSError, http.client.HTTPException) as exc:
                connection.close()
                stale = used and isinstance(exc, (http.client.RemoteDisconnected, ConnectionError))
                used = False
                if not stale:
                    self.bad.append(f"{type(exc).__name__}: {exc}")
                continue
            used = self._keep_alive
            if not self._keep_alive:
                connection.close()
            if reply.status == 200:
                self.answers.append((asked, reply.text))
            else:
                self.bad.append(f"{reply.status} {reply.text}")
        connection.close()

    def wait_for(self, count: int, among: Callable[[str], bool] = lambda _: True) -> None:
        """Wait for `count` more good answers."""
        start = len(self.good)
        eventually(lambda: sum(map(among, self.good[start:])) >= count, f"{count} more good answers")


@pytest.fixture(name="eventually")
def _eventually() -> Callable[..., Any]:
    return eventually


@contextmanager
def _a_directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="gi-"))
    for source in APPS.glob("house_*.py"):
        shutil.copy(source, path)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory with the applications of apps/ and a short name, since unix sockets lie in it."""
    with _a_directory() as path:
        yield path


@pytest.fixture
def serve(directory: Path) -> Iterator[Callable[..., Server]]:
    """Start `gunicorn` with these arguments (and environment variables); its end is checked when the test ends."""
    with ExitStack() as ends:

        def start(*args: str, **env: str) -> Server:
            server = Server(directory, args, env)
            ends.callback(server.finish)
            return server

        yield start


@pytest.fixture(scope="module")
def serve_module() -> Iterator[Callable[..., Server]]:
    """As `serve`, for a module whose tests share servers. `conf` has settings for a configuration file."""
    with ExitStack() as ends:
        directory = ends.enter_context(_a_directory())

        def start(*args: str, conf: dict[str, Any] | None = None, **env: str) -> Server:
            file = directory / f"conf-{uuid.uuid4().hex[:6]}.py"
            file.write_text("".join(f"{name} = {value!r}\n" for name, value in (conf or {}).items()))
            server = Server(directory, ("--config", str(file), *args), env)
            ends.callback(server.finish)
            return server

        yield start


@pytest.fixture
def load() -> type[Load]:
    return Load
