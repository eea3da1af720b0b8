"""Upgrade: a new master beside the running one (USR2), which takes over its listening sockets and then its place.

The old master executes the same command again, and passes its listening sockets (GUNICORN_FD) and its pid
(GUNICORN_PID). Both serve, until somebody tells the old one to stop (TERM), or the new one when it is no good. The new
one's pid file has the suffix .2 until the old one is gone.
"""

import os
import socket
import sys
from typing import TYPE_CHECKING, Any

from gunicorn.supervision import fork

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter

FD_VARIABLE = "GUNICORN_FD"
PID_VARIABLE = "GUNICORN_PID"


class Upgrade:
    """The relation of a master to the one it has started, or that has started it."""

    def __init__(self, arbiter: "Arbiter") -> None:
        self._arbiter = arbiter
        self._cwd = os.getcwd()
        self._old_pid = 0  # the master that has started this one, while it lives
        self._new_pid = 0  # the master that this one has started, while it lives
        self.inherited = False  # the listening sockets are another master's

    @property
    def succeeded(self) -> bool:
        """A new master lives, and listens on the same sockets."""
        return self._new_pid != 0

    @property
    def suffix(self) -> str:
        """What is appended to the pid file's name."""
        return ".2" if self._old_pid else ""

    def begin(self) -> None:
        """At the start: learn from the environment whether another master has started this one."""
        try:
            pid = int(os.environ.pop(PID_VARIABLE, "0"))
        except ValueError:
            pid = 0
        self._old_pid = pid if pid == os.getppid() else 0

    def inherited_fds(self) -> list[int]:
        """The descriptors of listening sockets in GUNICORN_FD, which is used up by this."""
        fds = [int(fd) for fd in os.environ.pop(FD_VARIABLE, "").split(",") if fd.strip().isdigit()]
        self.inherited = bool(fds)
        return fds

    def execute(self) -> None:
        """Start a new master from the same command line."""
        log = self._arbiter.log
        if self._new_pid:
            log.warning("USR2 is ignored: the new master %s runs already", self._new_pid)
            return
        if self._old_pid:
            log.warning("USR2 is ignored: the old master %s has not stopped yet", self._old_pid)
            return
        pid = os.getpid()

        def child() -> int:
            arbiter: Any = self._arbiter
            arbiter.enter_child()
            arbiter.cfg.pre_exec(arbiter)
            for listener in arbiter.LISTENERS:
                listener.set_inheritable(True)
            os.environ[PID_VARIABLE] = str(pid)
            os.environ[FD_VARIABLE] = ",".join(str(listener.fileno()) for listener in arbiter.LISTENERS)
            os.chdir(self._cwd)
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - our own command line

        self._new_pid = fork.fork(self._arbiter.SIGNALS, (), child, at_exit=False)
        log.info("A new master is started: %s", self._new_pid)

    def child_exited(self, pid: int, status: int) -> bool:
        """True when the child was the new master."""
        if pid != self._new_pid:
            return False
        self._new_pid = 0
        self._arbiter.log.error("The new master (pid:%s) %s; this one serves on", pid, fork.describe(status))
        return True

    def promote_when_alone(self) -> None:
        """When the old master has gone: take its place, with its pid file and the files of its sockets."""
        if not self._old_pid or os.getppid() == self._old_pid:
            return
        arbiter = self._arbiter
        arbiter.log.info("The old master %s has gone; this one takes its place", self._old_pid)
        self._old_pid = 0
        if arbiter.pidfile is not None and arbiter.cfg.pidfile is not None:
            try:
                arbiter.pidfile.rename(arbiter.cfg.pidfile)
            except RuntimeError as exc:
                arbiter.log.error("%s", exc)
        for listener in arbiter.LISTENERS:
            if listener.family == socket.AF_UNIX:
                listener.adopt_file()
