"""The arbiter's end of a slot: backpressure, abandoned streams, workers that break the protocol."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.dirty import wire
from gunicorn.dirty.caller import Caller
from gunicorn.dirty.config import AppSpec, PoolConfig
from gunicorn.dirty.dispatch import Dispatcher
from gunicorn.dirty.errors import DirtyCancelledError
from gunicorn.dirty.link import SlotLink
from gunicorn.dirty.loop import Loop
from gunicorn.dirty.process import ProcessState
from gunicorn.dirty.scheduler import Member
from gunicorn.dirty.wire import error_frame
from gunicorn_dirty_protocol import Cancel, End, Error

APP = "sampleapps:Sample"


def request_frame(*args: Any) -> bytes:
    return wire.whole(wire.request_frame(*args))


def response_frame(*args: Any) -> bytes:
    return wire.whole(wire.response_frame(*args))


def chunk_frame(*args: Any) -> bytes:
    return wire.whole(wire.chunk_frame(*args))


Wait = Callable[..., Any]


@pytest.mark.parametrize("action", ["forever", "aforever"])
@pytest.mark.parametrize("size", [10, 300_000])
def test_an_abandoned_stream_frees_everything(start: Any, wait_for: Wait, action: str, size: int) -> None:
    pool = start("--workers", "1").ready()
    client = pool.client()
    pids = pool.worker_pids()
    for number in range(1, 4):
        items = client.stream(APP, action, size)
        assert next(items) == b"x" * size
        assert next(items) == b"x" * size
        del items
        pool.idle()
        assert client.execute(APP, "streams_closed") == number
    assert pool.worker_pids() == pids


def test_a_slow_reader_holds_up_the_generator_and_nobody_else(start: Any, wait_for: Wait) -> None:
    pool = start("--workers", "1", "--threads", "2").ready()
    client = pool.client()
    items = client.stream(APP, "forever", 100_000)
    next(items)
    for _ in range(20):
        assert client.execute(APP, "echo", 1) == 1

    def resident() -> int:
        status = Path(f"/proc/{pool.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) // 1024

    before = resident()
    time_up = time.monotonic() + 0.5
    while time.monotonic() < time_up:  # the generator would produce gigabytes meanwhile
        client.execute(APP, "echo", 1)
    assert resident() - before < 20
    items.close()
    pool.idle()


class Worker:
    """The worker's ends of one slot and side channel, played by a test; the arbiter's halves are real."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.complaints: list[str] = []
        self.cancelled: list[tuple[int, int, bool]] = []
        config = PoolConfig(apps=(AppSpec("m:A"),), timeout=0, cancel_grace=0.05)
        arbiter: Any = SimpleNamespace(config=config, loop=self.loop, log=config.log)
        arbiter.supervisor = self
        self.processes: dict[int, Any] = {}
        self.pool = arbiter.dispatcher = Dispatcher(arbiter)
        self.pool.scheduler.set_apps(["m:A"])
        member = Member(["m:A"])
        self.pool.scheduler.add(member)
        process: Any = self
        self.state = ProcessState.READY
        self.number = self.pid = 1
        self.replaced = 0
        ours, self.sock = socket.socketpair()
        ours.setblocking(False)
        self.link = SlotLink(self.pool, process, member, 0, ours)
        self.pool.scheduler.ready(member, [self.link])
        sock, self.client = socket.socketpair()
        sock.setblocking(False)
        self.caller = Caller(self.pool, sock, None)
        for end in (self.sock, self.client):
            end.settimeout(5)

    def cancel(self, index: int, call_id: int, acknowledge: bool) -> None:
        self.cancelled.append((index, call_id, acknowledge))

    def hung(self, process: Any) -> None:
        self.replaced += 1

    def broken(self, process: Any, reason: str) -> None:
        self.complaints.append(reason)

    def turn(self, seconds: float = 0.01) -> None:
        self.loop.call_later(seconds, self.loop.stop)
        self.loop.run()

    def until(self, condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, "it has not come about"
            self.turn()

    def request(self, number: int = 5) -> int:
        """Send a request and return the id under which it reaches the worker."""
        self.client.sendall(request_frame(number, "m:A", "go", [], {}))
        self.turn()
        return int(wire.HEADER.unpack_from(self.sock.recv(65536))[4])

    def close(self) -> None:
        self.caller.close()
        self.link.close()
        self.sock.close()
        self.client.close()
        self.loop.close()


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.close()


def test_the_client_gets_its_own_id_back_and_the_worker_never_sees_it(worker: Worker) -> None:
    call_id = worker.request(2**64 - 1)
    assert call_id != 2**64 - 1
    worker.sock.sendall(response_frame(call_id, "done"))
    worker.turn()
    assert worker.client.recv(65536) == response_frame(2**64 - 1, "done")
    assert worker.link.call is None


@pytest.mark.parametrize("size", [1, 7, 15, 16, 17, 40])
def test_answers_come_whole_in_any_pieces(worker: Worker, size: int) -> None:
    call_id = worker.request()
    parts = [chunk_frame(call_id, "a"), chunk_frame(call_id, "b" * 50), End(call_id).to_bytes()]
    data = b"".join(parts)
    for start in range(0, len(data), size):
        worker.sock.sendall(data[start : start + size])
        worker.turn(0.001)
    assert worker.client.recv(65536) == chunk_frame(5, "a") + chunk_frame(5, "b" * 50) + End(5).to_bytes()
    assert worker.link.call is None
    assert not worker.complaints


def test_an_answer_to_another_call_breaks_the_worker_and_reaches_nobody(worker: Worker) -> None:
    call_id = worker.request()
    worker.sock.sendall(response_frame(call_id + 1, "stale"))
    worker.turn()
    assert worker.complaints == ["slot 0 broke the protocol"]
    worker.client.setblocking(False)
    with pytest.raises(BlockingIOError):
        worker.client.recv(1)


def test_bytes_after_the_answer_break_the_worker(worker: Worker) -> None:
    call_id = worker.request()
    worker.sock.sendall(response_frame(call_id, 1) + b"more")
    worker.turn()
    assert worker.complaints


def test_bytes_without_a_call_break_the_worker(worker: Worker) -> None:
    worker.sock.sendall(b"unasked")
    worker.turn()
    assert worker.complaints == ["slot 0 sent bytes without having a call"]


def test_a_cancelled_call_gives_its_client_the_rest_of_the_frame_and_the_error_and_no_more(worker: Worker) -> None:
    call_id = worker.request()
    chunk = chunk_frame(call_id, "x" * 1000)
    worker.sock.sendall(chunk[:500])
    worker.turn()
    worker.client.sendall(Cancel(5).to_bytes())
    worker.turn()
    assert worker.cancelled == []
    worker.sock.sendall(chunk[500:] + chunk_frame(call_id, "unwanted"))
    worker.turn()
    assert worker.cancelled == [(0, call_id, False)]
    worker.sock.sendall(chunk_frame(call_id, "unwanted") + End(call_id).to_bytes())
    worker.turn()
    assert worker.client.recv(65536) == chunk_frame(5, "x" * 1000) + error_frame(5, DirtyCancelledError())
    assert worker.link.call is None
    assert not worker.complaints
    assert worker.request(6) != call_id


def test_an_answer_that_is_half_sent_when_its_call_is_cancelled_is_the_answer(worker: Worker) -> None:
    call_id = worker.request()
    answer = response_frame(call_id, "x" * 1000)
    worker.sock.sendall(answer[:500])
    worker.turn()
    worker.client.sendall(Cancel(5).to_bytes())
    worker.turn()
    worker.sock.sendall(answer[500:])
    worker.turn()
    assert worker.client.recv(65536) == response_frame(5, "x" * 1000)
    assert worker.link.call is None
    assert worker.cancelled == []


@pytest.mark.parametrize("rest_comes", [False, True])
def test_a_deadline_within_a_frame_waits_for_its_rest_and_not_for_ever(worker: Worker, rest_comes: bool) -> None:
    worker.processes[1] = SimpleNamespace(busy=[worker.link], number=1, pid=1)
    worker.pool.cancel_grace = 30.0 if rest_comes else 0.05
    worker.client.sendall(request_frame(5, "m:A", "go", [], {}, wire.Options(deadline=0.5)))
    worker.client.sendall(request_frame(6, "m:A", "go", [], {}))  # waits, on the same connection
    worker.turn()
    call_id = int(wire.HEADER.unpack_from(worker.sock.recv(65536))[4])
    chunk = chunk_frame(call_id, "x" * 1000)
    worker.sock.sendall(chunk[:500])
    worker.until(lambda: worker.pool.statistics["m:A"].timeouts)
    if rest_comes:
        assert not worker.caller.closed
        worker.sock.sendall(chunk[500:])
        worker.turn()
        received = worker.client.recv(65536)
        assert received.startswith(chunk_frame(5, "x" * 1000))
        assert b"DirtyTimeoutError" in received
        assert not worker.caller.closed
        worker.sock.sendall(error_frame(call_id, DirtyCancelledError()))
        worker.turn()
        assert len(worker.caller.calls) == 1
        assert worker.link.call is not None, "the other call's turn has come"
    else:
        worker.until(lambda: worker.caller.closed)
    assert worker.cancelled == [(0, call_id, False)]
    assert worker.pool.statistics["m:A"].timeouts == 1


def test_a_call_that_does_not_end_has_its_worker_replaced_after_the_grace_period(worker: Worker) -> None:
    worker.request()
    worker.client.sendall(Cancel(5).to_bytes())
    began = time.monotonic()
    worker.until(lambda: worker.replaced)
    assert worker.replaced == 1
    assert time.monotonic() - began >= worker.pool.cancel_grace


def test_a_call_that_ends_in_time_has_not(worker: Worker) -> None:
    call_id = worker.request()
    worker.client.sendall(Cancel(5).to_bytes())
    worker.turn()
    worker.sock.sendall(response_frame(call_id, 1))
    worker.turn()
    assert worker.replaced == 0
    assert not worker.link.ending


def test_a_request_that_never_comes_whole_is_completed_once_the_worker_agrees_not_to_run_it(worker: Worker) -> None:
    frame = request_frame(5, "m:A", "go", ["x" * 500_000], {})
    worker.client.sendall(frame[:1000])
    worker.turn()
    received = worker.sock.recv(65536)
    call_id = int(wire.HEADER.unpack_from(received)[4])
    worker.client.close()
    worker.turn()
    assert worker.cancelled == [(0, call_id, True)]
    worker.link.pad()
    while len(received) < len(frame):
        worker.turn(0.002)
        received += worker.sock.recv(1 << 20)
    assert len(received) == len(frame)
    worker.sock.sendall(Error(call_id, "DirtyCancelledError", "cancelled").to_bytes())
    worker.turn()
    assert worker.link.call is None
    assert not worker.complaints
