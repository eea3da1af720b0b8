"""Apps with `concurrency`: many calls at a time on one worker, none of which gets in another's way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gunicorn.dirty.errors import DirtyAppError, DirtyTimeoutError

APP = "sampleapps:Many"
Wait = Callable[..., Any]


@pytest.fixture(scope="module")
def pool(pools: Any) -> Iterator[Any]:
    """One worker with one thread, and six tasks for Many."""
    with pools("--workers", "1", "--threads", "1", app=("Many", "Sample", "Directing")) as made:
        yield made.ready()


def test_async_actions_run_side_by_side_on_one_worker(pool: Any, calls: Any) -> None:
    client = pool.client()
    for _ in range(6):
        calls.start(lambda: client.execute(APP, "meet", 6))
    assert calls.join() == [6] * 6
    assert client.execute(APP, "aname") == "dirty-asyncio"


def test_there_is_a_slot_for_each_and_threads_for_other_apps(pool: Any, calls: Any, wait_for: Wait) -> None:
    (worker,) = pool.status()["workers"]
    assert len(worker["slots"]) == 9  # those of Directing included
    client = pool.client()
    for _ in range(6):
        calls.start(lambda: client.execute(APP, "asleep", 1.0))
    wait_for(lambda: len(pool.busy()) == 6, "all its tasks are taken")
    assert client.execute("sampleapps:Sample", "thread_name").startswith("dirty-slot-")
    assert calls.join() == [1.0] * 6


def test_blocking_actions_run_in_threads_and_do_not_hold_up_the_loop(pool: Any, calls: Any, wait_for: Wait) -> None:
    client = pool.client()
    assert client.execute(APP, "thread_name").startswith("dirty-task")
    for _ in range(5):
        calls.start(lambda: client.execute(APP, "sleep", 0.5))
    wait_for(lambda: len(pool.busy()) == 5, "five block")
    assert client.execute(APP, "aecho", 5) == 5
    assert calls.join() == [0.5] * 5


def test_streams_of_both_kinds(pool: Any) -> None:
    client = pool.client()
    assert list(client.stream(APP, "acount", 1000)) == list(range(1000))
    assert list(client.stream(APP, "count", 100)) == list(range(100))
    blobs = list(client.stream(APP, "ablobs", 20, 300_000))
    assert [len(blob) for blob in blobs] == [300_000] * 20
    items = client.stream(APP, "break_off")
    assert next(items) == 1
    with pytest.raises(DirtyAppError, match="in the middle"):
        next(items)


@pytest.mark.parametrize("action", ["forever", "aforever"])
def test_an_abandoned_stream_is_closed(pool: Any, action: str) -> None:
    client = pool.client()
    before = client.execute(APP, "streams_closed")
    with client.stream(APP, action, 100_000) as items:
        next(items)
    pool.idle()
    assert client.execute(APP, "streams_closed") == before + 1


def test_errors_and_values_are_as_anywhere(pool: Any) -> None:
    client = pool.client()
    for action in ("boom", "aboom"):
        with pytest.raises(DirtyAppError, match="boom") as caught:
            client.execute(APP, action)
        assert caught.value.action == action
    with pytest.raises(DirtyAppError, match="cannot be sent"):
        client.execute(APP, "unsendable")
    with pytest.raises(DirtyAppError, match="has no action"):
        client.execute(APP, "nothing")
    assert client.execute(APP, "echo", b"x" * 3_000_000) == b"x" * 3_000_000
    assert client.execute(APP, "aabout") == ["aabout", "aabout"]
    assert client.execute("sampleapps:Directing", "left", 1) == "left (1,)"


def test_a_call_that_times_out_is_cancelled_and_its_worker_stays(pool: Any, short_dir: str) -> None:
    client, pids = pool.client(), pool.worker_pids()
    before = client.execute(APP, "was_cancelled")
    with pytest.raises(DirtyTimeoutError):
        client.execute(APP, "asleep", 3600, timeout=0.2)
    note = Path(short_dir, "note")
    with pytest.raises(DirtyTimeoutError):
        client.execute(APP, "until_cancelled", str(note), timeout=0.2)
    pool.idle()
    assert note.exists()
    assert client.execute(APP, "was_cancelled") == before + 1
    assert pool.worker_pids() == pids


@pytest.mark.parametrize("action", ["unwilling", "sleep"])
def test_one_that_does_not_end_has_its_worker_replaced_when_the_others_are_done(
    start: Any, calls: Any, wait_for: Wait, short_dir: str, action: str
) -> None:
    pool = start("--workers", "1", "--cancel-grace", "0.2", app="Many").ready()
    client, pids = pool.client(), pool.worker_pids()
    go = Path(short_dir, "go")
    calls.start(lambda: client.execute(APP, "wait_for_file", str(go)))
    wait_for(pool.busy, "another call runs")
    with pytest.raises(DirtyTimeoutError):
        client.execute(APP, action, *([3600] if action == "sleep" else []), timeout=0.2)
    wait_for(lambda: len(pool.status()["workers"]) == 2, "its replacement comes")
    begun = time.monotonic()
    assert client.execute(APP, "echo", 1) == 1
    assert time.monotonic() - begun < 20
    go.touch()
    assert calls.join() == [str(go)]
    wait_for(lambda: pids[0] not in [worker["pid"] for worker in pool.status()["workers"]], "the old one has gone")
