"""Workers that die, hang, fail to load or are replaced: real processes."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gunicorn.dirty.errors import (
    DirtyError,
    DirtyNoWorkersAvailableError,
    DirtyTimeoutError,
    DirtyWorkerError,
)

APP = "sampleapps:Sample"
Wait = Callable[..., Any]


def test_a_killed_worker_fails_its_calls_at_once_and_the_waiting_ones_survive(
    start: Any, calls: Any, wait_for: Wait
) -> None:
    pool = start("--workers", "1").ready()
    client = pool.client()
    (pid,) = pool.worker_pids()
    calls.start(lambda: client.execute(APP, "sleep", 3600))
    wait_for(lambda: len(pool.busy()) == 1, "the first call runs")
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


def test_a_worker_takes_calls_when_its_apps_are_loaded_and_not_before(
    start: Any, calls: Any, wait_for: Wait, short_dir: str
) -> None:
    slow = os.path.join(short_dir, "slow")
    pool = start("--workers", "1", app="Slow", env={"SLOW_FILE": slow})
    calls.start(lambda: pool.client().execute("sampleapps:Slow", "pid"))
    wait_for(lambda: pool.status()["queued"] == 1, "the call waits")
    wait_for(lambda: [worker["booted"] for worker in pool.status()["workers"]] == [False], "the worker loads")
    assert pool.status()["state"] == "starting"
    assert pool.status()["queued"] == 1
    Path(slow).touch()
    assert calls.join() == pool.worker_pids()


def test_an_app_that_cannot_be_loaded_is_given_up_and_comes_back_by_a_reload(
    start: Any, calls: Any, wait_for: Wait, short_dir: str
) -> None:
    fine = os.path.join(short_dir, "fine")
    pool = start("--workers", "1", "--boot-delay", "0.02", app="Broken:1", env={"BROKEN_FILE": fine})
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


@pytest.mark.parametrize(
    ("app", "reason"),
    [("Unspeakable", r"ValueError: expected failure of init \\udce4"), ("Leaving", "SystemExit: .*no licence")],
)
def test_whatever_keeps_an_app_from_loading_is_told_and_ends_no_arbiter(
    start: Any, wait_for: Wait, app: str, reason: str
) -> None:
    pool = start("--workers", "2", "--boot-delay", "0.01", app=("Sample:1", f"{app}:1"))
    client = pool.client()
    for _ in range(2):  # one waits for the last attempt, one comes after it
        with pytest.raises(DirtyNoWorkersAvailableError, match=reason):
            client.execute(f"sampleapps:{app}", "go")
    assert [bool(seat["error"]) for seat in pool.status()["seats"]] == [False, True]
    assert client.execute("sampleapps:Sample", "echo", 1) == 1


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


def test_a_shortage_of_descriptors_is_told_and_outlived(start: Any, wait_for: Wait) -> None:
    pool = start("--workers", "1").ready()
    client = pool.client()
    pid = client.execute(APP, "pid")
    _, hard = resource.prlimit(pool.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pool.pid, resource.RLIMIT_NOFILE, (3, hard))  # those that it has stay open
    pool.process.send_signal(signal.SIGTTIN)
    wait_for(lambda: "worker 2 cannot be started" in pool.log, "it says so")
    assert client.execute(APP, "echo", 2) == 2
    pool.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "cannot be looked at" in pool.log, "a reload says so too")
    assert client.execute(APP, "echo", 3) == 3
    resource.prlimit(pool.pid, resource.RLIMIT_NOFILE, (hard, hard))
    wait_for(lambda: client.execute(APP, "pid") != pid, "the reload goes on where it was")
    wait_for(lambda: len(pool.worker_pids()) == 1, "and is complete")


def test_a_hung_workers_other_slots_finish(start: Any, calls: Any, wait_for: Wait, short_dir: str) -> None:
    pool = start("--workers", "1", "--threads", "2", "--timeout", "1", "--cancel-grace", "0.1").ready()
    client = pool.client()
    (old,) = pool.worker_pids()
    calls.start(lambda: client.execute(APP, "sleep", 3600))
    wait_for(lambda: len(pool.busy()) == 1, "the hung call runs")
    deadline = wait_for(lambda: next((s for s in pool.busy() if s["seconds"] > 0.6), None), "it has run for a while")
    assert deadline
    go = os.path.join(short_dir, "go")
    calls.start(lambda: client.execute(APP, "wait_for_file", go))
    wait_for(lambda: pool.worker_pids() not in ([old], []), "another worker took the seat")
    Path(go).touch()
    outcomes = calls.join()
    assert go in outcomes
    assert any(isinstance(outcome, DirtyTimeoutError) for outcome in outcomes)
    wait_for(lambda: old not in [worker["pid"] for worker in pool.status()["workers"]], "the hung worker is gone")
