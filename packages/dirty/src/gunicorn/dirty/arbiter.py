"""The dirty arbiter: one process that accepts clients, schedules their calls and keeps the workers alive.

Started by the service (forked off the master) and by `python -m gunicorn.dirty` (as the process itself). It runs no
app and no thread, since it forks: everything happens in callbacks of one :class:`~gunicorn.dirty.loop.Loop`.

    Listener ─► Caller ─┐                       ┌─ WorkerProcess ─► worker
                        ├─ Dispatcher (calls) ──┤
    scheduler (pure) ───┘                       └─ Supervisor (processes) ── placement (pure)
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from typing import Any

from .bulk import widen
from .caller import Caller
from .channel import Channel
from .config import PoolConfig
from .dispatch import Dispatcher
from .listening import Listener, peer_credentials
from .loop import READ, Loop
from .process import ProcessState
from .stash_snapshot import Snapshots
from .supervisor import Supervisor
from .titles import set_title

__all__ = ["DirtyArbiter"]

_ACCEPTS_PER_ROUND = 64
_QUICK = 0.5  # seconds that workers have to exit when the pool is to stop at once
_RETRY_ACCEPT = 0.1  # seconds to wait when there are no descriptors for another connection
_REPORT_EVERY = 10.0  # seconds between two lines about such a shortage


class DirtyArbiter:
    """The process. :meth:`run` returns when the pool has stopped.

    :ivar config: the pool's configuration; `cfg` and `log` are what hooks expect to find
    :ivar state: "starting", "ready" (every seat is filled), "degraded" (some are not), "failed" (none is, nor will
        be) or "stopping"
    """

    def __init__(
        self,
        config: PoolConfig,
        listener: Listener,
        master: Channel | None = None,
        reread: Callable[[], PoolConfig] | None = None,
    ) -> None:
        """
        :param master: side channel to the process that started us; its end is our end, and the socket's
        :param reread: reads the configuration again, here, at a reload: hooks and logs cannot come over the channel
        """
        self.config = config
        self.cfg = config.cfg
        self.log = config.log
        self.listener = listener
        self.pid = os.getpid()
        self.loop = Loop()
        self.state = "starting"
        self.started_at = self.loop.now
        self.dispatcher = Dispatcher(self)
        self.supervisor = Supervisor(self)
        self.snapshots: Snapshots | None = None
        self._master = master
        self._reread = reread
        self._master_pid = os.getppid()
        self._allowed_uids = {os.geteuid(), 0, *(config.owner or ())[:1]}
        self._listening = False
        self._next_report = 0.0

    def run(self) -> int:
        """Serve until stopped by a signal or by the end of the master. Returns the exit code."""
        set_title(self.config.proc_name, "dirty-arbiter")
        self.loop.on_signals(
            {
                signal.SIGTERM: lambda: self.stop(graceful=True),
                signal.SIGINT: lambda: self.stop(graceful=False),
                signal.SIGQUIT: lambda: self.stop(graceful=False),
                signal.SIGHUP: lambda: self.reload(self.config),
                signal.SIGTTIN: lambda: self._scale(1),
                signal.SIGTTOU: lambda: self._scale(-1),
                signal.SIGUSR1: self._reopen_logs,
                signal.SIGUSR2: lambda: self.log.warning("USR2 is not for the dirty arbiter; send it to the master"),
                signal.SIGCHLD: self.supervisor.reap,
            }
        )
        try:
            self._listen()
            if self._master is not None:
                self._master.sock.setblocking(False)
                self.loop.register(self._master, READ, self._on_master)
            self.hook("on_dirty_starting", self.config.on_starting, self)
            self.log.info("Dirty arbiter (pid %d) listens on %s", self.pid, self.listener.path)
            if not os.access(self.listener.path, os.R_OK | os.W_OK):
                self.log.error(
                    "the dirty pool's socket %s cannot be reached by its user (uid %d): let it go through the "
                    "directories above, or set TMPDIR to another one", self.listener.path, os.geteuid(),
                )  # fmt: skip
            self._keep_stash(read=True)
            self.supervisor.start()
            self.loop.run()
        finally:
            self._close()
        return 0

    def forked(self) -> None:
        """In a child: close what is the arbiter's alone."""
        self.loop.forked()
        self.listener.close()
        self.dispatcher.shares.close()
        for process in self.supervisor.processes.values():
            os.close(process.lifeline)

    def hook(self, name: str, function: Callable[..., Any], *args: Any) -> None:
        """Call a hook of the user's; what it raises is logged and goes no further."""
        try:
            function(*args)
        except Exception:
            self.log.exception("hook %s failed", name)

    # Clients

    def _listen(self) -> None:
        if not self._listening and self.state != "stopping":
            self._listening = True
            self.loop.register(self.listener.sock, READ, self._accept)

    def _accept(self, _events: int) -> None:
        for _ in range(_ACCEPTS_PER_ROUND):
            try:
                sock, _ = self.listener.sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as exc:
                self._wait_to_accept(exc)
                return
            credentials = peer_credentials(sock)
            if credentials is not None and credentials[1] not in self._allowed_uids:
                self.log.warning(
                    "dirty arbiter refused a connection of uid %d (pid %d)", credentials[1], credentials[0]
                )
                sock.close()
                continue
            try:
                sock.setblocking(False)
                widen(sock)
                self.dispatcher.callers.add(Caller(self.dispatcher, sock, credentials))
            except OSError as exc:  # epoll_ctl(2) has limits of its own
                sock.close()
                self._wait_to_accept(exc)
                return

    def _wait_to_accept(self, exc: OSError) -> None:
        """Leave the clients in the backlog for a moment; say so at once, and seldom again."""
        if self.loop.now >= self._next_report:
            self._next_report = self.loop.now + _REPORT_EVERY
            hint = ""
            if exc.errno in (errno.EMFILE, errno.ENFILE):
                count = len(self.dispatcher.callers)
                hint = f" ({count} are open); raise the limit of open files (ulimit -n, LimitNOFILE=)"
            self.log.error("Dirty arbiter cannot accept connections for now, they wait: %s%s", exc, hint)
        self._unlisten()
        self.loop.call_later(_RETRY_ACCEPT, self._listen)

    def may_manage(self, pid: int | None) -> bool:
        """Whether the process may add and remove workers and end others' calls: where there is a master, only that."""
        return self._master is None or pid is None or pid == self._master_pid

    def _unlisten(self) -> None:
        if self._listening:
            self._listening = False
            self.loop.unregister(self.listener.sock)

    # Steering

    def _on_master(self, _events: int) -> None:
        assert self._master is not None
        messages = self._master.receive()
        for message in messages or ():
            if "reload" in message:
                self.reload(self._new_config(message["reload"]))
        if messages is None:
            self.log.error("Dirty arbiter (pid %d): the master is gone, the pool stops", self.pid)
            self.loop.unregister(self._master)
            self.listener.unlink()
            self.stop(graceful=False)

    def reload(self, config: PoolConfig) -> None:
        """Take over `config` and start the workers anew, one after the other, each before its predecessor drains."""
        if self.state != "stopping":
            self.log.info("Dirty arbiter (pid %d) reloads its workers", self.pid)
            self.config, self.cfg = config, config.cfg
            set_title(config.proc_name, "dirty-arbiter")
            self.supervisor.configure(config)
            self._keep_stash(read=False)

    def _new_config(self, data: dict[str, Any]) -> PoolConfig:
        """What the master has read, as `data`; with the hooks and logs that go with it, when they can be had."""
        if self._reread is not None:
            try:
                return self._reread()
            except Exception as exc:
                self.log.error(
                    "The dirty pool's hooks and logs stay as they are, since its arbiter (uid %d) cannot load the "
                    "configuration: %s; let it be read by this user, or start the server anew", os.geteuid(), exc,
                )  # fmt: skip
        return self.config.with_data(data)

    def _keep_stash(self, read: bool) -> None:
        """Keep the stash where the configuration says, beginning with what is there (`read`) or with what is here."""
        path, interval = self.config.stash_file, self.config.stash_interval
        kept = self.snapshots
        if kept is not None:
            if path is not None and (os.path.abspath(path), interval) == (kept.path, kept.interval):
                return
            kept.close()
        self.snapshots = None if path is None else Snapshots(self, path, interval)
        if self.snapshots is not None:
            self.snapshots.start(read)

    def _scale(self, delta: int) -> None:
        _numbers, reason = self.supervisor.scale(delta)
        if reason:
            self.log.warning("The number of dirty workers stays: %s", reason)

    def _reopen_logs(self) -> None:
        reopen = getattr(self.log, "reopen_files", None)
        if reopen is not None:
            self.hook("reopen_files of the log", reopen)
        for process in self.supervisor.processes.values():
            process.forward(signal.SIGUSR1)

    def judge(self) -> None:
        """Reckon :attr:`state` and tell the master when it has changed."""
        if self.state == "stopping":
            return
        seats = self.supervisor.seats.values()
        serving = [seat for seat in seats if seat.process is not None and seat.process.state is ProcessState.READY]
        if any(seat.given_up or (seat.failures and seat not in serving) for seat in seats):
            state = "failed" if all(seat.given_up and seat not in serving for seat in seats) else "degraded"
        else:
            state = "ready" if len(serving) == len(seats) else self.state
        if state != self.state:
            self._become(state)

    def _become(self, state: str) -> None:
        self.state = state
        self.log.info("Dirty pool is %s", state)
        if self._master is not None:
            self._master.send({"state": state})

    # End

    def stop(self, graceful: bool) -> None:
        """Stop the pool: finish what runs and waits within the grace period, or end it at once."""
        first = self.state != "stopping"
        if first:
            self._become("stopping")
            self._unlisten()
            self.dispatcher.stopping = True
            self.supervisor.begin_stop()
            if graceful:
                self.loop.call_later(self.config.graceful_timeout, lambda: self.stop(graceful=False))
        if graceful:
            self.stop_when_idle()
        else:
            self.supervisor.stop_all(_QUICK)
            for process in self.supervisor.processes.values():
                process.kill_after(_QUICK)
            if not self.supervisor.processes:
                self.loop.stop()

    def stop_when_idle(self) -> None:
        """Go on with the stop if nothing has to be waited for any more."""
        if self.dispatcher.is_idle:
            self.supervisor.stop_all(self.config.graceful_timeout)
        if not self.supervisor.processes:
            self.loop.stop()

    def _close(self) -> None:
        self.supervisor.kill_all()
        if self.snapshots is not None:
            self.snapshots.close()
        for caller in list(self.dispatcher.callers):
            caller.close()
        self.loop.close()
        if self._master is None:
            self.listener.unlink()
        else:
            self._master.close()
        self.listener.close()
