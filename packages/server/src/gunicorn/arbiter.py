"""Arbiter: the master process. It listens, forks workers, replaces them, and hosts the services; it serves nothing
itself.

``app.base.BaseApplication.run`` makes one and calls ``run``; others subclass it (COMPAT.md). It is one selector loop:
no thread, no event loop, and no application unless ``preload_app`` asks for it. What to do is decided in
``supervision.table``, which is pure; this module does it.

Signals: TERM drains, INT and QUIT stop at once, HUP reloads, TTIN and TTOU scale, USR1 reopens the logs, USR2 starts a
new master beside this one, WINCH stops the workers of a daemon.
"""

import errno
import os
import signal
import sys
import time
from typing import Any, ClassVar, NoReturn

from gunicorn import __version__, sock, systemd
from gunicorn.errors import AppImportError, ConfigError, HaltServer
from gunicorn.pidfile import Pidfile
from gunicorn.supervision import fork, proctitle
from gunicorn.supervision.child import run_worker
from gunicorn.supervision.introspection import MasterIntrospection
from gunicorn.supervision.loop import MasterLoop
from gunicorn.supervision.scoreboard import Scoreboard, WorkerState
from gunicorn.supervision.service import Service
from gunicorn.supervision.services import ServiceGroup
from gunicorn.supervision.table import STOP_MARGIN, Backoff, Entry, next_deadline, overdue, plan
from gunicorn.supervision.upgrade import Upgrade

TICK = 1.0  # seconds between two looks at the workers, when nothing happens
LOADING_TICK = 0.1  # the same while a worker loads the application
QUICK_STOP = 2.0  # seconds from QUIT to KILL
FINAL_REAP = 5.0  # seconds to wait for the last killed children


class Arbiter:
    """The master."""

    WORKER_BOOT_ERROR: ClassVar[int] = 3  # exit status of a worker that could not start
    APP_LOAD_ERROR: ClassVar[int] = 4  # exit status of a worker that could not load the application

    SIGNALS: ClassVar[list[signal.Signals]] = [
        signal.SIGHUP,
        signal.SIGQUIT,
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGTTIN,
        signal.SIGTTOU,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGWINCH,
        signal.SIGCHLD,
    ]

    app: Any
    cfg: Any
    log: Any = None

    def __init__(self, app: Any) -> None:
        """:param app: a ``BaseApplication`` whose configuration is loaded.

        :raises ConfigError: when a class that the configuration names cannot be loaded.
        """
        self.LISTENERS: list[sock.Listener] = []
        self.WORKERS: dict[int, Any] = {}  # pid -> Worker
        self.table: dict[int, Entry] = {}  # pid -> what the plan is made from
        self.pid = os.getpid()
        self.pidfile: Pidfile | None = None
        self.worker_age = 0  # serial number of the youngest worker
        self.generation = 0  # reloads so far
        self.workers_killed = 0  # by KILL or ABRT
        self.past_requests = 0  # of workers that have ended
        self.past_errors = 0
        self.started_at = time.monotonic()
        self._num_workers: int | None = None
        self._proven = -1  # the last generation of which a worker has booted
        self._backoff = Backoff()
        self._graceful: bool | None = None  # how it stops; None while it serves
        self._exit_status = 0
        self._env_before: dict[str, str | None] = {}
        self._parent_pipe: tuple[int, int] | None = None
        self.upgrade = Upgrade(self)
        self.setup(app)
        self.loop = MasterLoop(self.log)
        self.scoreboard = Scoreboard(max(1024, 4 * self.num_workers))
        self.introspection = MasterIntrospection(self)
        self.services = ServiceGroup(self.cfg.services, self.loop, self.introspection, self.SIGNALS, self.enter_child)

    # Configuration -------------------------------------------------------------------------------------------------

    def setup(self, app: Any) -> None:
        """Take over the configuration of ``app``; called at the start and after each reload."""
        self.app = app
        self.cfg = app.cfg
        if self.log is None:
            self.log = self.cfg.logger_class(self.cfg)
        else:
            self.log.setup(self.cfg)
        self.worker_class: Any = self.cfg.worker_class
        self.address = self.cfg.address
        self.timeout = self.cfg.timeout
        self.proc_name = self.cfg.proc_name
        self.num_workers = self.cfg.workers
        self.log.debug("Current configuration:\n%s", self.cfg)
        for name, value in self.cfg.env.items():
            self._env_before.setdefault(name, os.environ.get(name))
            os.environ[name] = value
        if self.cfg.preload_app:
            self.app.wsgi()

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

    # Life ----------------------------------------------------------------------------------------------------------

    def run(self) -> NoReturn:
        """Serve until told to stop; then exit with the status."""
        try:
            try:
                self.start()
                self.manage_workers()
                while self._graceful is None:
                    self._turn()
                    self.manage_workers()
            except HaltServer as exc:
                self.halt(exc.reason, exc.exit_status)
            except SystemExit as exc:  # a hook's
                self.halt(f"stopped by SystemExit({exc.code!r})", fork.exit_status(exc))
            except Exception:
                self.log.exception("Unhandled exception in the master")
                self.halt("stopped by an error of the master", 255)
            self._drain()
        finally:
            self._close()
        sys.exit(self._exit_status)

    def start(self) -> None:
        """Listen, and start the services.

        :raises HaltServer: when an address cannot be listened at, or the pid file is another's.
        """
        self.log.info("Starting gunicorn %s", __version__)
        self.pid = os.getpid()
        self.started_at = time.monotonic()
        self._parent_pipe = os.pipe()
        self.upgrade.begin()
        self._write_pidfile()
        self.cfg.on_starting(self)
        self.loop.catch(self.SIGNALS)
        self._listen()
        urls = ",".join(map(str, self.LISTENERS))
        self.log.info("Listening at: %s (%s)", urls, self.pid)
        self.log.info("Using worker: %s", self.cfg.worker_class_str)
        if hasattr(self.worker_class, "check_config"):
            self.worker_class.check_config(self.cfg, self.log)
        self.services.configure(self.cfg, self.log)
        self.services.start(time.monotonic())
        self._set_title()
        systemd.sd_notify("READY=1\nSTATUS=Gunicorn arbiter booted", self.log)
        self.cfg.when_ready(self)

    def _set_title(self) -> None:
        proctitle.set_title(f"master [{self.proc_name}]")

    def _write_pidfile(self) -> None:
        if self.cfg.pidfile is None:
            return
        pidfile = Pidfile(self.cfg.pidfile + self.upgrade.suffix)
        try:
            pidfile.create(self.pid)
        except RuntimeError as exc:
            raise HaltServer(str(exc), 1) from exc
        self.pidfile = pidfile

    def _listen(self) -> None:
        fds = self.upgrade.inherited_fds()
        if not fds:
            count = systemd.listen_fds()
            fds = list(range(systemd.SD_LISTEN_FDS_START, systemd.SD_LISTEN_FDS_START + count))
        try:
            self.LISTENERS = sock.create_sockets(self.cfg, self.log, fds)
        except ConfigError as exc:
            raise HaltServer(str(exc), 1) from exc

    def halt(self, reason: str | None = None, exit_status: int = 0) -> None:
        """Stop gracefully, and exit with the status."""
        if reason is not None:
            (self.log.error if exit_status else self.log.info)("Shutting down: %s", reason)
        self._exit_status = exit_status
        self.stop()

    def stop(self, graceful: bool = True) -> None:
        """Begin to stop; a second call with ``graceful=False`` hurries one that drains."""
        if self._graceful is None or not graceful:
            self._graceful = graceful
        self.loop.wakeup()

    def _turn(self) -> None:
        """Wait for something to happen, and see to all of it but the plan."""
        for signum in self.loop.turn(self._patience(time.monotonic())):
            self._dispatch(signal.Signals(signum))
        self.reap_workers()
        self.services.tick(time.monotonic())
        self.murder_workers()
        self.upgrade.promote_when_alone()

    def _patience(self, now: float) -> float:
        """Seconds until something is due."""
        times = [now + (TICK if all(entry.booted for entry in self.table.values()) else LOADING_TICK)]
        times += [
            due
            for due in (
                self.services.next_tick(),
                self.services.stop_deadline(),
                next_deadline(self.table.values(), self.timeout),
                None if self._backoff.allows(now) else self._backoff.not_before,
            )
            if due is not None
        ]
        return max(0.0, min(times) - now)

    # Signals -------------------------------------------------------------------------------------------------------

    def _dispatch(self, signum: signal.Signals) -> None:
        name = signum.name[3:].lower()
        if signum != signal.SIGCHLD:
            self.log.info("Handling signal: %s", name)
        getattr(self, f"handle_{name}")()

    def handle_chld(self) -> None:
        """A child has ended; every turn reaps."""

    def handle_hup(self) -> None:
        self.reload()

    def handle_term(self) -> None:
        self.stop(graceful=True)

    def handle_int(self) -> None:
        self.stop(graceful=False)

    def handle_quit(self) -> None:
        self.stop(graceful=False)

    def handle_ttin(self) -> None:
        self.num_workers += 1

    def handle_ttou(self) -> None:
        if self.num_workers > 1:
            self.num_workers -= 1

    def handle_usr1(self) -> None:
        self.reopen()

    def handle_usr2(self) -> None:
        self.upgrade.execute()

    def handle_winch(self) -> None:
        if self.cfg.daemon:
            self.log.info("Graceful stop of the workers")
            self.num_workers = 0
        else:
            self.log.debug("SIGWINCH ignored: not a daemon")

    def reopen(self) -> None:
        """Open the log files again, here and in the workers."""
        self.log.reopen_files()
        self.kill_workers(signal.SIGUSR1)

    # Reload --------------------------------------------------------------------------------------------------------

    def reload(self) -> None:
        """Load the configuration again and replace all workers; what cannot be loaded leaves everything as it is."""
        old_address, old_pidfile = self.address, self.cfg.pidfile
        old_env = {name: os.environ.get(name) for name in self._env_before}
        systemd.sd_notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}", self.log)
        _restore_env(self._env_before)
        try:
            self.app.reload()
            self.setup(self.app)
        except (ConfigError, AppImportError) as exc:
            _restore_env(old_env)
            self.log.error("Reload failed, the old configuration stays in use: %s", exc)
            systemd.sd_notify("READY=1", self.log)
            return
        self.log.reopen_files()
        if self.address != old_address and not self.upgrade.inherited:
            self._listen_again()
        if self.cfg.pidfile != old_pidfile:
            if self.pidfile is not None:
                self.pidfile.unlink()
                self.pidfile = None
            self._write_pidfile()
        self._set_title()
        self.services.configure(self.cfg, self.log)
        self.services.reload(time.monotonic())
        self._call_hook("on_reload", self)
        self.generation += 1
        self._backoff.reset()
        systemd.sd_notify("READY=1", self.log)

    def _listen_again(self) -> None:
        """Listeners for the new addresses; those of addresses that stay are kept, so that no connection is lost."""
        try:
            listeners = sock.replace_sockets(self.LISTENERS, self.cfg, self.log)
        except (ConfigError, HaltServer) as exc:
            self.log.error("The old listening sockets stay in use: %s", exc)
            return
        sock.close_sockets(listener for listener in self.LISTENERS if listener not in listeners)
        self.LISTENERS = listeners
        self.log.info("Listening at: %s (%s)", ",".join(map(str, listeners)), self.pid)

    # Workers -------------------------------------------------------------------------------------------------------

    def manage_workers(self) -> None:
        """Bring the workers to what the configuration wants; called in every turn, at least once a second."""
        if self._graceful is not None:
            return
        self._read_slots()
        todo = plan(self.table.values(), self.num_workers, self.generation)
        for pid in todo.stop:
            self.kill_worker(pid, signal.SIGTERM)
        self.spawn_workers(todo.spawn)

    def spawn_workers(self, count: int | None = None) -> None:
        """Spawn workers, as long as none that die young forbid it; by default as many as are missing."""
        for _ in range(self.num_workers - len(self.WORKERS) if count is None else count):
            if not self._backoff.allows(time.monotonic()):
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
            delay = self._backoff.died(now, 0.0, free=0)
            self.log.error("Cannot fork a worker: %s; next attempt in %g seconds", exc.strerror, delay)
            return 0
        slot.pid = worker.pid = pid
        self.WORKERS[pid] = worker
        self.table[pid] = Entry(pid, self.worker_age, self.generation, now, now)
        return pid

    def enter_child(self, owner: Service | None = None) -> None:
        """In a new child: close what is the master's."""
        self.loop.close()
        self.services.forked(owner)
        if self._parent_pipe is not None:
            os.close(self._parent_pipe[1])

    def _read_slots(self) -> None:
        for pid, entry in self.table.items():
            slot = self.WORKERS[pid].scoreboard
            entry.heartbeat = slot.heartbeat
            if not entry.booted and slot.state != WorkerState.BOOTING:
                entry.booted = True
                self._proven = max(self._proven, entry.generation)

    def murder_workers(self) -> None:
        """Signal workers that hang, or that take too long to stop."""
        self._read_slots()
        now = time.monotonic()
        for pid, signum in overdue(self.table.values(), now, self.timeout):
            entry = self.table[pid]
            if signum == signal.SIGABRT:
                self.log.critical("WORKER TIMEOUT (pid:%s)", pid)
                self.WORKERS[pid].aborted = True
                entry.aborted_at = now
            else:
                self.log.warning("Worker (pid:%s) does not end; it is killed", pid)
                entry.aborted_at, entry.kill_at = None, float("inf")
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
        try:
            os.kill(pid, sig)
        except ProcessLookupError:  # somebody else has reaped it
            self._worker_ended(pid, 0)

    # Reaping -------------------------------------------------------------------------------------------------------

    def reap_workers(self) -> None:
        """Take leave of every child that has ended.

        :raises HaltServer: when a worker cannot start and no worker could so far.
        """
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except OSError as exc:
                if exc.errno == errno.ECHILD:
                    return
                raise
            if pid == 0:
                return
            if pid in self.WORKERS:
                self._worker_ended(pid, status)
            elif not self.upgrade.child_exited(pid, status):
                self.services.child_exited(pid, status, time.monotonic())

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
        if self._graceful is not None or entry.stopping:
            self.log.debug("Worker (pid:%s) %s", pid, fork.describe(status))
            return
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
        if code == 0 and entry.booted:
            return  # it has ended by itself: max_requests
        self.log.error("Worker (pid:%s) %s", pid, fork.describe(status))
        if code in (self.WORKER_BOOT_ERROR, self.APP_LOAD_ERROR):
            self._boot_failed(entry, code)
        delay = self._backoff.died(now, now - entry.spawned, free=max(3, 2 * self.num_workers))
        if delay:
            self.log.warning("Workers die young; the next one is started in %g seconds", delay)

    def _boot_failed(self, entry: Entry, code: int) -> None:
        reason = "App failed to load." if code == self.APP_LOAD_ERROR else "Worker failed to boot."
        if self._proven < entry.generation and not any(other.booted for other in self.table.values()):
            raise HaltServer(reason, code)
        self.log.error("%s The other workers go on serving", reason)

    # End -----------------------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        """Stop the workers, then the services, then see to it that no child is left."""
        graceful = bool(self._graceful)
        systemd.sd_notify("STOPPING=1", self.log)
        sock.close_sockets(self.LISTENERS, unlink=not self.upgrade.succeeded)
        self.kill_workers(signal.SIGTERM if graceful else signal.SIGQUIT)
        while self.WORKERS:
            self._last_turn()
            if graceful and not self._graceful:
                graceful = False
                self.kill_workers(signal.SIGQUIT)
        patience = float(self.cfg.graceful_timeout)
        while not self.services.stop_step(time.monotonic(), bool(self._graceful), patience):
            self._last_turn()
        self.services.kill_children()
        give_up = time.monotonic() + FINAL_REAP
        while self.services.children and time.monotonic() < give_up:
            self._last_turn()

    def _last_turn(self) -> None:
        """A turn in which nothing more can halt the master: it is ending."""
        try:
            self._turn()
        except HaltServer as exc:
            self._exit_status = self._exit_status or exc.exit_status

    def _close(self) -> None:
        if self.pidfile is not None:
            self.pidfile.unlink()
        self.log.info("Shutting down: Master")
        self._call_hook("on_exit", self)
        self.loop.close()
        if self._parent_pipe is not None:
            for fd in self._parent_pipe:
                os.close(fd)
            self._parent_pipe = None
        self.WORKERS.clear()
        self.scoreboard.close()


def _restore_env(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
