"""Worker: the life of a worker process, whatever it serves with. Subclasses add ``run``.

The master constructs a worker, gives it its scoreboard slot, forks, and calls ``init_process`` in the child, which
drops privileges, installs signal handlers, loads the application and calls ``run``. Third parties subclass it
(COMPAT.md).

What a driver needs of it:

    wakeup_fd      readable when a signal arrived; drain it with ``drain_wakeup()``, then look at ``alive``
    parent_fd      readable (end of file) when the master is gone: stop at once
    notify()       the heartbeat; call it first when it serves, then at least every ``timeout`` seconds
    alive          False when the worker shall drain and return from ``run``
    next_mark      the number of answered requests at which it calls ``reached()``, which returns the next one
    overran()      to be called for a request over ``timeout``
"""

import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any, ClassVar

from gunicorn import util
from gunicorn.supervision.scoreboard import HEARTBEAT, SLOT_SIZE, STATE, ScoreboardSlot, WorkerState

HEADROOM = 20  # a worker asks for its replacement when a twentieth of its max_requests is left
ANSWER = 0.5  # seconds for an event loop to end after INT or QUIT; the master waits for two
AGAIN = 0.1  # seconds until SystemExit is raised again in a loop that goes on


class Worker:
    """A worker process; before the fork, the master's idea of it."""

    SIGNALS: ClassVar[list[signal.Signals]] = [
        signal.SIGABRT,
        signal.SIGHUP,
        signal.SIGQUIT,
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGWINCH,
        signal.SIGCHLD,
    ]

    pid: int = 0  # 0 until it is forked

    # False in a worker that beats before it can serve, and calls ready() itself when it can.
    ready_on_notify: ClassVar[bool] = True

    def __init__(self, age: int, ppid: int, sockets: list[Any], app: Any, timeout: float, cfg: Any, log: Any) -> None:
        """
        :param age: serial number of the worker in its master, from 1.
        :param ppid: process id of the master. :param sockets: the listening sockets.
        :param timeout: seconds within which ``notify`` must be called; half of the setting. 0 for never.
        """
        self.age = age
        self.ppid = ppid
        self.sockets = sockets
        self.app = app
        self.timeout = timeout
        self.cfg = cfg
        self.log = log

        self.booted = False  # the application is loaded and run() was reached
        self.aborted = False  # the master has sent ABRT, for its missing heartbeat
        self.alive = True  # False: finish and return from run()
        self._overran = False  # a request was over timeout
        self.nr = 0  # requests answered, for max_requests
        self.wsgi: Any = None  # the application
        self.reloader: Any = None  # the thread that watches files, with the setting reload
        self.max_requests = sys.maxsize
        if cfg.max_requests > 0:
            self.max_requests = cfg.max_requests + random.randint(0, cfg.max_requests_jitter)  # noqa: S311
        # When to call reached(): a bit early, so that the replacement is there before this worker goes.
        self.next_mark = self.max_requests - self.max_requests // HEADROOM if cfg.max_requests > 0 else sys.maxsize

        # The master replaces the slot by one of its scoreboard; this private one serves a worker without a master.
        self.scoreboard = ScoreboardSlot(-1, memoryview(bytearray(SLOT_SIZE)))
        self.bell_fd = -1  # what is written here wakes the master; -1 without a master
        self.parent_fd = -1  # read end of a pipe whose write end only the master holds; -1 without a master
        self.wakeup_fd = -1  # read end of the signals' wake-up pipe, once init_process has made it
        self._wakeup_write_fd = -1

    def __str__(self) -> str:
        return f"<Worker {self.pid}>"

    # Life ----------------------------------------------------------------------------------------------------------

    def init_process(self) -> None:
        """Everything from the fork to the end of ``run``; subclasses extend it and call this last.

        The random generator needs no seed here: Python seeds it anew in every forked child.
        """
        for name, value in self.cfg.env.items():
            os.environ[name] = value
        util.set_owner_process(self.cfg.uid, self.cfg.gid, initgroups=self.cfg.initgroups)
        self._open_wakeup()
        self.log.close_on_exec()
        self.init_signals()
        if self.cfg.reload:
            self._start_reloader()
        self.load_wsgi()
        self.cfg.post_worker_init(self)
        self.booted = True
        self.run()

    def load_wsgi(self) -> None:
        """Load the application into ``self.wsgi``.

        Its exceptions end the worker; with ``reload`` the worker goes on, and answers with the traceback until a file
        changes.
        """
        try:
            self.wsgi = self.app.wsgi()
        except Exception as exc:
            if self.reloader is None:
                raise
            from gunicorn.workers import reloader

            self.log.exception("The application cannot be loaded; waiting for its files to change")
            for path in reloader.files_of(exc):
                self.reloader.watchlist.add(path)
            self.wsgi = reloader.failing_app(traceback.format_exc())
        if self.reloader is not None:
            self.reloader.watchlist.refresh()  # now, not when the thread gets to it: an edit may come sooner

    def _start_reloader(self) -> None:
        from gunicorn.workers import reloader

        def changed(path: str) -> None:
            self.log.info("Worker reloading: %s modified", path)
            os.kill(os.getpid(), signal.SIGTERM)

        watchlist = reloader.Watchlist(self.cfg.reload_extra_files)
        self.reloader = reloader.Reloader(watchlist, reloader.engine(self.cfg.reload_engine), changed)
        self.reloader.start()

    def run(self) -> None:
        """Serve until ``alive`` is False."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it serves: it has no run()")

    def notify(self) -> None:
        """Give a sign of life to the master; the first one says that the worker is ready to serve."""
        self.scoreboard.d[HEARTBEAT] = time.monotonic()
        if self.ready_on_notify and self.scoreboard.q[STATE] == WorkerState.BOOTING:
            self.ready()

    def ready(self) -> None:
        """Say that this worker serves, or is about to: until then a reload keeps its predecessor."""
        self.scoreboard.state = WorkerState.IDLE

    # What a driver tells of -----------------------------------------------------------------------------------------

    def reached(self, served: int) -> int:
        """*served* requests were answered, ``next_mark`` or more; returns the number at which to call again.

        First the worker asks for its replacement, and serves on; the master stops it (TERM) when that is ready. At
        ``max_requests`` it drains, whatever the replacement does. From any thread.
        """
        if served < self.max_requests:
            self.scoreboard.retiring = True
            self._ring()
            return self.max_requests
        if self.alive:
            self.log.info("Autorestarting worker after %d requests.", served)
            self.withdraw()
        return sys.maxsize

    def overran(self, what: str, limit: float, stack: str) -> None:
        """A request occupies the application for longer than ``timeout`` and cannot be ended alone: log it and drain.

        The hook ``worker_abort`` is called for the first one. From the thread that gets the signals.

        :param what: the request's method and target. :param limit: seconds. :param stack: where it is, as text.
        """
        self.log.critical("A request runs for over %g seconds, %s; replacing the worker.\n%s", limit, what, stack)
        first, self._overran = not self._overran, True
        self.withdraw()
        if first:
            try:
                self.cfg.worker_abort(self)
            except Exception:
                self.log.exception("Exception in the hook worker_abort")

    def withdraw(self) -> None:
        """Drain and end, by the worker's own choice; the master starts the replacement at once. From any thread."""
        self.alive = False
        self.scoreboard.state = WorkerState.DRAINING
        self._ring()
        self.wakeup()

    def _ring(self) -> None:
        """Wake the master, that it looks at the scoreboard; it would do so within a second."""
        if self.bell_fd >= 0:
            try:
                os.write(self.bell_fd, b"\0")
            except OSError:  # full, so it is awake; or gone
                pass

    def is_parent_alive(self) -> bool:
        """Whether the master still is this process's parent."""
        return os.getppid() == self.ppid

    # Signals -------------------------------------------------------------------------------------------------------

    def init_signals(self) -> None:
        """Install the handlers; system calls that a signal interrupts are resumed."""
        for signum in self.SIGNALS:
            signal.signal(signum, signal.SIG_DFL)
        handlers: dict[signal.Signals, Callable[[int, FrameType | None], Any]] = {
            signal.SIGQUIT: self.handle_quit,
            signal.SIGTERM: self.handle_exit,
            signal.SIGINT: self.handle_quit,
            signal.SIGWINCH: self.handle_winch,
            signal.SIGUSR1: self.handle_usr1,
            signal.SIGABRT: self.handle_abort,
        }
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
            signal.siginterrupt(signum, False)
        if self._wakeup_write_fd >= 0:
            signal.set_wakeup_fd(self._wakeup_write_fd, warn_on_full_buffer=False)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """TERM: finish what runs, then end."""
        self.withdraw()

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """INT or QUIT: end now, by SystemExit out of whatever runs."""
        self.alive = False
        self.cfg.worker_int(self)
        sys.exit(0)

    def quit_through(self, stop: Callable[[], Any]) -> None:
        """INT or QUIT where a loop runs: *stop* asks it to end, since an exception could get lost in a callback of it.

        When the loop does not answer, as the application blocks it, SystemExit ends that, as often as it takes until
        :meth:`quit_heard` is called.
        """
        self.alive = False
        self.cfg.worker_int(self)
        stop()
        signal.signal(signal.SIGALRM, lambda sig, frame: sys.exit(0))
        signal.setitimer(signal.ITIMER_REAL, ANSWER, AGAIN)

    def quit_heard(self) -> None:
        """The loop has ended: nothing interrupts what follows."""
        signal.setitimer(signal.ITIMER_REAL, 0)

    def handle_abort(self, sig: int, frame: FrameType | None) -> None:
        """ABRT: the master misses the heartbeat; say where this worker hangs, and end now, with status 1."""
        self.alive = False
        self.log.critical("The worker was aborted here (pid: %s):\n%s", os.getpid(), _stack_of(frame))
        self.cfg.worker_abort(self)
        sys.exit(1)

    def handle_usr1(self, sig: int, frame: FrameType | None) -> None:
        """USR1: open the log files again, since they were rotated."""
        self.log.reopen_files()

    def handle_winch(self, sig: int, frame: FrameType | None) -> None:
        """WINCH: a terminal changed its size; nothing to do for a worker."""
        self.log.debug("worker: SIGWINCH ignored.")

    def _open_wakeup(self) -> None:
        """The pipe that makes a signal wake the driver's poll; a third party's ``init_signals`` may leave it unused."""
        self.wakeup_fd, self._wakeup_write_fd = os.pipe()
        os.set_blocking(self.wakeup_fd, False)
        os.set_blocking(self._wakeup_write_fd, False)

    def wakeup(self) -> None:
        """Make the driver look at ``alive`` now, as a signal does. From any thread; never blocks."""
        if self._wakeup_write_fd >= 0:
            try:
                os.write(self._wakeup_write_fd, b"\0")
            except BlockingIOError:  # full: it is readable
                pass

    def drain_wakeup(self) -> None:
        """Read what signals have written to the wake-up pipe; never blocks."""
        try:
            while len(os.read(self.wakeup_fd, 4096)) == 4096:
                pass
        except BlockingIOError:
            pass


def _stack_of(frame: FrameType | None) -> str:
    """The lines that lead to *frame*, without the master's, which are the same for all workers."""
    stack = traceback.extract_stack(frame)
    boots = [number for number, entry in enumerate(stack) if entry.name == "init_process"]
    return "".join(traceback.format_list(stack[boots[-1] if boots else 0 :])).rstrip()
