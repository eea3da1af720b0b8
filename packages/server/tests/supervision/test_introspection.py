"""Introspection of a made-up master: JSON-able answers, and requests that are put off."""

import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.sock import Listener
from gunicorn.supervision.introspection import MasterIntrospection
from gunicorn.supervision.scoreboard import Scoreboard, WorkerState
from gunicorn.supervision.table import Entry


class Master:
    def __init__(self) -> None:
        self.notes: list[Any] = []
        self.later: list[Callable[[], None]] = []
        self.loop = SimpleNamespace(call_soon=self.later.append)
        self.cfg = Config()
        self.proc_name, self.pid, self.started_at = "name", 10, time.monotonic() - 60
        self.num_workers, self.worker_age, self.workers_killed, self.generation = 2, 5, 1, 3
        self.past_requests, self.past_errors = 100, 7
        self.scoreboard = Scoreboard(4)
        self.WORKERS: dict[int, Any] = {}
        self.table: dict[int, Entry] = {}
        self.LISTENERS: list[Any] = []
        self.services = SimpleNamespace(snapshot=lambda name: {"pid": 77} if name == "dirty" else None)
        now = time.monotonic()
        for age, pid in ((5, 21), (4, 22)):
            slot = self.scoreboard.acquire()
            slot.requests, slot.errors, slot.heartbeat, slot.state = 10, 1, now - 2, WorkerState.IDLE
            self.WORKERS[pid] = SimpleNamespace(scoreboard=slot)
            self.table[pid] = Entry(pid, age, 3, now - 30, now - 2, booted=True)

    def manage_workers(self) -> None:
        self.notes.append("manage")

    def kill_worker(self, pid: int, signum: int) -> None:
        self.notes.append((pid, signum))

    def reload(self) -> None:
        self.notes.append("reload")

    def reopen(self) -> None:
        self.notes.append("reopen")

    def stop(self, graceful: bool) -> None:
        self.notes.append(("stop", graceful))

    def turn(self) -> list[Any]:
        while self.later:
            self.later.pop(0)()
        notes, self.notes = self.notes, []
        return notes


@pytest.fixture
def master() -> Iterator[Master]:
    made = Master()
    yield made
    made.scoreboard.close()


@pytest.fixture
def look(master: Master) -> MasterIntrospection:
    return MasterIntrospection(master)  # type: ignore[arg-type]


def test_workers_come_oldest_first_with_what_their_slots_say(master: Master, look: MasterIntrospection) -> None:
    slot = master.WORKERS[21].scoreboard
    slot.state, slot.busy_since, slot.current, slot.connections = WorkerState.BUSY, time.monotonic() - 5, "GET /", 3
    master.table[22].kill_at = 1.0
    first, second = look.workers()
    assert (first["pid"], first["age"], first["slot"], first["state"]) == (22, 4, 1, "stopping")
    assert (second["pid"], second["state"], second["current"], second["connections"]) == (21, "busy", "GET /", 3)
    assert 5 <= second["busy_for"] < 60
    assert first["busy_for"] == 0.0
    assert 2 <= first["last_heartbeat"] < 60
    assert 30 <= first["uptime"] < 90
    assert second["requests"] == 10
    assert second["booted"]


def test_stats_count_the_living_and_the_dead(look: MasterIntrospection) -> None:
    stats = look.stats()
    assert stats["requests"] == 120
    assert stats["errors"] == 9
    assert (stats["workers_current"], stats["workers_target"], stats["workers_spawned"]) == (2, 2, 5)
    assert (stats["workers_killed"], stats["reloads"], stats["dirty_arbiter_pid"]) == (1, 3, 77)
    assert 60 <= stats["uptime"] < 120


def test_everything_is_json(master: Master, look: MasterIntrospection) -> None:
    with Listener(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 0))
        master.LISTENERS = [listener]
        port = listener.getsockname()[1]
        (shown,) = look.listeners()
        assert shown["url"] == f"http://127.0.0.1:{port}"
        assert shown["address"] == f"127.0.0.1:{port}"
        json.dumps([look.workers(), look.stats(), look.config(), look.listeners(), look.service("dirty")])
    config = look.config()
    assert config["workers"] == 1
    assert config["bind"] == ["127.0.0.1:8000"]
    assert config["secure_scheme_headers"]["X-FORWARDED-PROTO"] == "https"
    assert isinstance(config["on_starting"], str)
    assert look.service("control") is None


def test_scaling_is_seen_at_once_and_done_later(master: Master, look: MasterIntrospection) -> None:
    assert look.scale_workers(2) == {"previous": 2, "total": 4}
    assert look.scale_workers(1) == {"previous": 4, "total": 5}
    assert master.notes == []
    assert "manage" in master.turn()
    assert look.scale_workers(-50) == {"previous": 5, "total": 1}


def test_requests_to_act_are_put_off(master: Master, look: MasterIntrospection) -> None:
    look.reload()
    look.reopen()
    look.shutdown(True)
    look.shutdown(False)
    look.kill_worker(21)
    assert master.notes == []
    assert master.turn() == ["reload", "reopen", ("stop", True), ("stop", False), (21, signal.SIGTERM)]


def test_a_pid_that_is_no_worker_is_an_error_that_names_the_workers(look: MasterIntrospection) -> None:
    with pytest.raises(LookupError, match="no worker has the pid 99; workers: 21, 22"):
        look.kill_worker(99)
