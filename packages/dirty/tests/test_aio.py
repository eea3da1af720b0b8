"""Async actions on the event loop of a worker."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from gunicorn.dirty.errors import (
    DirtyTimeoutError,
)

APP = "sampleapps:Sample"
Wait = Callable[..., Any]


def test_an_async_action_is_cancelled_at_its_timeout_and_the_worker_stays(start: Any) -> None:
    pool = start("--workers", "1", "--timeout", "0.2").ready()
    client = pool.client()
    pids = pool.worker_pids()
    with pytest.raises(DirtyTimeoutError):
        client.execute(APP, "asleep", 3600)
    pool.idle()
    assert client.execute(APP, "was_cancelled") == 1
    assert pool.worker_pids() == pids


def test_async_actions_share_one_loop_which_is_no_slots_thread(start: Any, calls: Any) -> None:
    pool = start("--workers", "1", "--threads", "3").ready()
    client = pool.client()
    begun = time.monotonic()
    for _ in range(3):
        calls.start(lambda: client.execute(APP, "asleep", 0.4))
    assert calls.join() == [0.4] * 3
    assert time.monotonic() - begun < 1.1
    assert client.execute(APP, "aname") == "dirty-asyncio"


def test_large_chunks_of_an_async_generator_leave_the_slot_blocking(start: Any) -> None:
    pool = start("--workers", "1").ready()
    client = pool.client()
    pids = pool.worker_pids()
    for _ in range(3):
        items = client.stream(APP, "ablobs", 5, 900_000)
        assert [len(item) for item in items] == [900_000] * 5
        time_of_rest = client.execute(APP, "sleep", 0.05)
        assert time_of_rest == 0.05
    assert pool.worker_pids() == pids


def test_an_async_stream_that_is_cut_within_a_chunk_is_closed_in_step(start: Any) -> None:
    pool = start("--workers", "1").ready()
    client = pool.client()
    pids = pool.worker_pids()
    for number in range(1, 4):
        items = client.stream(APP, "aforever", 2_000_000)
        next(items)
        items.close()
        pool.idle()
        assert client.execute(APP, "streams_closed") == number
    assert pool.worker_pids() == pids
