"""What a pool is made of: apps, numbers, times and hooks, read from the server's configuration or the command line.

Made by the service (from the server's `cfg`) and by `python -m gunicorn.dirty`; read by the arbiter and its workers.
The part that a reload may change travels to a running arbiter as JSON (:meth:`PoolConfig.to_data`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .app import parse_dirty_app_spec
from .errors import DirtyAppError

__all__ = ["AppSpec", "PoolConfig"]

Hook = Callable[..., Any]


def _no_hook(*_args: Any) -> None:
    pass


@dataclass(frozen=True)
class AppSpec:
    """One of `dirty_apps`: import path, and the number of workers that the setting gives (None: the class decides)."""

    path: str
    workers: int | None = None


@dataclass(frozen=True)
class PoolConfig:
    """The configuration of one pool. Times are in seconds; 0 is "never" for `timeout`.

    :ivar threads: slots per worker: how many calls one worker runs side by side
    :ivar timeout: how long a call may wait in the queue, then run until its first answer, then between two chunks
    :ivar graceful_timeout: how long running calls may take to finish when the pool stops or reloads
    :ivar cancel_grace: how long a call that was ended may keep its slot before its worker is replaced
    :ivar queue_size: how many calls may wait per app, 0 is no bound
    :ivar shared_memory: bytes that a connection may share with the workers, 0 is none
    :ivar start_method: "fork", or "spawn" for workers that are fresh interpreters (for all apps)
    :ivar stash_file: where the stash is kept beyond the arbiter's life, or None
    :ivar stash_interval: seconds between two times that it is written, if it has changed
    :ivar boot_attempts: how often in a row a worker may fail to load its apps before it is given up
    :ivar boot_delay: wait before the second attempt; it doubles with each further one
    :ivar owner: uid and gid to run as when started by root, or None
    :ivar cfg: what hooks find as `arbiter.cfg` and `worker.cfg`
    """

    apps: tuple[AppSpec, ...]
    workers: int = 1
    threads: int = 1
    timeout: float = 300.0
    graceful_timeout: float = 30.0
    cancel_grace: float = 5.0
    queue_size: int = 0
    shared_memory: int = 64 * 1024 * 1024
    start_method: str = "fork"
    stash_file: str | None = None
    stash_interval: float = 30.0
    boot_attempts: int = 5
    boot_delay: float = 0.5
    proc_name: str = "gunicorn"
    owner: tuple[int, int] | None = None
    log: Any = field(default_factory=lambda: logging.getLogger("gunicorn.dirty"))
    cfg: Any = None
    on_starting: Hook = _no_hook
    post_fork: Hook = _no_hook
    worker_init: Hook = _no_hook
    worker_exit: Hook = _no_hook

    def __post_init__(self) -> None:
        if self.workers < 1 or self.threads < 1:
            raise DirtyAppError(
                f"a dirty pool has 1 or more workers and threads, not {self.workers} and {self.threads}"
            )
        paths = [app.path for app in self.apps]
        for path in paths:
            if paths.count(path) > 1:
                raise DirtyAppError(f"dirty app {path} is given twice", path)

    @staticmethod
    def parse_apps(specs: list[str] | tuple[str, ...]) -> tuple[AppSpec, ...]:
        """The apps of setting `dirty_apps`. Raises DirtyAppError for a malformed spec."""
        return tuple(AppSpec(*parse_dirty_app_spec(spec)) for spec in specs)

    @classmethod
    def from_cfg(cls, cfg: Any, log: Any, owner: tuple[int, int] | None = None) -> PoolConfig:
        """From the server's configuration (attribute access to the `dirty_*` settings).

        :raises DirtyAppError: a spec is malformed or an app is given twice
        """
        return cls(
            apps=cls.parse_apps(cfg.dirty_apps),
            workers=cfg.dirty_workers,
            threads=max(1, cfg.dirty_threads),
            timeout=cfg.dirty_timeout,
            graceful_timeout=cfg.dirty_graceful_timeout,
            cancel_grace=cfg.dirty_cancel_grace,
            queue_size=cfg.dirty_queue_size,
            shared_memory=cfg.dirty_shared_memory,
            start_method=cfg.dirty_start_method,
            stash_file=cfg.dirty_stash_file or None,
            stash_interval=cfg.dirty_stash_interval,
            proc_name=cfg.proc_name or "gunicorn",
            owner=owner,
            log=log,
            cfg=cfg,
            on_starting=cfg.on_dirty_starting,
            post_fork=cfg.dirty_post_fork,
            worker_init=cfg.dirty_worker_init,
            worker_exit=cfg.dirty_worker_exit,
        )

    def to_data(self) -> dict[str, Any]:
        """The JSON-able part: everything that a running arbiter can take over."""
        return {
            "apps": [[app.path, app.workers] for app in self.apps],
            **{name: getattr(self, name) for name in _RELOADABLE},
        }

    def with_data(self, data: Mapping[str, Any]) -> PoolConfig:
        """This configuration with the values of another one's :meth:`to_data`."""
        apps = tuple(AppSpec(path, workers) for path, workers in data["apps"])
        return replace(self, apps=apps, **{name: data[name] for name in _RELOADABLE})


_RELOADABLE = (
    "workers",
    "threads",
    "timeout",
    "graceful_timeout",
    "cancel_grace",
    "queue_size",
    "shared_memory",
    "start_method",
    "stash_file",
    "stash_interval",
    "proc_name",
)
