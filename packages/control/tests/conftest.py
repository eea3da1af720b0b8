"""Fixtures of this package's tests: a master to be (real selector and sockets, recorded log), a dirty arbiter to be.

Everything runs in this process: ``host.run(until)`` turns the loop until a condition holds, and fails at a deadline.
"""

import selectors
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.control.framing import FrameDecoder, decode_json, encode_frame
from gunicorn_dirty_protocol import Error, FrameAssembler, Manage, Message, Response

DEADLINE = 10.0


class Log:
    """Records (level, text)."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def __getattr__(self, level: str) -> Callable[..., None]:
        return lambda text, *args: self.lines.append((level, text % args))

    def texts(self, level: str) -> list[str]:
        return [text for at, text in self.lines if at == level]


class Introspected:
    """A server with three workers, as the introspection shows it; records what it is asked to do."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.pids = [101, 102, 103]
        self.pool: dict[str, Any] | None = None
        self.settings: dict[str, Any] = {"workers": 3, "bind": ["127.0.0.1:8000"]}

    def workers(self) -> list[dict[str, Any]]:
        return [
            {"pid": pid, "age": age, "booted": True, "last_heartbeat": 0.25, "slot": age - 1, "state": "idle"}
            for age, pid in enumerate(self.pids, 1)
        ]

    def stats(self) -> dict[str, Any]:
        return {"uptime": 12.5, "pid": 100, "workers_current": len(self.pids), "workers_target": len(self.pids)}

    def config(self) -> dict[str, Any]:
        return self.settings

    def listeners(self) -> list[dict[str, Any]]:
        return [{"address": "http://127.0.0.1:8000", "fd": 3, "type": "tcp"}]

    def service(self, name: str) -> dict[str, Any] | None:
        return self.pool if name == "dirty" else None

    def scale_workers(self, delta: int) -> dict[str, Any]:
        previous = len(self.pids)
        if delta > 1000:
            raise ValueError("there are slots for 1024 workers")
        self.done.append(("scale", delta))
        return {"previous": previous, "total": max(1, previous + delta)}

    def kill_worker(self, pid: int) -> None:
        if pid not in self.pids:
            raise LookupError(pid)
        self.done.append(("kill", pid))

    def reload(self) -> None:
        self.done.append("reload")

    def reopen(self) -> None:
        self.done.append("reopen")

    def shutdown(self, graceful: bool) -> None:
        self.done.append(("shutdown", graceful))


class Host:
    """A service host around a real selector."""

    def __init__(self, directory: str) -> None:
        self.cfg = SimpleNamespace(
            control_socket=f"{directory}/c.ctl",
            control_socket_mode=0o600,
            control_socket_disable=False,
            chdir=directory,
        )
        self.log = Log()
        self.introspection = Introspected()
        self.selector = selectors.DefaultSelector()
        self.turns = 0

    def register(self, fileobj: Any, events: int, callback: Callable[[int], None]) -> None:
        self.selector.register(fileobj, events, callback)

    def modify(self, fileobj: Any, events: int) -> None:
        self.selector.modify(fileobj, events, self.selector.get_key(fileobj).data)

    def unregister(self, fileobj: Any) -> None:
        self.selector.unregister(fileobj)

    @property
    def watched(self) -> int:
        """How many file objects are watched."""
        return len(self.selector.get_map())

    def turn(self, timeout: float = 0.0) -> int:
        """One turn of the loop; returns how many file objects were ready."""
        ready = self.selector.select(timeout)
        for key, mask in ready:
            if key.fileobj in [still.fileobj for still in self.selector.get_map().values()]:
                key.data(mask)
        self.turns += 1
        return len(ready)

    def settle(self) -> None:
        """Turn the loop until nothing is ready."""
        deadline = time.monotonic() + DEADLINE
        while self.turn():
            assert time.monotonic() < deadline, "the loop spins"

    def run(self, until: Callable[[], Any]) -> Any:
        """Turn the loop until ``until()`` is true; returns its value."""
        deadline = time.monotonic() + DEADLINE
        while not (value := until()):
            assert time.monotonic() < deadline, "the condition did not come true in time"
            self.turn(0.01)
        return value


class RawClient:
    """A control client made of a bare non-blocking socket, driven by the host's loop."""

    def __init__(self, host: Host, path: str) -> None:
        self.host = host
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(path)
        self.sock.setblocking(False)
        self.decoder = FrameDecoder()
        self.eof = False

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def ask(self, command: str, *args: Any, id: int = 7) -> None:
        self.send(encode_frame({"id": id, "command": command, "args": list(args)}))

    def poll(self) -> Any:
        """Return the next reply if it has arrived; notes the end of the connection."""
        frame = self.decoder.next_frame()
        while frame is None and not self.eof:
            try:
                data = self.sock.recv(1 << 20)
            except BlockingIOError:
                return None
            except ConnectionResetError:
                data = b""
            if data:
                self.decoder.receive_data(data)
            else:
                self.eof = True
            frame = self.decoder.next_frame()
        return None if frame is None else decode_json(frame)

    def reply(self) -> Any:
        """Turn the loop until there is a reply."""
        return self.host.run(self.poll)

    def closed(self) -> bool:
        """Turn the loop until the server has closed the connection."""
        return bool(self.host.run(lambda: self.poll() is None and self.eof))

    def call(self, command: str, *args: Any, id: int = 7) -> Any:
        self.ask(command, *args, id=id)
        return self.reply()


class Pool:
    """A dirty arbiter to be: a listening socket in the host's loop. ``mode`` says how it behaves."""

    STATUS = {
        "arbiter_pid": 200,
        "workers": [{"pid": 201, "age": 1, "apps": ["m:A"], "booted": True, "last_heartbeat": 0.5}],
        "worker_count": 1,
        "apps": ["m:A"],
    }

    def __init__(self, host: Host, path: str) -> None:
        self.host = host
        self.path = path
        self.mode = "answer"
        self.asked: list[Message] = []
        self.open: list[socket.socket] = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(8)
        host.register(self.listener, selectors.EVENT_READ, self._accept)

    def _accept(self, mask: int) -> None:
        sock, _ = self.listener.accept()
        self.open.append(sock)
        frames = FrameAssembler()
        self.host.register(sock, selectors.EVENT_READ, lambda mask: self._readable(sock, frames))

    def _readable(self, sock: socket.socket, frames: FrameAssembler) -> None:
        data = sock.recv(65536)
        if not data:
            self.drop(sock)
            return
        for frame in frames.receive_data(data):
            message = frame.message()
            self.asked.append(message)
            if self.mode == "hang up":
                self.drop(sock)
            elif self.mode == "garbage":
                sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            elif self.mode == "refuse":
                sock.sendall(Error(message.request_id, message="only at the weekend").to_bytes())
            elif self.mode == "list":
                sock.sendall(Response(message.request_id, [1]).to_bytes())
            elif self.mode == "answer":
                answer = self.answer_to(message)
                # Something else first, and then in two pieces.
                sock.sendall(Response(99, "for somebody else").to_bytes() + answer[:20])
                sock.sendall(answer[20:])

    def answer_to(self, message: Message) -> bytes:
        result: Any = self.STATUS
        if isinstance(message, Manage):
            result = {"success": True, "operation": message.op.name.lower(), "requested": message.count}
        return Response(message.request_id, result).to_bytes()

    def drop(self, sock: socket.socket) -> None:
        self.host.unregister(sock)
        self.open.remove(sock)
        sock.close()

    def close(self) -> None:
        for sock in list(self.open):
            self.drop(sock)
        self.host.unregister(self.listener)
        self.listener.close()


@pytest.fixture
def directory() -> Iterator[str]:
    """A directory with a path short enough for unix sockets."""
    path = tempfile.mkdtemp(prefix="gc-")
    yield path
    shutil.rmtree(path)


@pytest.fixture
def host(directory: str) -> Iterator[Host]:
    host = Host(directory)
    yield host
    host.selector.close()


@pytest.fixture
def connect(host: Host) -> Iterator[Callable[[str], RawClient]]:
    """Connects a raw client to a path."""
    clients: list[RawClient] = []

    def make(path: str) -> RawClient:
        clients.append(RawClient(host, path))
        return clients[-1]

    yield make
    for client in clients:
        client.sock.close()


@pytest.fixture
def pool(host: Host, directory: str) -> Iterator[Pool]:
    """A dirty arbiter that the introspection knows of."""
    pool = Pool(host, f"{directory}/d.sock")
    host.introspection.pool = {"pid": 200, "socket": pool.path, "state": "running", "restarts": 1}
    yield pool
    pool.close()
