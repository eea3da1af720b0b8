"""Time limits, queues and callers that go away."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gunicorn.dirty import current_call
from gunicorn.dirty.errors import (
    DirtyNoWorkersAvailableError,
    DirtyOverloadedError,
    DirtyTimeoutError,
)
from gunicorn.dirty.protocol import BinaryProtocol, make_request
from gunicorn_dirty_protocol import ManageOp, Request

APP = "sampleapps:Sample"
Wait = Callable[..., Any]


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


def test_timeout_zero_is_never(start: Any) -> None:
    pool = start("--workers", "1", "--timeout", "0").ready()
    assert pool.client().execute(APP, "sleep", 0.5) == 0.5


def test_a_call_times_out_in_the_queue_without_harm_to_a_worker(
    start: Any, calls: Any, wait_for: Wait, short_dir: str
) -> None:
    pool = start("--workers", "1", "--timeout", "30").ready()
    client, go, pids = pool.client(), os.path.join(short_dir, "go"), pool.worker_pids()
    calls.start(lambda: client.execute(APP, "wait_for_file", go))
    wait_for(pool.busy, "it runs")
    with pytest.raises(DirtyTimeoutError, match=r"more than 0\.3 seconds, all of them in the queue") as caught:
        client.execute(APP, "pid", timeout=0.3)
    assert caught.value.timeout == 0.3
    assert pool.status()["queued"] == 0
    Path(go).touch()
    assert calls.join() == [go]
    assert [client.execute(APP, "pid")] == pids


def test_a_call_waits_for_a_loading_worker_no_longer_than_its_deadline(
    start: Any, wait_for: Wait, short_dir: str
) -> None:
    slow = os.path.join(short_dir, "slow")
    pool = start("--workers", "1", "--timeout", "0.3", app="Slow", env={"SLOW_FILE": slow})
    for timeout in (0.1, None):
        with pytest.raises(DirtyNoWorkersAvailableError, match="none has been ready"):
            pool.client().execute("sampleapps:Slow", "pid", timeout=timeout)
    pids = wait_for(pool.worker_pids, "its worker is started")
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
    wait_for(lambda: pool.status()["queued"] == 2, "one is in the slot and two wait")
    # A call that has not begun when it is given up would not be run at all.
    stacks = {"type": "manage", "id": 1, "op": int(ManageOp.STACKS), "count": before[0]}
    wait_for(lambda: ", in sleep" in str(pool.ask(stacks)["result"]["stacks"]), "it has begun")
    for sock in socks:
        sock.close()
    pool.idle()
    assert client.execute(APP, "echo", 1) == 1
    assert pool.worker_pids() != before  # sleep() cannot be interrupted


def test_a_full_queue_is_told_at_once(start: Any, calls: Any, wait_for: Wait, short_dir: str) -> None:
    pool = start("--workers", "1", "--queue-size", "2").ready()
    client = pool.client()
    go = os.path.join(short_dir, "go")
    for number in range(3):
        calls.start(lambda: client.execute(APP, "wait_for_file", go))
        wait_for(lambda number=number: pool.status()["queued"] == max(0, number), "it waits or runs")
    with pytest.raises(DirtyOverloadedError, match="dirty_queue_size"):
        client.execute(APP, "echo", 1)
    Path(go).touch()
    assert calls.join() == [go] * 3


@pytest.mark.parametrize("action", ["asleep", "sleep"])
def test_a_calls_own_deadline_ends_it_and_its_worker_serves_on(start: Any, action: str) -> None:
    pool = start("--workers", "1", "--cancel-grace", "30").ready()
    client, pids = pool.client(None), pool.worker_pids()
    begun = time.monotonic()
    with pytest.raises(DirtyTimeoutError, match=r"more than 0\.25 seconds$") as caught:
        client.execute(APP, action, 3600 if action == "asleep" else 1.0, timeout=0.25)
    assert caught.value.timeout == 0.25
    assert time.monotonic() - begun < 10
    assert [client.execute(APP, "pid")] == pids


def test_a_stream_has_a_deadline_for_the_whole_of_it(shared: Any) -> None:
    client = shared.client(None)
    items = client.stream(APP, "aforever", timeout=0.3)
    with pytest.raises(DirtyTimeoutError, match=r"more than 0\.3 seconds"):
        for _ in items:
            pass
    shared.idle()
    assert list(client.stream(APP, "count", 3, timeout=20)) == [0, 1, 2]


def test_a_deadline_that_has_passed_runs_nothing(shared: Any) -> None:
    with pytest.raises(DirtyTimeoutError):
        shared.client().execute(APP, "remember", "too late", timeout=-1)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(shared.path)
        sock.sendall(Request(1, APP, "remember", ["too late"], deadline=0).to_bytes())
        assert BinaryProtocol.read_message(sock)["error"]["error_type"] == "DirtyTimeoutError"
    assert shared.client().execute(APP, "remembered") == []


def test_an_action_that_heeds_its_cancellation_keeps_its_worker(start: Any, wait_for: Wait, short_dir: str) -> None:
    pool = start("--workers", "1", "--cancel-grace", "30").ready()
    client, pids = pool.client(), pool.worker_pids()
    for number in range(2):
        note = Path(short_dir, f"note{number}")
        if number:  # the caller goes away
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(pool.path)
                BinaryProtocol.write_message(sock, make_request(1, APP, "until_cancelled", (str(note),)))
                (call,) = wait_for(pool.busy, "it runs")
        else:
            with pytest.raises(DirtyTimeoutError):
                client.execute(APP, "until_cancelled", str(note), timeout=0.2)
        wait_for(note.exists, "it has noticed")
        pool.idle()
        if number:
            assert note.read_text() == str(call["call"])
    assert pool.worker_pids() == pids


def test_the_call_knows_about_itself(shared: Any) -> None:
    client = shared.client(None)
    about = client.using(traceparent="00-1-2-03", priority=2).execute(APP, "about", timeout=50)
    assert 30 < about.pop("remaining") <= 50
    assert about.pop("request_id") > 0
    assert about == {
        "app_path": APP,
        "action": "about",
        "traceparent": "00-1-2-03",
        "idempotency_key": None,
        "cancelled": False,
    }
    assert 280 < client.execute(APP, "about")["remaining"] <= 300  # dirty_timeout
    assert client.execute(APP, "aabout") == ["aabout", "aabout"]
    with pytest.raises(RuntimeError, match="no dirty call"):
        current_call()


def test_time_in_the_queue_is_taken_from_the_deadline(start: Any, calls: Any, wait_for: Wait, short_dir: str) -> None:
    pool = start("--workers", "1", "--timeout", "0").ready()
    client, go = pool.client(None), os.path.join(short_dir, "go")
    calls.start(lambda: client.execute(APP, "wait_for_file", go))
    wait_for(pool.busy, "it runs")
    calls.start(lambda: client.execute(APP, "about", timeout=100))
    wait_for(lambda: pool.status()["queued"], "it waits")
    end = time.monotonic() + 0.5
    wait_for(lambda: time.monotonic() > end, "some time goes by")
    Path(go).touch()
    about = next(result for result in calls.join() if result != go)
    assert 80 < about["remaining"] < 99.51


def test_priorities_count_where_calls_wait(start: Any, calls: Any, wait_for: Wait, short_dir: str) -> None:
    pool = start("--workers", "1").ready()
    client, go = pool.client(), os.path.join(short_dir, "go")
    calls.start(lambda: client.execute(APP, "wait_for_file", go))
    wait_for(pool.busy, "it runs")
    for number, priority in enumerate((0, -1, 5, 0, 5)):
        urgent = client.using(priority=priority)
        calls.start(lambda urgent=urgent, number=number: urgent.execute(APP, "remember", number))
        wait_for(lambda number=number: pool.status()["queued"] == number + 1, "it waits")
    Path(go).touch()
    calls.join()
    assert client.execute(APP, "remembered") == [2, 4, 0, 3, 1]
