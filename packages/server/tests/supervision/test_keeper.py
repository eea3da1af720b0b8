"""WorkerKeeper in this process, with workers that are forked but never serve: the table it keeps, and its verdicts."""

import faulthandler
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from gunicorn.errors import HaltServer
from gunicorn.supervision.keeper import QUICK_STOP, WorkerKeeper
from gunicorn.supervision.scoreboard import Scoreboard, ScoreboardSlot, WorkerState
from gunicorn.supervision.table import ABORT_GRACE, STOP_MARGIN

Eventually = Callable[..., Any]


class Sleeper:
    """A worker that boots, or exits with a status, and then sleeps."""

    scoreboard: ScoreboardSlot
    status: ClassVar[int | None] = None
    loads: ClassVar[float] = 0.0  # seconds

    def __init__(self, age: int, *args: Any) -> None:
        self.age = age
        self.booted = self.aborted = False
        self.cfg = SimpleNamespace(worker_exit=lambda server, worker: None)

    def init_process(self) -> None:
        faulthandler.disable()  # pytest's would print the stack at ABRT
        if self.status is not None:
            raise SystemExit(self.status)
        self.scoreboard.connections = 1  # it loads
        time.sleep(self.loads)
        self.scoreboard.requests = self.age
        self.scoreboard.heartbeat = time.monotonic()
        self.scoreboard.state = WorkerState.IDLE
        while True:
            signal.pause()


class Keeper(WorkerKeeper):
    SIGNALS: ClassVar[list[signal.Signals]] = [signal.SIGTERM, signal.SIGCHLD]

    def __init__(self, notes: list[Any]) -> None:
        super().__init__()
        self.log = logging.getLogger("test.keeper")
        self.cfg = SimpleNamespace(
            graceful_timeout=30,
            proc_name="x",
            nworkers_changed=lambda server, new, old: notes.append(("nworkers", new, old)),
            pre_fork=lambda server, worker: notes.append(("pre_fork", worker.age)),
            child_exit=lambda server, worker: notes.append(("child_exit", worker.age)),
            post_fork=lambda server, worker: None,
        )
        self.proc_name = "x"
        self.app, self.timeout, self.worker_class = None, 30, Sleeper
        self.scoreboard = Scoreboard(8)

    def end(self, pid: int, signum: int = signal.SIGKILL) -> None:
        os.kill(pid, signum)
        self._worker_ended(pid, os.waitpid(pid, 0)[1])


@pytest.fixture
def notes() -> list[Any]:
    return []


@pytest.fixture
def keeper(notes: list[Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Keeper]:
    monkeypatch.setattr(Sleeper, "status", None)
    made = Keeper(notes)
    yield made
    for pid in list(made.WORKERS):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    made.scoreboard.close()


def booted(keeper: Keeper, eventually: Eventually) -> None:
    eventually(lambda: all(w.scoreboard.state == WorkerState.IDLE for w in keeper.WORKERS.values()), "boot")


def test_manage_workers_reaches_the_number_and_says_so(
    keeper: Keeper, notes: list[Any], eventually: Eventually
) -> None:
    keeper.num_workers = 2
    keeper.manage_workers()
    assert [worker.age for worker in keeper.WORKERS.values()] == [1, 2]
    assert sorted(worker.scoreboard.index for worker in keeper.WORKERS.values()) == [0, 1]
    assert notes == [("nworkers", 2, None), ("pre_fork", 1), ("pre_fork", 2)]
    booted(keeper, eventually)
    keeper.num_workers = 1
    keeper.manage_workers()
    oldest = min(keeper.table.values(), key=lambda entry: entry.age)
    assert oldest.stopping
    assert sum(entry.stopping for entry in keeper.table.values()) == 1


def test_a_replacement_takes_the_slot_and_counters_are_kept(keeper: Keeper, eventually: Eventually) -> None:
    keeper.num_workers = 3
    keeper.manage_workers()
    booted(keeper, eventually)
    middle = next(pid for pid, worker in keeper.WORKERS.items() if worker.scoreboard.index == 1)
    keeper.end(middle)
    keeper.manage_workers()
    assert keeper.WORKERS[max(keeper.WORKERS, key=lambda pid: keeper.WORKERS[pid].age)].scoreboard.index == 1
    assert keeper.past_requests == 2


def test_stopping_sets_the_time_of_the_kill_once(keeper: Keeper, eventually: Eventually) -> None:
    pid = keeper.spawn_worker()
    booted(keeper, eventually)
    entry = keeper.table[pid]
    before = time.monotonic()
    keeper.kill_worker(pid, signal.SIGWINCH)  # ignored by default
    assert not entry.stopping
    keeper.kill_worker(pid, signal.SIGTERM)
    assert entry.kill_at is not None
    assert entry.kill_at >= before + 30 + STOP_MARGIN
    first = entry.kill_at
    keeper.kill_worker(pid, signal.SIGTERM)
    assert entry.kill_at == first
    keeper.kill_worker(pid, signal.SIGQUIT)
    assert entry.kill_at <= time.monotonic() + QUICK_STOP


def test_a_missing_heartbeat_is_answered_with_abort(keeper: Keeper, eventually: Eventually) -> None:
    pid = keeper.spawn_worker()
    booted(keeper, eventually)
    keeper.WORKERS[pid].scoreboard.heartbeat = time.monotonic() - 31
    worker = keeper.WORKERS[pid]
    keeper.murder_workers()
    assert worker.aborted
    assert keeper.workers_killed == 1
    _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGABRT
    keeper._worker_ended(pid, status)
    assert keeper.WORKERS == keeper.table == {}


def test_a_worker_that_loads_for_too_long_is_told_why_and_not_replaced_for_ever_at_once(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Sleeper, "loads", 600.0)
    keeper.num_workers = 1
    while keeper.backoff.allows(time.monotonic()):
        keeper.manage_workers()
        (pid,) = keeper.WORKERS
        slot = keeper.WORKERS[pid].scoreboard
        eventually(lambda slot=slot: slot.connections, "its begin")
        slot.heartbeat = time.monotonic() - 31
        keeper.murder_workers()
        keeper._worker_ended(pid, os.waitpid(pid, 0)[1])
    assert "the application was not loaded within timeout (30 seconds)" in caplog.text
    assert "Workers die young; the next one is started in 0.5 seconds" in caplog.text


def test_a_master_that_was_stopped_itself_gives_them_their_time_anew(
    keeper: Keeper, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = keeper.spawn_worker()
    booted(keeper, eventually)
    keeper.murder_workers()
    real = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: real() + 100)  # Ctrl-Z, and fg
    keeper.murder_workers()
    assert not keeper.table[pid].stopping
    for later in range(101, 132, 2):
        monkeypatch.setattr(time, "monotonic", lambda later=later: real() + later)
        keeper.murder_workers()
    assert keeper.table[pid].stopping


def test_a_worker_that_ignores_abort_is_reported_once_and_killed_once(
    keeper: Keeper, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    pid = keeper.spawn_worker()
    booted(keeper, eventually)
    os.kill(pid, signal.SIGSTOP)
    os.waitpid(pid, os.WUNTRACED)  # until it has stopped: it would take the next signal first
    keeper.WORKERS[pid].scoreboard.heartbeat = time.monotonic() - 31
    keeper.murder_workers()
    keeper.table[pid].aborted_at = time.monotonic() - ABORT_GRACE
    for _ in range(3):  # it is not reaped yet
        keeper.murder_workers()
    _, status = os.waitpid(pid, 0)
    keeper._worker_ended(pid, status)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert caplog.text.count("WORKER TIMEOUT") == 1
    assert caplog.text.count("does not end; it is killed") == 1


def test_a_worker_that_drains_by_itself_is_replaced_before_it_ends(
    keeper: Keeper, notes: list[Any], eventually: Eventually
) -> None:
    keeper.num_workers = 2
    keeper.manage_workers()
    booted(keeper, eventually)
    pid = min(keeper.WORKERS)
    keeper.WORKERS[pid].scoreboard.state = WorkerState.DRAINING
    before = time.monotonic()
    notes.clear()
    keeper.manage_workers()
    keeper.manage_workers()
    assert len(keeper.WORKERS) == 3
    assert notes == [("pre_fork", 3)]  # the number that is wanted has not changed
    kill_at = keeper.table[pid].kill_at
    assert kill_at is not None
    assert before + 30 <= kill_at <= time.monotonic() + 30 + STOP_MARGIN
    keeper.table[pid].kill_at = before
    keeper.murder_workers()
    _, status = os.waitpid(pid, 0)
    keeper._worker_ended(pid, status)
    assert os.WTERMSIG(status) == signal.SIGKILL


def test_one_that_drains_by_itself_and_crashes_is_an_error(
    keeper: Keeper, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    keeper.num_workers = 1
    keeper.manage_workers()
    booted(keeper, eventually)
    (pid,) = keeper.WORKERS
    keeper.WORKERS[pid].scoreboard.state = WorkerState.DRAINING
    keeper.manage_workers()
    keeper.end(pid, signal.SIGSEGV)
    assert f"Worker (pid:{pid}) was killed by SIGSEGV" in caplog.text


@pytest.mark.parametrize(("signum", "said"), [(signal.SIGSEGV, True), (signal.SIGTERM, False)])
def test_one_that_crashes_while_it_stops_is_an_error_too(
    keeper: Keeper, eventually: Eventually, caplog: pytest.LogCaptureFixture, signum: int, said: bool
) -> None:
    pid = keeper.spawn_worker()
    booted(keeper, eventually)
    keeper.table[pid].told = True
    keeper.end(pid, signum)
    assert (f"Worker (pid:{pid}) was killed by SIGSEGV" in caplog.text) == said


def test_a_worker_that_retires_serves_until_its_replacement_does(
    keeper: Keeper, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    keeper.num_workers = 1
    keeper.manage_workers()
    booted(keeper, eventually)
    (old,) = keeper.WORKERS
    keeper.WORKERS[old].scoreboard.retiring = True
    keeper.WORKERS[old].scoreboard.requests = 95
    keeper.manage_workers()
    (new,) = set(keeper.WORKERS) - {old}
    assert not keeper.table[old].stopping
    booted(keeper, eventually)
    keeper.manage_workers()
    assert keeper.table[old].stopping
    assert not keeper.table[new].stopping
    assert f"Autorestarting worker after 95 requests (pid:{old})" in caplog.text


def test_a_worker_that_was_reaped_by_another_is_forgotten(
    keeper: Keeper, notes: list[Any], eventually: Eventually
) -> None:
    pid = keeper.spawn_worker()
    booted(keeper, eventually)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    keeper.kill_workers(signal.SIGTERM)
    assert keeper.WORKERS == {}
    assert ("child_exit", 1) in notes


@pytest.mark.parametrize(("status", "reason"), [(3, "Worker failed to boot."), (4, "App failed to load.")])
def test_a_first_worker_that_cannot_start_halts_the_server(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch, status: int, reason: str
) -> None:
    monkeypatch.setattr(Sleeper, "status", status)
    pid = keeper.spawn_worker()
    with pytest.raises(HaltServer) as caught:
        keeper._worker_ended(pid, os.waitpid(pid, 0)[1])
    assert (caught.value.reason, caught.value.exit_status) == (reason, status)


def test_one_that_cannot_start_beside_others_that_serve_does_not(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    keeper.spawn_worker()
    booted(keeper, eventually)
    keeper._read_slots()
    keeper.generation = 1
    monkeypatch.setattr(Sleeper, "status", 3)
    pid = keeper.spawn_worker()
    keeper._worker_ended(pid, os.waitpid(pid, 0)[1])
    assert "The other workers go on serving" in caplog.text


def test_one_that_cannot_start_where_its_like_has_booted_is_tried_again(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    pid = keeper.spawn_worker()
    booted(keeper, eventually)
    keeper._read_slots()
    keeper.end(pid)
    monkeypatch.setattr(Sleeper, "status", 3)
    keeper.num_workers = 1
    for _ in range(2):
        keeper.manage_workers()
        (pid,) = keeper.WORKERS
        keeper._worker_ended(pid, os.waitpid(pid, 0)[1])
    while keeper.backoff.allows(time.monotonic()):
        keeper.manage_workers()
        for pid in list(keeper.WORKERS):
            keeper._worker_ended(pid, os.waitpid(pid, 0)[1])
    keeper.manage_workers()
    assert keeper.WORKERS == {}


def test_a_system_that_cannot_fork_is_waited_for(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    keeper.num_workers = 1
    monkeypatch.setattr(os, "fork", fail)
    keeper.manage_workers()
    assert keeper.WORKERS == {}
    assert len(keeper.scoreboard) == 0
    assert "Cannot fork a worker: Resource temporarily unavailable" in caplog.text
    assert not keeper.backoff.allows(time.monotonic())


def test_a_hook_that_raises_is_logged(keeper: Keeper, caplog: pytest.LogCaptureFixture) -> None:
    def fail(server: Any, worker: Any) -> None:
        raise LookupError("mine")

    keeper.cfg.pre_fork = fail
    assert keeper.spawn_worker()
    assert "Exception in the hook pre_fork" in caplog.text
