"""Control as a service of the server: found under the entry-point group ``gunicorn.services``, driven by the master.

It conforms to the server's ``Service`` interface by shape. It opens and closes the socket as configured, and passes
ticks to the endpoint; what goes over the socket is in ``endpoint.py`` and below. Trouble with the socket never keeps
the server from serving.
"""

from __future__ import annotations

import os
from typing import Any

from gunicorn.control.address import server_paths
from gunicorn.control.commands import REGISTRY
from gunicorn.control.dispatch import Dispatcher
from gunicorn.control.endpoint import Endpoint
from gunicorn.control.errors import SocketFileError, SocketInUseError
from gunicorn.control.host import ServiceHost
from gunicorn.control.settings import SETTINGS
from gunicorn.control.socket_file import DirectoryBusyError, SocketFile

__all__ = ["ControlService"]

TICK_INTERVAL = 1.0
"""Seconds between looks at the deadlines, the shortest of which is five seconds."""
RETRY_INTERVAL = 5.0
"""Seconds between attempts to open a socket that another server holds: the old one of an upgrade is about to leave."""
LOCK_RETRY_INTERVAL = 0.05
LOCK_RETRIES = 20
"""Attempts at a directory's lock, which is held for microseconds, before it counts as trouble."""


class ControlService:
    """The control socket of one master."""

    name = "control"
    settings = SETTINGS

    def __init__(self) -> None:
        self._host: ServiceHost | None = None
        self._endpoint: Endpoint | None = None
        self._wanted: tuple[str, int] | None = None
        self._retry_at: float | None = None
        self._lock_attempts = 0
        self._complained = False
        self._stopping = False
        self._hurry = False

    def start(self, host: ServiceHost) -> None:
        """Open the socket, unless the configuration says not to. Never raises for trouble with it."""
        self._host = host
        self._endpoint = Endpoint(host, Dispatcher(REGISTRY, host.introspection, host.log))
        self._wanted = _wanted(host.cfg)
        self._open()

    def reload(self, host: ServiceHost) -> None:
        """Follow the new configuration; connections that are open stay."""
        self._host = host
        if self._endpoint is None or self._stopping:
            return
        wanted = _wanted(host.cfg)
        listener = self._endpoint.listener
        if wanted == self._wanted and listener is not None and listener.intact:
            return
        self._endpoint.stop_listening()
        self._wanted = wanted
        self._complained = False
        self._open()

    def tick(self, now: float) -> float | None:
        """Keep the deadlines of the connections, and try again for a socket that was in use."""
        if self._endpoint is None:
            return None
        self._endpoint.tick(now)
        if self._retry_at is not None and now >= self._retry_at and not self._stopping:
            self._open()
        due = [] if self._retry_at is None else [self._retry_at]
        if self._endpoint.listener is not None or self._endpoint.connections:
            due.append(now + TICK_INTERVAL)
        return min(due, default=None)

    def child_exited(self, pid: int, status: int) -> bool:
        """Control has no processes."""
        return False

    def reopen(self) -> None:
        """Control has no processes that log."""

    def stop(self, graceful: bool) -> None:
        """Accept nothing more; replies under way are still sent, unless it hurries."""
        self._stopping = True
        self._hurry = not graceful
        self._retry_at = None
        if self._endpoint is not None:
            self._endpoint.stop_listening()

    @property
    def stopped(self) -> bool:
        """Whether no reply is under way any more."""
        return self._hurry or self._endpoint is None or not self._endpoint.busy

    def close(self) -> None:
        """Close everything and remove the socket's file."""
        self._retry_at = None
        if self._endpoint is not None:
            self._endpoint.close()
            self._endpoint = None

    def forked(self) -> None:
        """In a new child: close the inherited descriptors, touch nothing else."""
        if self._endpoint is not None:
            self._endpoint.forked()
            self._endpoint = None

    def snapshot(self) -> dict[str, Any]:
        """``socket`` (None while there is none), ``connections``."""
        listener = None if self._endpoint is None else self._endpoint.listener
        connections = 0 if self._endpoint is None else self._endpoint.connections
        return {"socket": None if listener is None else listener.path, "connections": connections}

    def _open(self) -> None:
        host, endpoint = self._host, self._endpoint
        self._retry_at = None
        if host is None or endpoint is None or self._wanted is None:
            return
        setting, mode = self._wanted
        try:
            listener = _open_first(server_paths(setting, _directory(host.cfg), os.getpid()), mode)
        except DirectoryBusyError as exc:
            self._lock_attempts += 1
            if self._lock_attempts < LOCK_RETRIES:
                self._retry_at = endpoint.clock() + LOCK_RETRY_INTERVAL
                return
            self._retry_later(endpoint.clock(), exc)
        except SocketInUseError as exc:
            self._retry_later(endpoint.clock(), exc)
        except SocketFileError as exc:
            self._complain(f"{exc}. The server runs without it.")
        else:
            self._lock_attempts = 0
            endpoint.listen(listener)
            host.log.info("Control socket listening at %s", listener.path)

    def _retry_later(self, now: float, error: SocketFileError) -> None:
        self._retry_at = now + RETRY_INTERVAL
        self._complain(f"{error}. The server runs without it, and tries again every {RETRY_INTERVAL:g} seconds.")

    def _complain(self, text: str) -> None:
        """Say once why there is no control socket."""
        if not self._complained and self._host is not None:
            self._complained = True
            self._host.log.warning("No control socket: %s", text)


def _open_first(paths: list[str], mode: int) -> SocketFile:
    """Open the first path that no living process has."""
    for path in paths[:-1]:
        try:
            return SocketFile.open(path, mode)
        except SocketInUseError:
            continue
    return SocketFile.open(paths[-1], mode)


def _wanted(cfg: Any) -> tuple[str, int] | None:
    """Return path and mode as configured, or None where there is to be no socket."""
    if cfg.control_socket_disable or not cfg.control_socket:
        return None
    return cfg.control_socket, cfg.control_socket_mode


def _directory(cfg: Any) -> str:
    """Return the server's working directory; the master has changed to ``chdir`` already, unless a test drives us."""
    return os.path.abspath(getattr(cfg, "chdir", None) or ".")
