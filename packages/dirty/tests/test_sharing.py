"""Large payloads of the blocking client in shared memory, in pools of real processes."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from typing import Any

import pytest
from gunicorn.dirty.errors import DirtyAppError, DirtyTimeoutError, DirtyWorkerError
from gunicorn.dirty.sharing import SharingConnection
from gunicorn_dirty_protocol import Error, Manage, ManageOp, Request, parse_frame

MIB = 1024 * 1024
APP = "sampleapps:Sample"


def memories(pid: int) -> tuple[int, int]:
    """How many descriptors a process has, and how many mappings of shared memory."""
    with open(f"/proc/{pid}/maps") as file:
        return len(os.listdir(f"/proc/{pid}/fd")), file.read().count("memfd:gunicorn-dirty")


def pattern(size: int) -> bytes:
    return (os.urandom(1021) * (size // 1021 + 1))[:size]


def mapped(client: Any) -> bool:
    """Whether the client's connection has shared memory."""
    (connection,) = client._idle
    return isinstance(connection, SharingConnection) and connection._mapping is not None


def test_values_are_right_whatever_their_size(start: Any) -> None:
    pool = start("--workers", "2", "--shared-memory", str(2 * MIB)).ready()
    client = pool.client()
    for size in (10, 300_000, MIB - 200, MIB - 40, MIB, MIB + 1, 2 * MIB - 200, 2 * MIB - 50, 2 * MIB, 3 * MIB, 5):
        for _ in range(2):
            value = pattern(size)
            assert client.execute(APP, "echo", value) == value
    assert mapped(client)
    kept = [client.execute(APP, "echo", [pattern(MIB), number]) for number in range(3)]
    assert [len({value[0] for value in kept}), *(value[1] for value in kept)] == [3, 0, 1, 2]


def test_large_results_of_small_requests(start: Any) -> None:
    client = start().ready().client()
    for _ in range(3):
        assert client.execute(APP, "join", *["x" * 100] * 30_000, sep="-") == "-".join(["x" * 100] * 30_000)
        assert client.execute(APP, "join", "a", "b") == "ab"
    assert mapped(client)
    with pytest.raises(DirtyAppError):
        client.execute(APP, "boom")
    assert mapped(client)


def test_none_is_shared_where_it_is_turned_off(start: Any) -> None:
    client = start("--shared-memory", "0").ready().client()
    value = pattern(3 * MIB)
    assert [client.execute(APP, "echo", value) == value for _ in range(2)] == [True, True]
    assert not mapped(client)


def test_after_a_timeout_or_a_death_there_is_another(start: Any) -> None:
    pool = start("--workers", "1", "--cancel-grace", "0.1").ready()
    client = pool.client()
    value = pattern(2 * MIB)
    assert client.execute(APP, "echo", value) == value
    with pytest.raises(DirtyTimeoutError):
        client.execute(APP, "sleep", 30, timeout=0.3)
    assert client.execute(APP, "echo", value) == value
    (pid,) = pool.worker_pids()
    os.kill(pid, signal.SIGKILL)
    for _ in range(2):
        try:
            assert client.execute(APP, "echo", value) == value
        except DirtyWorkerError:
            pass
    assert client.execute(APP, "echo", value) == value


def test_nothing_is_left_of_connections_that_are_closed(start: Any, wait_for: Callable[..., Any]) -> None:
    pool = start("--workers", "1").ready()
    value = pattern(MIB + 1)

    def once() -> None:
        client = pool.client()
        assert client.execute(APP, "echo", value) == value
        assert mapped(client)
        client.close()

    once()
    (worker,) = pool.worker_pids()
    processes = (os.getpid(), pool.pid, worker)
    wait_for(lambda: [memories(pid)[1] for pid in processes] == [0, 0, 0], "the first mapping is gone")
    before = [memories(pid) for pid in processes]
    for _ in range(20):
        once()
    wait_for(lambda: [memories(pid) for pid in processes] == before, f"all is as it was: {before}")


def test_a_forked_child_has_a_mapping_of_its_own(start: Any) -> None:
    client = start("--workers", "2").ready().client()
    value = pattern(2 * MIB)
    assert client.execute(APP, "echo", value) == value
    child = os.fork()
    if not child:
        code = 1
        try:
            other = pattern(2 * MIB)
            code = 0 if all(client.execute(APP, "echo", other) == other for _ in range(5)) else 2
        finally:
            os._exit(code)
    for _ in range(5):
        assert client.execute(APP, "echo", value) == value
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_whoever_names_what_is_not_there_is_told(start: Any) -> None:
    pool = start("--workers", "1").ready()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(pool.path)
        sock.sendall(Manage(1, ManageOp.SHARE).to_bytes())
        data, fds, _, _ = socket.recv_fds(sock, 65536, 1)
        for fd in fds:
            os.close(fd)
        given: Any = parse_frame(data)
        token, size = given.result["token"], given.result["bytes"]
        for place in ([token, size + 1], [token, -1], [token, 2**63 - 1], [token ^ 1, 10]):
            sock.sendall(Request(2, APP, "echo", shared=place).to_bytes())
            answer = parse_frame(sock.recv(65536))
            assert isinstance(answer, Error)
            assert answer.error_type == "DirtyMappingError"
        sock.sendall(Request(3, APP, "echo", shared=[token, 100]).to_bytes())  # zeros
        answer = parse_frame(sock.recv(65536))
        assert isinstance(answer, Error)
        assert answer.error_type == "DirtyProtocolError"
    assert pool.client().execute(APP, "echo", 1) == 1
