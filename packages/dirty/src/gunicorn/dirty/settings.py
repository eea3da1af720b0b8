"""The settings that the pool contributes to the server, as data. Read by the server through the service
(service.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .app import parse_dirty_app_spec
from .errors import DirtyAppError

__all__ = ["SETTINGS"]


def _app_specs(value: Any) -> list[str]:
    """A list of specs, from one or from a list of them. Raises TypeError or ValueError with the reason."""
    if value is None:
        return []
    specs = [value] if isinstance(value, str) else value
    if not isinstance(specs, (list, tuple)) or not all(isinstance(spec, str) for spec in specs):
        raise TypeError(f"dirty_apps is {value!r}; it must be a list of 'module:Class' or 'module:Class:N'")
    specs = [spec.strip() for spec in specs if spec.strip()]
    paths = []
    for spec in specs:
        try:
            paths.append(parse_dirty_app_spec(spec)[0])
        except DirtyAppError as exc:
            raise ValueError(str(exc)) from exc
        if paths.count(paths[-1]) > 1:
            raise ValueError(f"dirty app {paths[-1]} is given twice")
    return specs


def _threads(value: Any) -> int:
    number = int(value)
    if number < 1:
        raise ValueError(f"dirty_threads is {value!r}; it must be 1 or more")
    return number


def _seconds(value: Any) -> float:
    seconds = float(value)
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"{value!r} is no number of seconds, 0 or more")
    return seconds


def _interval(value: Any) -> float:
    seconds = _seconds(value)
    if seconds < 0.1:
        raise ValueError(f"dirty_stash_interval is {value!r}; it must be 0.1 or more")
    return seconds


def _start_method(value: Any) -> str:
    if value not in ("fork", "spawn"):
        raise ValueError(f"dirty_start_method is {value!r}; it must be 'fork' or 'spawn'")
    return str(value)


def _nothing_1(arbiter: Any) -> None:
    """Default of a hook with one argument."""


def _nothing_worker(worker: Any) -> None:
    """Default of dirty_worker_init."""


def _nothing_2(arbiter: Any, worker: Any) -> None:
    """Default of a hook with two arguments."""


_POOL = "Dirty Arbiters"
_HOOKS = "Dirty Arbiter Hooks"

SETTINGS: Sequence[dict[str, Any]] = (
    {
        "name": "dirty_apps",
        "section": _POOL,
        "cli": ["--dirty-app"],
        "action": "append",
        "meta": "STRING",
        "default": [],
        "validator": _app_specs,
        "desc": "An app of the dirty pool, as module:Class or module:Class:N; may be repeated.\n"
        "N is the number of workers that load it; it wins over the class attribute `workers`. Without either, all do.",
    },
    {
        "name": "dirty_workers",
        "section": _POOL,
        "cli": ["--dirty-workers"],
        "meta": "INT",
        "type": int,
        "default": 0,
        "validator": "pos_int",
        "desc": "The number of dirty worker processes; 0 is no dirty pool.",
    },
    {
        "name": "dirty_timeout",
        "section": _POOL,
        "cli": ["--dirty-timeout"],
        "meta": "INT",
        "type": int,
        "default": 300,
        "validator": "pos_int",
        "desc": "Seconds that a call may wait for a worker, then run until its answer, then between two chunks.\n"
        "0 is no limit. The caller gets DirtyTimeoutError; a worker whose action does not end either is replaced.",
    },
    {
        "name": "dirty_threads",
        "section": _POOL,
        "cli": ["--dirty-threads"],
        "meta": "INT",
        "type": int,
        "default": 1,
        "validator": _threads,
        "desc": "How many calls one dirty worker runs side by side, each in a thread.",
    },
    {
        "name": "dirty_graceful_timeout",
        "section": _POOL,
        "cli": ["--dirty-graceful-timeout"],
        "meta": "INT",
        "type": int,
        "default": 30,
        "validator": "pos_int",
        "desc": "Seconds that running calls have to finish when the pool stops or a dirty worker is replaced.",
    },
    {
        "name": "dirty_cancel_grace",
        "section": _POOL,
        "cli": ["--dirty-cancel-grace"],
        "meta": "SECONDS",
        "type": float,
        "default": 5.0,
        "validator": _seconds,
        "desc": "Seconds that a call which timed out, or whose caller went away, may still hold its slot.\n"
        "After that its worker is replaced, and only it.",
    },
    {
        "name": "dirty_queue_size",
        "section": _POOL,
        "cli": ["--dirty-queue-size"],
        "meta": "INT",
        "type": int,
        "default": 0,
        "validator": "pos_int",
        "desc": "How many calls may wait per dirty app; 0 is no limit. Further ones fail with DirtyOverloadedError.",
    },
    {
        "name": "dirty_shared_memory",
        "section": _POOL,
        "cli": ["--dirty-shared-memory"],
        "meta": "BYTES",
        "type": int,
        "default": 64 * 1024 * 1024,
        "validator": "pos_int",
        "desc": "Bytes of memory that a connection which has large payloads may share with the dirty workers, so that\n"
        "they need not be sent; 0 is none. Memory that has been used stays taken for as long as the connection.",
    },
    {
        "name": "dirty_start_method",
        "section": _POOL,
        "cli": ["--dirty-start-method"],
        "meta": "STRING",
        "default": "fork",
        "validator": _start_method,
        "desc": "How dirty workers are started: fork, or spawn for fresh interpreters, which libraries need that do\n"
        "not survive a fork (CUDA). The class attribute `start_method` says so for one app.",
    },
    {
        "name": "dirty_stash_file",
        "section": _POOL,
        "cli": ["--dirty-stash-file"],
        "meta": "PATH",
        "default": None,
        "validator": "string",
        "desc": "A file that keeps the stash when the dirty pool ends, and from which it begins.\n"
        "Without one it begins empty.",
    },
    {
        "name": "dirty_stash_interval",
        "section": _POOL,
        "cli": ["--dirty-stash-interval"],
        "meta": "SECONDS",
        "type": float,
        "default": 30.0,
        "validator": _interval,
        "desc": "Seconds between two times that a stash which has changed is written to its file.",
    },
    {
        "name": "on_dirty_starting",
        "section": _HOOKS,
        "default": _nothing_1,
        "validator": "callable:1",
        "desc": "Called in the dirty arbiter before it starts workers, with the arbiter.",
    },
    {
        "name": "dirty_post_fork",
        "section": _HOOKS,
        "default": _nothing_2,
        "validator": "callable:2",
        "desc": "Called in each dirty worker just after its fork, with the arbiter and the worker.",
    },
    {
        "name": "dirty_worker_init",
        "section": _HOOKS,
        "default": _nothing_worker,
        "validator": "callable:1",
        "desc": "Called in each dirty worker when its apps are loaded, with the worker.",
    },
    {
        "name": "dirty_worker_exit",
        "section": _HOOKS,
        "default": _nothing_2,
        "validator": "callable:2",
        "desc": "Called in the dirty arbiter when a worker has ended, with the arbiter and the worker.",
    },
)
