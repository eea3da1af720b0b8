"""What a worker process holds, and that it does not outlive its arbiter."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from typing import Any

from gunicorn.dirty.errors import (
    DirtyConnectionError,
)

APP = "sampleapps:Sample"
Wait = Callable[..., Any]


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


def test_the_workers_of_a_killed_arbiter_die_busy_or_not(
    start: Any, calls: Any, wait_for: Wait, alive: Callable[[int], bool]
) -> None:
    pool = start("--workers", "3").ready()
    client = pool.client()
    pids = pool.worker_pids()
    calls.start(lambda: client.execute(APP, "spin_with_lock"))
    calls.start(lambda: client.execute(APP, "sleep", 3600))
    wait_for(lambda: len(pool.busy()) == 2, "two are busy")
    pool.process.kill()
    wait_for(lambda: not any(map(alive, pids)), "all workers are gone", 2)
    assert all(isinstance(outcome, DirtyConnectionError) for outcome in calls.join())
