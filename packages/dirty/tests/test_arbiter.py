"""The pool with real processes under the faults of life: killed workers, a killed arbiter, hung actions, vanished clients."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gunicorn.dirty.errors import (
    DirtyConnectionError,
    DirtyError,
    DirtyNoWorkersAvailableError,
    DirtyOverloadedError,
    DirtyTimeoutError,
    DirtyWorkerError,
)
from gunicorn.dirty.protocol import BinaryProtocol, make_request

APP = "sampleapps:Sample"
Wait = Callable[..., Any]


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


def busy(pool: Any) -> list[dict[str, Any]]:
    return [slot for worker in pool.status()["workers"] for slot in worker["slots"] if slot["busy"]]


def test_threads_of_a_worker_run_side_by_side(start: Any) -> None:
    pool = start("--workers", "1", "--threads", "4").ready()
    client = pool.client()
    calls = Calls()
    begun = time.monotonic()
    for _ in range(4):
        calls.start(lambda: client.execute(APP, "sleep", 0.5))
    assert calls.join() == [0.5] * 4
    assert time.monotonic() - begun < 1.5  # 2 seconds one after the other


def test_many_threads_get_their_own_answers(start: Any) -> None:
    pool = start("--workers", "2", "--threads", "2").ready()
    client = pool.client()
    calls = Calls()
    for number in range(8):
        calls.start(lambda number=number: [client.execute(APP, "echo", [number, i]) for i in range(200)])
    assert sorted(calls.join()) == [[[number, i] for i in range(200)] for number in range(8)]


def test_a_killed_worker_fails_its_calls_at_once_and_the_waiting_ones_survive(start: Any, wait_for: Wait) -> None:
    pool = start("--workers", "1").ready()
    client = pool.client()
    (pid,) = pool.worker_pids()
    calls = Calls()
    calls.start(lambda: client.execute(APP, "sleep", 3600))
    wait_for(lambda: len(busy(pool)) == 1, "the first call runs")
    for number in range(5):
        calls.start(lambda number=number: client.execute(APP, "echo", number))
    wait_for(lambda: pool.status()["queued"] == 5, "the others wait")
    begun = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    outcomes = calls.join()
    assert time.monotonic() - begun < 10
    errors = [outcome for outcome in outcomes if isinstance(outcome, DirtyError)]
    assert len(errors) == 1
    assert isinstance(errors[0], DirtyWorkerError)
    assert "signal 9" in str(errors[0])
    assert sorted(outcome for outcome in outcomes if not isinstance(outcome, DirtyError)) == [0, 1, 2, 3, 4]
    assert pool.worker_pids() != [pid]


def test_a_replacement_has_the_apps_of_the_dead(start: Any, wait_for: Wait) -> None:
    pool = start("--workers", "2", app=("Sample", "Limited")).ready()
    client = pool.client()
    first = client.execute("sampleapps:Limited", "pid")
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: first not in pool.worker_pids(), "the arbiter has noticed")
    second = client.execute("sampleapps:Limited", "pid")
    assert second != first
    loaded = [worker for worker in pool.status()["workers"] if "sampleapps:Limited" in worker["apps"]]
    assert [worker["pid"] for worker in loaded] == [second]


def test_workers_killed_under_load_lose_their_own_calls_only(start: Any, wait_for: Wait) -> None:
    pool = start("--workers", "2", "--threads", "2").ready()
    client = pool.client()
    stop = threading.Event()
    wrong: list[Any] = []
    done: list[int] = []

    def load(number: int) -> None:
        count = 0
        while not stop.is_set():
            try:
                if client.execute(APP, "echo", [number, count]) != [number, count]:
                    wrong.append((number, count))
            except DirtyWorkerError:
                pass
            except DirtyError as exc:
                wrong.append(exc)
            count += 1
        done.append(count)

    threads = [threading.Thread(target=load, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        victim = wait_for(pool.worker_pids, "a worker")[0]
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda victim=victim: victim not in pool.worker_pids(), "the arbiter has noticed")
        wait_for(lambda: len([w for w in pool.status()["workers"] if w["booted"]]) == 2, "both are back")
    stop.set()
    for thread in threads:
        thread.join(20)
    assert not wrong
    assert min(done) > 10
    pool.idle()


def test_a_hung_action_times_out_and_only_its_worker_is_replaced(start: Any, wait_for: Wait) -> None:
    pool = start("--workers", "2", "--timeout", "0.3", "--cancel-grace", "0.2").ready()
    client = pool.client()
    before = set(pool.worker_pids())
    begun = time.monotonic()
    with pytest.raises(DirtyTimeoutError, match="dirty_timeout") as caught:
        client.execute(APP, "spin_with_lock")
    assert caught.value.timeout == 0.3
    assert time.monotonic() - begun < 5
    wait_for(lambda: len(set(pool.worker_pids()) - before) == 1, "one worker was replaced")
    assert len(before & set(pool.worker_pids())) == 1
    pool.ready()
    assert client.execute(APP, "echo", 1) == 1


def test_a_hung_workers_other_slots_finish(start: Any, wait_for: Wait, short_dir: str) -> None:
    pool = start("--workers", "1", "--threads", "2", "--timeout", "1", "--cancel-grace", "0.1").ready()
    client = pool.client()
    (old,) = pool.worker_pids()
    calls = Calls()
    calls.start(lambda: client.execute(APP, "sleep", 3600))
    wait_for(lambda: len(busy(pool)) == 1, "the hung call runs")
    deadline = wait_for(lambda: next((s for s in busy(pool) if s["seconds"] > 0.6), None), "it has run for a while")
    assert deadline
    go = os.path.join(short_dir, "go")
    calls.start(lambda: client.execute(APP, "wait_for_file", go))
    wait_for(lambda: pool.worker_pids() not in ([old], []), "another worker took the seat")
    Path(go).touch()
    outcomes = calls.join()
    assert go in outcomes
    assert any(isinstance(outcome, DirtyTimeoutError) for outcome in outcomes)
    wait_for(lambda: old not in [worker["pid"] for worker in pool.status()["workers"]], "the hung worker is gone")


def test_an_async_action_is_cancelled_at_its_timeout_and_the_worker_stays(start: Any) -> None:
    pool = start("--workers", "1", "--timeout", "0.2").ready()
    client = pool.client()
    pids = pool.worker_pids()
    with pytest.raises(DirtyTimeoutError):
        client.execute(APP, "asleep", 3600)
    pool.idle()
    assert client.execute(APP, "was_cancelled") == 1
    assert pool.worker_pids() == pids


def test_timeout_zero_is_never(start: Any) -> None:
    pool = start("--workers", "1", "--timeout", "0").ready()
    assert pool.client().execute(APP, "sleep", 0.5) == 0.5


def test_a_call_times_out_in_the_queue_without_harm_to_a_worker(start: Any, wait_for: Wait, short_dir: str) -> None:
    slow = os.path.join(short_dir, "slow")
    pool = start("--workers", "1", "--timeout", "0.3", app="Slow", env={"SLOW_FILE": slow})
    with pytest.raises(DirtyTimeoutError, match="in the queue"):
        pool.client().execute("sampleapps:Slow", "pid")
    pids = pool.worker_pids()
    Path(slow).touch()
    pool.ready()
    assert [pool.client().execute("sampleapps:Slow", "pid")] == pids


def test_a_stream_that_goes_on_does_not_time_out_and_one_that_stops_does(start: Any, wait_for: Wait) -> None:
    pool = start("--workers", "1", "--timeout", "0.5", "--cancel-grace", "0.2").ready()
    client = pool.client()
    items = client.stream(APP, "aforever")
    end = time.monotonic() + 1.2
    while time.monotonic() < end:
        next(items)
    items.close()
    items = client.stream(APP, "stuck_stream")
    assert next(items) == 1
    with pytest.raises(DirtyTimeoutError):
        next(items)


def test_a_caller_that_goes_away_frees_its_slot_and_its_place_in_the_queue(start: Any, wait_for: Wait) -> None:
    pool = start("--workers", "1", "--cancel-grace", "0.2").ready()
    client = pool.client()
    before = pool.worker_pids()
    socks = []
    for _ in range(3):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(pool.path)
        BinaryProtocol.write_message(sock, make_request(1, APP, "sleep", (3600,)))
        socks.append(sock)
    wait_for(lambda: pool.status()["queued"] == 2, "one runs and two wait")
    for sock in socks:
        sock.close()
    pool.idle()
    assert client.execute(APP, "echo", 1) == 1
    assert pool.worker_pids() != before  # sleep() cannot be interrupted


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


def test_large_arguments_and_results_pass_without_lying_in_the_arbiter(start: Any) -> None:
    pool = start("--workers", "1").ready()
    client = pool.client()
    client.execute(APP, "echo", b"")
    peak = f"/proc/{pool.pid}/status"

    def high_water() -> int:
        return int(Path(peak).read_text().split("VmHWM:")[1].split()[0]) // 1024

    before = high_water()
    data = os.urandom(48 << 20)
    assert client.execute(APP, "echo", data) == data
    assert high_water() - before < 16


def test_a_client_that_vanishes_within_its_request_leaves_the_slot_in_step(start: Any, wait_for: Wait) -> None:
    pool = start("--workers", "1").ready()
    client = pool.client()
    pids = pool.worker_pids()
    frame = BinaryProtocol.encode_request(1, APP, "remember", (b"x" * 2_000_000,))
    for cut in (len(frame) - 1, len(frame) // 2, 70_000):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(pool.path)
            sock.sendall(frame[:cut])
        pool.idle()
        assert client.execute(APP, "remembered") == []
    assert pool.worker_pids() == pids


def test_answers_are_matched_when_a_connection_has_many_requests(start: Any) -> None:
    pool = start("--workers", "2", "--threads", "2").ready()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(pool.path)
        sizes = {number: (number * 37_123) % 300_000 for number in range(1, 60)}
        frames = b"".join(
            BinaryProtocol.encode_request(number, APP, "echo", ([number, b"z" * size],))
            for number, size in sizes.items()
        )
        sender = threading.Thread(target=sock.sendall, args=(frames,))
        sender.start()
        seen = {}
        while len(seen) < len(sizes):
            message = BinaryProtocol.read_message(sock)
            seen[message["id"]] = message["result"]
        sender.join(10)
    assert {number: (result[0], len(result[1])) for number, result in seen.items()} == {
        number: (number, size) for number, size in sizes.items()
    }


def test_requests_come_in_any_pieces(start: Any) -> None:
    pool = start("--workers", "1").ready()
    frame = BinaryProtocol.encode_request(77, APP, "echo", ("pieces",))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(pool.path)
        for index in range(len(frame)):
            sock.sendall(frame[index : index + 1])
        assert BinaryProtocol.read_message(sock)["result"] == "pieces"


def test_bytes_that_are_not_the_protocol_end_their_connection_only(start: Any) -> None:
    pool = start("--workers", "1").ready()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(pool.path)
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        message = BinaryProtocol.read_message(sock)
        assert message["error"]["error_type"] == "DirtyProtocolError"
        assert sock.recv(1) == b""
    assert pool.client().execute(APP, "echo", 1) == 1


def test_a_full_queue_is_told_at_once(start: Any, wait_for: Wait, short_dir: str) -> None:
    pool = start("--workers", "1", "--queue-size", "2").ready()
    client = pool.client()
    go = os.path.join(short_dir, "go")
    calls = Calls()
    for number in range(3):
        calls.start(lambda: client.execute(APP, "wait_for_file", go))
        wait_for(lambda number=number: pool.status()["queued"] == max(0, number), "it waits or runs")
    with pytest.raises(DirtyOverloadedError, match="dirty_queue_size"):
        client.execute(APP, "echo", 1)
    Path(go).touch()
    assert calls.join() == [go] * 3


def test_a_worker_takes_calls_when_its_apps_are_loaded_and_not_before(
    start: Any, wait_for: Wait, short_dir: str
) -> None:
    slow = os.path.join(short_dir, "slow")
    pool = start("--workers", "1", app="Slow", env={"SLOW_FILE": slow})
    calls = Calls()
    calls.start(lambda: pool.client().execute("sampleapps:Slow", "pid"))
    wait_for(lambda: pool.status()["queued"] == 1, "the call waits")
    wait_for(lambda: [worker["booted"] for worker in pool.status()["workers"]] == [False], "the worker loads")
    assert pool.status()["state"] == "starting"
    assert pool.status()["queued"] == 1
    Path(slow).touch()
    assert calls.join() == pool.worker_pids()


def test_an_app_that_cannot_be_loaded_is_given_up_and_comes_back_by_a_reload(
    start: Any, wait_for: Wait, short_dir: str
) -> None:
    fine = os.path.join(short_dir, "fine")
    pool = start("--workers", "1", "--boot-delay", "0.02", app="Broken:1", env={"BROKEN_FILE": fine})
    calls = Calls()
    calls.start(lambda: pool.client().execute("sampleapps:Broken", "pid"))
    wait_for(lambda: pool.status()["state"] == "failed", "the worker is given up")
    (outcome,) = calls.join()
    assert isinstance(outcome, DirtyNoWorkersAvailableError)
    assert "expected failure of init" in str(outcome)
    with pytest.raises(DirtyNoWorkersAvailableError, match="expected failure of init"):
        pool.client().execute("sampleapps:Broken", "pid")
    (seat,) = pool.status()["seats"]
    assert seat["given_up"]
    assert seat["failures"] == 5
    Path(fine).touch()
    pool.process.send_signal(signal.SIGHUP)
    pool.ready()
    assert pool.client().execute("sampleapps:Broken", "pid") in pool.worker_pids()


def test_the_workers_of_a_killed_arbiter_die_busy_or_not(
    start: Any, wait_for: Wait, alive: Callable[[int], bool]
) -> None:
    pool = start("--workers", "3").ready()
    client = pool.client()
    pids = pool.worker_pids()
    calls = Calls()
    calls.start(lambda: client.execute(APP, "spin_with_lock"))
    calls.start(lambda: client.execute(APP, "sleep", 3600))
    wait_for(lambda: len(busy(pool)) == 2, "two are busy")
    pool.process.kill()
    wait_for(lambda: not any(map(alive, pids)), "all workers are gone", 2)
    assert all(isinstance(outcome, DirtyConnectionError) for outcome in calls.join())


def test_an_idle_pool_stops_within_a_second_closing_its_apps(start: Any, short_dir: str) -> None:
    closed = os.path.join(short_dir, "closed")
    pool = start("--workers", "2", app="Closing", env={"CLOSING_FILE": closed}).ready()
    client = pool.client()
    for _ in range(10):
        client.execute("sampleapps:Closing", "pid")
    pids = pool.worker_pids()
    begun = time.monotonic()
    assert pool.stop() == 0
    assert time.monotonic() - begun < 1
    assert sorted(map(int, Path(closed).read_text().split())) == sorted(pids)
    assert not os.path.exists(pool.path)


def test_term_lets_running_calls_finish_and_refuses_new_ones(start: Any, wait_for: Wait, short_dir: str) -> None:
    pool = start("--workers", "1").ready()
    client = pool.client()
    go = os.path.join(short_dir, "go")
    calls = Calls()
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(20)
    sock.connect(pool.path)
    calls.start(lambda: client.execute(APP, "wait_for_file", go))
    wait_for(lambda: len(busy(pool)) == 1, "the call runs")
    pool.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "is stopping" in pool.log, "the pool stops")
    BinaryProtocol.write_message(sock, make_request(1, APP, "echo", (1,)))
    assert BinaryProtocol.read_message(sock)["error"]["error_type"] == "DirtyNoWorkersAvailableError"
    Path(go).touch()
    assert calls.join() == [go]
    assert pool.process.wait(10) == 0
    sock.close()


def test_int_stops_a_busy_pool_at_once(start: Any, wait_for: Wait) -> None:
    pool = start("--workers", "1").ready()
    client = pool.client()
    calls = Calls()
    calls.start(lambda: client.execute(APP, "sleep", 3600))
    wait_for(lambda: len(busy(pool)) == 1, "the call runs")
    begun = time.monotonic()
    pool.stop(signal.SIGINT)
    assert time.monotonic() - begun < 3
    (outcome,) = calls.join()
    assert isinstance(outcome, DirtyError)


def test_the_grace_period_of_a_stop_ends(start: Any, wait_for: Wait) -> None:
    pool = start("--workers", "1", "--graceful-timeout", "0.3").ready()
    client = pool.client()
    calls = Calls()
    calls.start(lambda: client.execute(APP, "sleep", 3600))
    wait_for(lambda: len(busy(pool)) == 1, "the call runs")
    pool.stop()
    (outcome,) = calls.join()
    assert isinstance(outcome, DirtyError)


def test_a_reload_starts_new_workers_before_the_old_ones_go(start: Any, wait_for: Wait) -> None:
    pool = start("--workers", "2").ready()
    client = pool.client()
    before = set(pool.worker_pids())
    stop = threading.Event()
    failed: list[DirtyError] = []

    def load() -> None:
        while not stop.is_set():
            try:
                client.execute(APP, "echo", 1)
            except DirtyError as exc:
                failed.append(exc)

    thread = threading.Thread(target=load)
    thread.start()
    pool.process.send_signal(signal.SIGHUP)
    wait_for(lambda: not before & {worker["pid"] for worker in pool.status()["workers"]}, "all are replaced")
    stop.set()
    thread.join()
    assert not failed
    assert len(pool.worker_pids()) == 2


def test_a_worker_that_is_told_to_end_finishes_first(start: Any, wait_for: Wait, short_dir: str) -> None:
    pool = start("--workers", "1").ready()
    client = pool.client()
    (pid,) = pool.worker_pids()
    go = os.path.join(short_dir, "go")
    calls = Calls()
    calls.start(lambda: client.execute(APP, "wait_for_file", go))
    wait_for(lambda: len(busy(pool)) == 1, "the call runs")
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: pool.worker_pids() not in ([pid], []), "its replacement comes")
    Path(go).touch()
    assert calls.join() == [go]
    wait_for(lambda: pid not in [worker["pid"] for worker in pool.status()["workers"]], "it has gone")


def test_workers_hold_no_descriptor_of_the_arbiter_or_of_each_other(start: Any, wait_for: Wait) -> None:
    pool = start("--workers", "2", "--threads", "2").ready()
    clients = []
    for _ in range(3):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(pool.path)
        clients.append(sock)
    victim = pool.worker_pids()[0]
    os.kill(victim, signal.SIGKILL)  # so that one is forked while clients are connected
    wait_for(lambda: victim not in pool.worker_pids(), "the arbiter has noticed")
    wait_for(lambda: len([w for w in pool.status()["workers"] if w["booted"]]) == 2, "both are back")
    for pid in pool.worker_pids():
        links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        assert len([link for link in links if link.startswith("socket:")]) == 3  # side channel and two slots
        assert not [link for link in links if "eventpoll" in link]
        assert len([link for link in links if link.startswith("pipe:")]) == 1  # the lifeline
    for sock in clients:
        sock.close()
