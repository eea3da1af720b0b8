"""WorkerKeeper: the half of the arbiter that keeps workers: forks them, watches them, stops them, takes leave of them.

What to do is decided in ``supervision.table``, which is pure; this class does it. ``gunicorn.arbiter.Arbiter`` is the
other half, and the name under which others subclass these methods.
"""

import os
import signal
import time
from typing import Any, ClassVar

from gunicorn.errors import HaltServer
from gunicorn.supervision import fork
from gunicorn.supervision.child import run_worker
from gunicorn.supervision.scoreboard import Scoreboard, WorkerState
from gunicorn.supervision.service import Service
from gunicorn.supervision.table import STOP_MARGIN, Backoff, Entry, overdue, plan

QUICK_STOP = 2.0  # seconds from QUIT to KILL
ABSENCE = 5.0  # seconds between two looks at the workers after which the master takes itself to have been stopped


class WorkerKeeper:
    """The workers of a master."""

    WORKER_BOOT_ERROR: ClassVar[int] = 3  # exit status of a worker that could not start
    APP_LOAD_ERROR: ClassVar[int] = 4  # exit status of a worker that could not load the application
    SIGNALS: ClassVar[list[signal.Signals]]  # that the master catches

    app: Any
    cfg: Any
    log: Any = None
    worker_class: Any
    timeout: int  # seconds without a heartbeat after which a worker is killed, 0 for never
    scoreboard: Scoreboard

    def __init__(self) -> None:
        self.LISTENERS: list[Any] = []
        self.WORKERS: dict[int, Any] = {}  # pid -> Worker
        self.table: dict[int, Entry] = {}  # pid -> what the plan is made from
        self.pid = os.getpid()
        self.worker_age = 0  # serial number of the youngest worker
        self.generation = 0  # reloads so far
        self.workers_killed = 0  # by KILL or ABRT
        self.past_requests = 0  # of workers that have ended
        self.past_errors = 0
        self.backoff = Backoff()
        self._looked = float("inf")  # when the workers' heartbeats were judged last
        self._returned = 0.0  # when the master came back after it was stopped
        self._num_workers: int | None = None
        self._proven = -1  # the last generation of which a worker has booted
        self._parent_pipe: tuple[int, int] | None = None  # workers watch its read end; only the master has the other
        self._graceful: bool | None = None  # how the master stops; None while it serves

    @property
    def num_workers(self) -> int:
        """How many workers are wanted."""
        return self._num_workers or 0

    @num_workers.setter
    def num_workers(self, value: int) -> None:
        old, self._num_workers = self._num_workers, value
        if old != value:
            self._call_hook("nworkers_changed", self, value, old)

    def _call_hook(self, name: str, *args: Any) -> None:
        """Call a hook whose failure must not end the master."""
        try:
            getattr(self.cfg, name)(*args)
        except Exception:
            self.log.exception("Exception in the hook %s", name)

    # Workers -------------------------------------------------------------------------------------------------------

    def manage_workers(self) -> None:
        """Bring the workers to what the configuration wants; called in every turn, at least once a second."""
        if self._graceful is not None:
            return
        self._read_slots()
        todo = plan(self.table.values(), self.num_workers, self.generation)
        for pid in todo.stop:
            if self.table[pid].retiring:
                done = self.WORKERS[pid].scoreboard.requests
                self.log.info("Autorestarting worker after %d requests (pid:%s); its replacement serves.", done, pid)
            self.kill_worker(pid, signal.SIGTERM)
        self.spawn_workers(todo.spawn)

    def spawn_workers(self, count: int | None = None) -> None:
        """Spawn workers, as long as none that die young forbid it; by default as many as are missing."""
        for _ in range(self.num_workers - len(self.WORKERS) if count is None else count):
            if not self.backoff.allows(time.monotonic()):
                return
            self.spawn_worker()

    def spawn_worker(self) -> int:
        """Fork one worker; returns its pid, or 0 when the system has no room for one."""
        self.worker_age += 1
        worker = self.worker_class(
            self.worker_age, self.pid, self.LISTENERS, self.app, self.timeout / 2.0, self.cfg, self.log
        )
        now = time.monotonic()
        slot = self.scoreboard.acquire()
        slot.age, slot.started, slot.heartbeat = self.worker_age, now, now
        worker.scoreboard = slot
        worker.parent_fd = self._parent_pipe[0] if self._parent_pipe else -1
        self._call_hook("pre_fork", self, worker)
        try:
            pid = fork.fork(
                self.SIGNALS,
                (signal.SIGUSR1, signal.SIGWINCH, signal.SIGHUP),
                lambda: run_worker(self, worker),
                at_exit=True,
            )
        except OSError as exc:
            self.scoreboard.release(slot)
            delay = self.backoff.died(now, 0.0, free=0)
            self.log.error("Cannot fork a worker: %s; next attempt in %g seconds", exc.strerror, delay)
            return 0
        slot.pid = worker.pid = pid
        self.WORKERS[pid] = worker
        self.table[pid] = Entry(pid, self.worker_age, self.generation, now, now)
        return pid

    def bell(self) -> int:
        """In a new child: a descriptor that wakes the master when it is written to; -1 for none."""
        return -1

    def enter_child(self, owner: Service | None = None) -> None:
        """In a new child: close what is the master's."""
        if self._parent_pipe is not None:
            os.close(self._parent_pipe[1])

    def _read_slots(self) -> None:
        for pid, entry in self.table.items():
            slot = self.WORKERS[pid].scoreboard
            entry.heartbeat = max(slot.heartbeat, self._returned)
            entry.retiring = slot.retiring
            state = slot.state
            if not entry.booted and state != WorkerState.BOOTING:
                entry.booted = True
                self._proven = max(self._proven, entry.generation)
            if state == WorkerState.DRAINING and not entry.stopping:
                # By itself: max_requests, a changed file, a TERM of somebody else. Its place is free from now on.
                entry.kill_at = time.monotonic() + self.cfg.graceful_timeout + STOP_MARGIN

    def murder_workers(self) -> None:
        """Signal workers that hang, or that take too long to stop.

        A master that was stopped itself (Ctrl-Z and fg, a debugger, a frozen container) cannot tell whether they were
        stopped too: they get their whole timeout anew.
        """
        now = time.monotonic()
        if now - self._looked > ABSENCE:
            self._returned = now
        self._looked = now
        self._read_slots()
        for pid, signum in overdue(self.table.values(), now, self.timeout):
            entry = self.table[pid]
            if signum == signal.SIGABRT:
                why = (
                    "" if entry.booted else f": the application was not loaded within timeout ({self.timeout} seconds)"
                )
                self.log.critical("WORKER TIMEOUT (pid:%s)%s", pid, why)
                self.WORKERS[pid].aborted = True
                entry.aborted_at = now
            else:
                self.log.warning("Worker (pid:%s) does not end; it is killed", pid)
                entry.killed = True
            entry.told = True
            self.workers_killed += 1
            self.kill_worker(pid, signum)

    def kill_workers(self, sig: int) -> None:
        """Send a signal to all workers."""
        for pid in list(self.WORKERS):
            self.kill_worker(pid, sig)

    def kill_worker(self, pid: int, sig: int) -> None:
        """Send a signal to a worker. One that stops it (TERM, QUIT, INT) also sets the time at which it is killed."""
        entry = self.table.get(pid)
        if entry is not None and sig in (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT):
            patience = self.cfg.graceful_timeout + STOP_MARGIN if sig == signal.SIGTERM else QUICK_STOP
            kill_at = time.monotonic() + patience
            entry.kill_at = kill_at if entry.kill_at is None else min(entry.kill_at, kill_at)
            entry.told = True
        try:
            os.kill(pid, sig)
        except ProcessLookupError:  # somebody else has reaped it
            self._worker_ended(pid, 0)

    def _worker_ended(self, pid: int, status: int) -> None:
        """Take a worker out of the table, say why it ended, and decide whether serving makes sense without it.

        :raises HaltServer: when it could not start, and no worker of its generation or an older one shows that it is
            possible.
        """
        worker, entry = self.WORKERS.pop(pid), self.table.pop(pid)
        now = time.monotonic()
        slot = worker.scoreboard
        entry.booted = entry.booted or slot.state != WorkerState.BOOTING
        self.past_requests += slot.requests
        self.past_errors += slot.errors
        self._call_hook("child_exit", self, worker)
        self.scoreboard.release(slot)
        if self._graceful is not None or entry.told:
            asked = entry.killed or entry.aborted_at is not None or not _crashed(status)
            (self.log.debug if asked else self.log.error)("Worker (pid:%s) %s", pid, fork.describe(status))
            if self._graceful is None and entry.aborted_at is not None and not entry.booted:
                self._died_young(now - entry.spawned)  # or they would be made and killed for ever
            return
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
        if code == 0 and entry.booted:
            return  # it has ended by itself: max_requests
        self.log.error("Worker (pid:%s) %s", pid, fork.describe(status))
        if code in (self.WORKER_BOOT_ERROR, self.APP_LOAD_ERROR):
            self._boot_failed(entry, code)
        self._died_young(now - entry.spawned)

    def _died_young(self, lifetime: float) -> None:
        """Unless it lived for long: the next one may have to wait."""
        delay = self.backoff.died(time.monotonic(), lifetime, free=max(3, 2 * self.num_workers))
        if delay:
            self.log.warning("Workers die young; the next one is started in %g seconds", delay)

    def _boot_failed(self, entry: Entry, code: int) -> None:
        reason = "App failed to load." if code == self.APP_LOAD_ERROR else "Worker failed to boot."
        if self._proven < entry.generation and not any(other.booted for other in self.table.values()):
            raise HaltServer(reason, code)
        self.log.error("%s The other workers go on serving", reason)


def _crashed(status: int) -> bool:
    """Whether a signal has ended a process that does not end it by itself, as those that stop a worker do."""
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) not in (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT)
