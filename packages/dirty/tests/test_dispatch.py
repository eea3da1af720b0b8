"""Time limits, queues and callers that go away."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gunicorn.dirty.errors import (
    DirtyOverloadedError,
    DirtyTimeoutError,
)
from gunicorn.dirty.protocol import BinaryProtocol, make_request

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
