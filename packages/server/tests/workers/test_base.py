"""The base of all workers, without a master: what it is made with, its boot, its signals.

Lives are tested with masters.
"""

import logging
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.supervision.scoreboard import Scoreboard, WorkerState
from gunicorn.workers.base import Worker


class Log:
    def __init__(self) -> None:
        self.notes: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *args: self.notes.append(name)


class App:
    def __init__(self, notes: list[str]) -> None:
        self.notes = notes

    def wsgi(self) -> str:
        self.notes.append(f"wsgi {os.environ.get('BASE_COLOUR')}")
        return "the application"


class Noting(Worker):
    notes: list[str]

    def init_signals(self) -> None:
        self.notes.append(f"init_signals {self.wakeup_fd >= 0}")
        super().init_signals()

    def run(self) -> None:
        self.notes.append(f"run {self.booted} {self.wsgi} {self.scoreboard.state.name}")


@pytest.fixture
def kept_signals() -> Iterator[None]:
    before = {signum: signal.getsignal(signum) for signum in Worker.SIGNALS}
    yield
    signal.set_wakeup_fd(-1)
    for signum, handler in before.items():
        signal.signal(signum, handler)


def worker(cls: type[Worker] = Worker, log: Any = None, app: Any = None, **settings: Any) -> Worker:
    cfg = Config()
    for name, value in settings.items():
        cfg.set(name, value)
    return cls(1, os.getppid(), [], app, 15.0, cfg, log or logging.getLogger("test.worker"))


def close(made: Worker) -> None:
    signal.set_wakeup_fd(-1)
    for fd in (made.wakeup_fd, made._wakeup_write_fd):
        if fd >= 0:
            os.close(fd)


def test_what_it_is_made_of() -> None:
    made = worker()
    assert (made.age, made.ppid, made.pid, made.sockets, made.timeout, made.nr) == (1, os.getppid(), 0, [], 15.0, 0)
    assert made.alive
    assert not made.booted
    assert not made.aborted
    assert made.max_requests == sys.maxsize
    assert str(made) == "<Worker 0>"
    assert made.is_parent_alive()
    made.ppid = 1 << 22
    assert not made.is_parent_alive()


def test_max_requests_has_its_jitter() -> None:
    assert worker(max_requests=10).max_requests == 10
    drawn = {worker(max_requests=10, max_requests_jitter=3).max_requests for _ in range(200)}
    assert drawn == {10, 11, 12, 13}


def test_near_max_requests_it_asks_for_its_replacement_and_at_it_drains(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    made = worker(max_requests=100)
    bell, made.bell_fd = os.pipe()
    os.set_blocking(bell, False)
    try:
        assert made.next_mark == 95
        assert made.reached(95) == 100
        assert made.scoreboard.retiring
        assert made.alive
        assert made.scoreboard.state == WorkerState.BOOTING  # as it was
        assert os.read(bell, 100) == b"\0"
        assert made.reached(100) == sys.maxsize
        assert not made.alive
        assert made.scoreboard.state == WorkerState.DRAINING
        assert os.read(bell, 100) == b"\0"
        made.reached(101)
    finally:
        os.close(bell)
        os.close(made.bell_fd)
    assert caplog.messages == ["Autorestarting worker after 100 requests."]
    made.reached(101)  # without a master: nobody is there to hear of it


@pytest.mark.parametrize(("limit", "mark"), [(0, sys.maxsize), (1, 1), (19, 19), (20, 19), (1000, 950)])
def test_few_requests_leave_no_room_to_be_early(limit: int, mark: int) -> None:
    assert worker(max_requests=limit).next_mark == mark


def test_a_request_over_its_time_is_named_and_the_hook_called_once(caplog: pytest.LogCaptureFixture) -> None:
    aborted: list[Worker] = []
    made = worker(worker_abort=aborted.append)
    made.overran("GET /x?y", 30, "  File 'app.py'")
    made.overran("POST /z", 30, "  File 'other.py'")
    assert aborted == [made]
    assert not made.alive
    assert made.scoreboard.state == WorkerState.DRAINING
    assert caplog.messages == [
        "A request runs for over 30 seconds, GET /x?y; replacing the worker.\n  File 'app.py'",
        "A request runs for over 30 seconds, POST /z; replacing the worker.\n  File 'other.py'",
    ]


def test_a_failing_hook_worker_abort_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fail(worker: Worker) -> None:
        raise LookupError("mine")

    made = worker(worker_abort=fail)
    made.overran("GET /", 1, "")
    assert "Exception in the hook worker_abort" in caplog.text
    assert not made.alive


def test_the_heartbeat_goes_to_its_slot() -> None:
    made = worker()
    before = time.monotonic()
    made.notify()
    assert before <= made.scoreboard.heartbeat <= time.monotonic()
    board = Scoreboard(1)
    made.scoreboard = board.acquire()
    made.notify()
    assert before <= made.scoreboard.heartbeat
    board.close()


def test_the_first_heartbeat_says_that_it_is_ready() -> None:
    made = worker()
    states = [made.scoreboard.state]
    made.notify()
    states.append(made.scoreboard.state)
    made.scoreboard.state = WorkerState.BUSY
    made.notify()
    states.append(made.scoreboard.state)
    assert states == [WorkerState.BOOTING, WorkerState.IDLE, WorkerState.BUSY]


def test_a_worker_that_beats_before_it_serves_says_itself_when_it_does() -> None:
    class Slow(Worker):
        ready_on_notify = False

    made = worker(Slow)
    made.notify()
    assert made.scoreboard.heartbeat > 0
    states = [made.scoreboard.state]
    made.ready()
    states.append(made.scoreboard.state)
    assert states == [WorkerState.BOOTING, WorkerState.IDLE]


def test_a_worker_that_cannot_run_says_so() -> None:
    with pytest.raises(NotImplementedError, match=r"Worker does not say how it serves: it has no run\(\)"):
        worker().run()


def test_the_boot_in_its_order(kept_signals: None, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    monkeypatch.setenv("BASE_COLOUR", "grey")
    monkeypatch.setattr(Noting, "notes", notes, raising=False)
    log = Log()
    made = worker(
        Noting,
        log=log,
        app=App(notes),
        raw_env=["BASE_COLOUR=red"],
        post_worker_init=lambda worker: notes.append(f"post_worker_init {worker.booted} {worker.wsgi}"),
    )
    try:
        made.init_process()
    finally:
        close(made)
    assert notes == [
        "init_signals True",
        "wsgi red",
        "post_worker_init False the application",
        "run True the application BOOTING",
    ]
    assert log.notes == ["close_on_exec"]


def test_signals_wake_the_driver(kept_signals: None) -> None:
    made = worker(Noting, log=Log(), app=App([]))
    made.notes = []  # type: ignore[attr-defined]
    try:
        made.init_process()
        poll = select.poll()
        poll.register(made.wakeup_fd, select.POLLIN)
        assert poll.poll(0) == []
        os.kill(os.getpid(), signal.SIGTERM)
        assert poll.poll(20_000)
        assert not made.alive
        made.drain_wakeup()
        made.drain_wakeup()
        assert poll.poll(0) == []
    finally:
        close(made)


def test_what_the_signals_do() -> None:
    hooks: list[Any] = []
    log = Log()
    made = worker(log=log, worker_int=hooks.append, worker_abort=lambda worker: hooks.append("abort"))
    made.handle_winch(signal.SIGWINCH, None)
    made.handle_usr1(signal.SIGUSR1, None)
    assert made.alive
    assert log.notes == ["debug", "reopen_files"]
    made.handle_exit(signal.SIGTERM, None)
    assert not made.alive
    assert made.scoreboard.state == WorkerState.DRAINING
    made.alive = True
    with pytest.raises(SystemExit) as caught:
        made.handle_quit(signal.SIGQUIT, None)
    assert caught.value.code == 0
    assert hooks == [made]
    assert not made.alive
    with pytest.raises(SystemExit) as caught:
        made.handle_abort(signal.SIGABRT, None)
    assert caught.value.code == 1
    assert hooks[1:] == ["abort"]


@pytest.mark.parametrize("kind", ["sync", "gthread", "gevent"])
def test_max_requests_of_1_is_a_process_for_each_request(serve: Any, kind: str) -> None:
    if kind == "gevent":
        pytest.importorskip("gevent")
    server = serve("-k", kind, "--max-requests", "1", app="wsgi_apps:app")
    pids = [server.get("/pid") for _ in range(6)]
    assert len(set(pids)) == 6
