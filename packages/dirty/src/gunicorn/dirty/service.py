"""The pool as a service of the server: starts the arbiter process, keeps it alive, stops it with the master.

Found by the server under the entry-point group `gunicorn.services` and called in the master, which forks: nothing
here, nor what it imports, starts a thread or loads asyncio or concurrent.futures. The socket is bound here and handed
to each arbiter, so that its path, and the clients waiting in its backlog, outlive an arbiter.
"""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from .channel import Channel
from .config import PoolConfig
from .errors import DirtyError
from .listening import Listener
from .settings import SETTINGS
from .titles import show_through

__all__ = ["DirtyService"]

SOCKET_VARIABLE = "GUNICORN_DIRTY_SOCKET"

_FIRST_DELAY = 0.1  # seconds before an arbiter that died young is started again; doubles each time
_MAX_DELAY = 10.0
_YOUNG = 5.0  # seconds
_MARGIN = 2.0  # seconds for the arbiter to end what runs too long


class DirtyService:
    """See `gunicorn.supervision.service.Service` of the server; this conforms to it by shape.

    :ivar state: "off" (no pool is configured), "down" (the arbiter is to be started again), "stopped", or what the
        arbiter said last: "starting", "ready", "degraded", "failed", "stopping"
    :ivar restarts: how many arbiters were started after the first
    """

    name = "dirty"
    settings: Sequence[dict[str, Any]] = SETTINGS

    def __init__(self) -> None:
        self.pid: int | None = None
        self.state = "off"
        self.restarts = -1
        self._host: Any = None
        self._config: PoolConfig | None = None
        self._listener: Listener | None = None
        self._channel: Channel | None = None
        self._previous_path: str | None = None
        self._started_at = 0.0
        self._deaths = 0
        self._start_at: float | None = None
        self._stopping = False
        self._stops = 0

    # Service

    def start(self, host: Any) -> None:
        """Start the pool if one is configured; trouble is logged, and the server goes on without."""
        self._host = host
        cfg = host.cfg
        if not cfg.dirty_apps or not cfg.dirty_workers:
            if cfg.dirty_apps:
                host.log.warning("dirty_apps is set but dirty_workers is 0: there is no dirty pool (--dirty-workers N)")
            elif cfg.dirty_workers:
                host.log.warning(
                    "dirty_workers is set but no app is: there is no dirty pool (--dirty-app module:Class)"
                )
            return
        try:
            self._config = PoolConfig.from_cfg(cfg, host.log, _owner(cfg))
            self._listener = Listener.private(self._config.owner)
        except (DirtyError, OSError) as exc:
            host.log.error("The dirty pool cannot start: %s", exc)
            self.state = "failed"
            return
        self._previous_path = os.environ.get(SOCKET_VARIABLE)
        os.environ[SOCKET_VARIABLE] = self._listener.path
        self._spawn()

    def child_exited(self, pid: int, status: int) -> bool:
        """True when `pid` was the arbiter; it is started again unless it was to stop."""
        if pid != self.pid:
            return False
        self.pid = None
        self._close_channel()
        if self._stopping:
            self.state = "stopped"
            return True
        now = time.monotonic()
        young = now - self._started_at < _YOUNG
        self._deaths = self._deaths + 1 if young else 0
        delay = min(_MAX_DELAY, _FIRST_DELAY * 2 ** (self._deaths - 1)) if self._deaths else 0.0
        self._start_at = now + delay
        self.state = "down"
        code = os.waitstatus_to_exitcode(status)
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        # With 0 it was asked to end, by a signal to all of us perhaps, of which the master has not taken notice yet.
        say = self._host.log.error if code else self._host.log.info
        say("Dirty arbiter (pid %d) ended with %s; it is started again", pid, how)
        return True

    def tick(self, now: float) -> float | None:
        """Start the arbiter again when that is due."""
        if self._start_at is not None and now >= self._start_at and not self._stopping:
            self._spawn()
        return self._start_at

    def reload(self, host: Any) -> None:
        """Take over `host.cfg`: the arbiter reads the configuration again, too, and loads the workers anew, one by
        one."""
        self._host = host
        if self._listener is None:
            self.start(host)
            return
        assert self._config is not None
        try:
            config = _reloaded(self._config, host)
        except DirtyError as exc:
            host.log.error("The dirty pool stays as it is: %s", exc)
            return
        if _owner(host.cfg) != config.owner:
            host.log.warning("The dirty pool goes on as the user that it has; start the server anew to change that")
        self._config = config
        if self._channel is not None:
            self._channel.send({"reload": config.to_data()})

    def reopen(self) -> None:
        """Have the arbiter and its workers open their log files again."""
        self._signal(signal.SIGUSR1)

    def stop(self, graceful: bool) -> None:
        """Begin to stop. The first call not graceful ends running calls, the next one kills."""
        self._stopping = True
        self._start_at = None
        if graceful:
            self._signal(signal.SIGTERM)
        else:
            self._signal(signal.SIGKILL if self._stops else signal.SIGQUIT)
            self._stops += 1

    @property
    def stopped(self) -> bool:
        return self.pid is None

    @property
    def patience(self) -> float:
        """Seconds that a graceful stop may take; the arbiter ends what runs longer than `dirty_graceful_timeout`."""
        return float(self._config.graceful_timeout) + _MARGIN if self._config is not None else 0.0

    def close(self) -> None:
        """Unlink the socket and release everything."""
        self._close_channel()
        if self._listener is not None:
            self._listener.unlink()
            self._listener.close()
            if os.environ.get(SOCKET_VARIABLE) == self._listener.path:
                if self._previous_path is None:
                    del os.environ[SOCKET_VARIABLE]
                else:
                    os.environ[SOCKET_VARIABLE] = self._previous_path
            self._listener = None

    def forked(self) -> None:
        """In another child of the master: close what is the master's. The path stays in the environment, for
        clients."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._listener is not None:
            self._listener.close()

    def snapshot(self) -> dict[str, Any]:
        """`pid` of the arbiter or None, `socket` path or None, `state`, `restarts`."""
        return {
            "pid": self.pid,
            "socket": self._listener.path if self._listener is not None else None,
            "state": self.state,
            "restarts": max(0, self.restarts),
        }

    # Inside

    def _signal(self, number: int) -> None:
        if self.pid is not None:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                pass

    def _spawn(self) -> None:
        config, listener = self._config, self._listener
        assert config is not None
        assert listener is not None
        ours, theirs = Channel.pair()
        ours.sock.setblocking(False)

        def main() -> int:
            from .arbiter import DirtyArbiter

            ours.close()
            show_through(getattr(self._host, "set_title", None))
            if config.owner is not None and os.geteuid() == 0:
                _become(*config.owner)
            reconfigure = getattr(self._host, "reconfigure", None)
            reread = None if reconfigure is None else self._reread(config, reconfigure)
            return DirtyArbiter(config, listener, theirs, reread).run()

        self._start_at = None
        self._started_at = time.monotonic()
        try:
            self.pid = self._host.spawn(main, f"dirty-arbiter [{config.proc_name}]")
        except OSError as exc:
            ours.close()
            self._deaths += 1
            self._start_at = self._started_at + min(_MAX_DELAY, _FIRST_DELAY * 2**self._deaths)
            self.state = "down"
            self._host.log.error("The dirty arbiter cannot be forked: %s; it is tried again", exc)
            return
        finally:
            theirs.close()
        self.restarts += 1
        self.state = "starting"
        self._channel = ours
        self._host.register(ours, selectors.EVENT_READ, self._on_message)

    def _reread(self, config: PoolConfig, reconfigure: Callable[[], None]) -> Callable[[], PoolConfig]:
        """For the arbiter: reads the configuration there, too."""

        def reread() -> PoolConfig:
            reconfigure()
            return _reloaded(config, self._host)

        return reread

    def _on_message(self, _events: int) -> None:
        if self._channel is None:
            return
        try:
            messages = self._channel.receive()
        except ValueError as exc:
            self._host.log.error("The dirty arbiter sent nonsense: %s", exc)
            messages = None
        if messages is None:
            self._close_channel()  # its exit comes by child_exited
            return
        for message in messages:
            self.state = str(message.get("state", self.state))

    def _close_channel(self) -> None:
        if self._channel is not None:
            self._host.unregister(self._channel)
            self._channel.close()
            self._channel = None


def _reloaded(config: PoolConfig, host: Any) -> PoolConfig:
    """What the pool is to be by the host's configuration as it is now. One that is no longer wanted has no apps, and so
    no workers; its arbiter stays, for web workers that still use the stash.

    :raises DirtyAppError: a spec is malformed or an app is given twice
    """
    if host.cfg.dirty_workers:
        return PoolConfig.from_cfg(host.cfg, host.log, config.owner)
    return replace(config, apps=(), cfg=host.cfg)


def _owner(cfg: Any) -> tuple[int, int] | None:
    """Whom the pool runs as, when the server was started by root and is to run as somebody else."""
    if os.geteuid() != 0 or (cfg.user == os.geteuid() and cfg.group == os.getegid()):
        return None
    return cfg.user, cfg.group


def _become(uid: int, gid: int) -> None:
    """Drop root for good. The supplementary groups are the user's own."""
    import pwd

    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        os.setgroups([gid])
    else:
        os.initgroups(name, gid)
    os.setgid(gid)
    os.setuid(uid)
