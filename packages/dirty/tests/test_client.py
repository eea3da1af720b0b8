"""The blocking client: threads, forks, time limits, arbiters that come and go."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from gunicorn.dirty.client import DirtyClient, close_dirty_client, get_dirty_client
from gunicorn.dirty.errors import (
    DirtyConnectionError,
    DirtyError,
    DirtyProtocolError,
    DirtyTimeoutError,
    DirtyWorkerError,
)
from gunicorn.dirty.protocol import BinaryProtocol

APP = "sampleapps:Sample"


class Peer:
    """A listening socket whose connections a function serves, one after the other, in a thread."""

    def __init__(self, path: str, serve: Callable[[socket.socket], None]) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(path)
        self.sock.listen()
        self.accepted = 0
        self.thread = threading.Thread(target=self.run, args=(serve,), daemon=True)
        self.thread.start()

    def run(self, serve: Callable[[socket.socket], None]) -> None:
        while True:
            try:
                connection, _ = self.sock.accept()
            except OSError:
                return
            self.accepted += 1
            with connection:
                try:
                    serve(connection)
                except OSError:
                    pass

    def close(self) -> None:
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        self.thread.join(10)


@pytest.fixture
def peer(short_dir: str) -> Any:
    peers = []

    def make(serve: Callable[[socket.socket], None]) -> tuple[str, Peer]:
        path = os.path.join(short_dir, "p")
        peers.append(Peer(path, serve))
        return path, peers[-1]

    yield make
    for made in peers:
        made.close()


def test_no_pool_is_a_clear_error(short_dir: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = DirtyClient(os.path.join(short_dir, "nobody"))
    with pytest.raises(DirtyConnectionError, match="no dirty pool answers") as caught:
        client.execute(APP, "echo", 1)
    assert caught.value.socket_path == os.path.join(short_dir, "nobody")
    monkeypatch.delenv("GUNICORN_DIRTY_SOCKET", raising=False)
    with pytest.raises(DirtyConnectionError, match="GUNICORN_DIRTY_SOCKET is not set"):
        get_dirty_client()


def test_the_environment_names_the_pool(shared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUNICORN_DIRTY_SOCKET", shared.path)
    assert get_dirty_client().execute(APP, "echo", 1) == 1
    assert get_dirty_client() is get_dirty_client()
    assert get_dirty_client(2) is not get_dirty_client()
    assert get_dirty_client(2).timeout == 2
    close_dirty_client()


def test_connections_are_kept_and_shared_by_threads(shared: Any) -> None:
    client = shared.client()
    before = shared.status()["connections"]
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait()
        for _ in range(50):
            client.execute(APP, "echo", 1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _ in range(20):
        client.execute(APP, "echo", 1)
    assert shared.status()["connections"] - before <= 4
    assert len(client._idle) <= 4


def test_a_forked_child_has_connections_of_its_own(shared: Any) -> None:
    client = shared.client()
    client.execute(APP, "echo", 1)
    (ours,) = client._idle
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            for number in range(20):
                assert client.execute(APP, "echo", ["child", number]) == ["child", number]
            assert ours not in client._idle
            os.write(write, b"ok")
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    for number in range(20):
        assert client.execute(APP, "echo", ["parent", number]) == ["parent", number]
    assert os.waitpid(pid, 0)[1] == 0
    assert os.read(read, 10) == b"ok"
    os.close(read)
    assert client._idle == [ours]


def test_a_timeout_covers_the_whole_call_and_frees_the_pool(shared: Any) -> None:
    client = shared.client(timeout=0.3)
    begun = time.monotonic()
    with pytest.raises(DirtyTimeoutError, match=r"asleep of .* more than 0.3 seconds") as caught:
        client.execute(APP, "asleep", 3600)
    assert 0.25 < time.monotonic() - begun < 5
    assert caught.value.timeout == 0.3
    shared.idle()
    assert client.execute(APP, "echo", 1) == 1


def test_a_timeout_covers_answers_that_come_in_drops(peer: Any) -> None:
    def drip(sock: socket.socket) -> None:
        message = BinaryProtocol.read_message(sock)
        answer = BinaryProtocol.encode_response(message["id"], "x" * 1000)
        for index in range(len(answer)):
            sock.sendall(answer[index : index + 1])
            if _gone(sock, 0.05):
                return

    path, _ = peer(drip)
    begun = time.monotonic()
    with pytest.raises(DirtyTimeoutError):
        DirtyClient(path, timeout=0.4).execute(APP, "echo", 1)
    assert time.monotonic() - begun < 3


def _gone(sock: socket.socket, seconds: float) -> bool:
    """True when the peer has closed within that time."""
    sock.settimeout(seconds)
    try:
        return sock.recv(1) == b""
    except TimeoutError:
        return False


@pytest.mark.parametrize("timeout", [0, None])
def test_no_timeout_leaves_the_limit_to_the_pool(shared: Any, timeout: float | None) -> None:
    client = shared.client(timeout=timeout)
    assert client.timeout is None
    assert client.execute(APP, "sleep", 0.2) == 0.2


def test_an_answer_to_another_request_is_never_taken(peer: Any) -> None:
    def serve(sock: socket.socket) -> None:
        message = BinaryProtocol.read_message(sock)
        sock.sendall(BinaryProtocol.encode_response(message["id"] + 1, "not yours"))

    path, _ = peer(serve)
    with pytest.raises(DirtyProtocolError, match="came where one for"):
        DirtyClient(path, 5).execute(APP, "echo", 1)


def test_what_is_no_protocol_is_said_so(peer: Any) -> None:
    path, _ = peer(lambda sock: BinaryProtocol.read_message(sock) and sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    with pytest.raises(DirtyProtocolError, match="does not speak"):
        DirtyClient(path, 5).execute(APP, "echo", 1)


def test_an_error_of_an_unknown_type_is_a_dirty_error(peer: Any) -> None:
    def serve(sock: socket.socket) -> None:
        message = BinaryProtocol.read_message(sock)
        sock.sendall(BinaryProtocol.encode_error(message["id"], {"error_type": "New", "message": "m", "details": {}}))

    path, _ = peer(serve)
    client = DirtyClient(path, 5)
    with pytest.raises(DirtyError, match="m") as caught:
        client.execute(APP, "echo", 1)
    assert type(caught.value) is DirtyError
    client.close()


def test_a_connection_that_was_closed_while_idle_is_replaced(peer: Any) -> None:
    def once(sock: socket.socket) -> None:
        message = BinaryProtocol.read_message(sock)
        sock.sendall(BinaryProtocol.encode_response(message["id"], "first"))

    path, made = peer(once)
    client = DirtyClient(path, 5)
    for _ in range(3):
        assert client.execute(APP, "echo", 1) == "first"
        assert select.select([client._idle[0].sock], [], [], 20)[0], "the peer does not close"
    assert made.accepted == 3
    client.close()


def test_a_connection_that_breaks_during_a_call_is_an_error_and_the_call_is_not_repeated(peer: Any) -> None:
    path, made = peer(lambda sock: BinaryProtocol.read_message(sock) and None)
    with pytest.raises(DirtyConnectionError, match="it may have run"):
        DirtyClient(path, 5).execute(APP, "echo", 1)
    assert made.accepted == 1


def test_clients_go_on_on_the_same_path_after_the_pool_was_started_anew(start: Any, short_dir: str) -> None:
    path = os.path.join(short_dir, "same")

    def run() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "gunicorn.dirty", "--app", APP, "--socket", path, "--log-level", "error"]
        return subprocess.Popen(command, cwd=os.path.dirname(__file__))

    client = DirtyClient(path, 20)

    def works() -> bool:
        try:
            return bool(client.execute(APP, "echo", 1) == 1)
        except DirtyConnectionError:
            return False

    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
        pool = run()
        end = time.monotonic() + 20
        while not works():
            assert time.monotonic() < end
        pool.send_signal(number)
        pool.wait(20)
    client.close()


def test_a_stream_left_early_closes_its_connection(shared: Any) -> None:
    client = shared.client()
    before = shared.status()["connections"]
    with client.stream(APP, "forever") as items:
        assert next(items) == b"x" * 10
        assert shared.status()["connections"] == before + 1
    shared.idle()
    assert shared.status()["connections"] == before
    assert list(items) == []


def test_importing_the_client_loads_no_asyncio() -> None:
    program = (
        "import sys; import gunicorn.dirty.client, gunicorn.dirty;"
        "print([m for m in ('asyncio', 'concurrent.futures') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_it_works_under_gevent(shared: Any) -> None:
    pytest.importorskip("gevent")
    program = f"""
from gevent import monkey; monkey.patch_all()
import gevent, time
from gunicorn.dirty.client import DirtyClient
from gunicorn.dirty.errors import DirtyTimeoutError
client = DirtyClient({shared.path!r}, 10)
begun = time.monotonic()
jobs = [gevent.spawn(client.execute, {APP!r}, "sleep", 0.5) for _ in range(4)]
gevent.joinall(jobs)
assert [job.value for job in jobs] == [0.5] * 4
assert time.monotonic() - begun < 1.8
assert sum(client.stream({APP!r}, "count", 1000)) == sum(range(1000))
try:
    DirtyClient({shared.path!r}, 0.2).execute({APP!r}, "asleep", 3600)
except DirtyTimeoutError:
    print("fine")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "fine", done.stderr
    shared.idle()


def test_a_call_marked_idempotent_is_repeated_when_its_worker_dies(shared: Any, short_dir: str) -> None:
    client = shared.client()
    path = os.path.join(short_dir, "keys")
    keys = client.using(idempotent=True).execute(APP, "die_once", path)
    assert len(keys) == 2
    assert keys[0] == keys[1] != "None"
    os.unlink(path)
    with pytest.raises(DirtyWorkerError, match="died"):
        client.execute(APP, "die_once", path)
    shared.ready()


def test_attempts_end_at_the_deadline(short_dir: str) -> None:
    client = DirtyClient(os.path.join(short_dir, "nobody")).using(idempotent=True, timeout=0.3)
    begun = time.monotonic()
    with pytest.raises(DirtyConnectionError):
        client.execute(APP, "echo", 1)
    assert 0.1 < time.monotonic() - begun < 5


def test_using_shares_connections_and_changes_nothing_else(shared: Any) -> None:
    client = shared.client(5)
    other = client.using(timeout=0, priority=1)
    assert (client.timeout, other.timeout) == (5, None)
    assert other.execute(APP, "echo", 1) == 1
    (connection,) = client._idle
    assert client.execute(APP, "echo", 1) == 1
    assert other._idle == [connection]
    assert client.using().timeout == 5
