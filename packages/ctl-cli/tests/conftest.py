"""A server to talk to: the real control service, in a thread of this process, over an introspection made of data."""

import selectors
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.control.service import ControlService


class Introspected:
    """A server as its introspection shows it; records what it is asked to do."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.answers: dict[str, Any] = {
            "workers": [
                {
                    "pid": 11,
                    "age": 1,
                    "booted": True,
                    "last_heartbeat": 0.5,
                    "state": "busy",
                    "current": "GET \x1b[2J",
                },
                {"pid": 12, "age": 2, "booted": True, "last_heartbeat": 75.0, "state": "idle", "current": ""},
            ],
            "stats": {"uptime": 3725.25, "pid": 10, "workers_current": 2, "dirty_arbiter_pid": None},
            "config": {"bind": ["127.0.0.1:8000"], "timeout": 30},
            "listeners": [{"url": "http://127.0.0.1:8000", "fd": 5}],
        }

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def method(*args: Any) -> Any:
            if name not in self.answers:
                self.done.append((name, *args))
            return self.answers.get(name)

        return method


class Server:
    """The service and the loop that it lives in."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.introspection = Introspected()
        self.cfg = SimpleNamespace(control_socket=path, control_socket_mode=0o600, control_socket_disable=False)
        self.log = SimpleNamespace(info=self._hear, warning=self._hear, error=self._hear, exception=self._hear)
        self.heard: list[str] = []
        self._selector = selectors.DefaultSelector()
        self._over = threading.Event()
        self.service = ControlService()
        self.service.start(self)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _hear(self, text: str, *args: Any) -> None:
        self.heard.append(text % args)

    def register(self, fileobj: Any, events: int, callback: Callable[[int], None]) -> None:
        self._selector.register(fileobj, events, callback)

    def modify(self, fileobj: Any, events: int) -> None:
        self._selector.modify(fileobj, events, self._selector.get_key(fileobj).data)

    def unregister(self, fileobj: Any) -> None:
        self._selector.unregister(fileobj)

    def _serve(self) -> None:
        while not self._over.is_set():
            for key, mask in self._selector.select(0.01):
                key.data(mask)
            self.service.tick(time.monotonic())

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self.service.close()
        self._selector.close()


@pytest.fixture
def directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A private directory with a short path, which is also the only runtime directory with sockets."""
    path = tempfile.mkdtemp(prefix="gc-")
    monkeypatch.setenv("XDG_RUNTIME_DIR", path)
    monkeypatch.setenv("HOME", f"{path}/home")
    monkeypatch.chdir(path)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def serve(directory: str) -> Iterator[Callable[[str], Server]]:
    """Starts a server at a path."""
    servers: list[Server] = []

    def start(path: str) -> Server:
        servers.append(Server(path))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def server(directory: str, serve: Callable[[str], Server]) -> Server:
    """A server with a socket of its own choice."""
    return serve(f"{directory}/own.ctl")
