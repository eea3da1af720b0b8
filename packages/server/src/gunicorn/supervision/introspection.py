"""MasterIntrospection: what services may learn from the master and ask of it (``supervision.service.Introspection``).

Answers are made from the scoreboard and the process table, without waiting. Requests to act are put off to the master's
next turn, so that whoever asked can send its reply first.
"""

import signal
import time
from typing import TYPE_CHECKING, Any

from gunicorn import __version__
from gunicorn.supervision.table import Entry
from gunicorn.util import host_port

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter


class MasterIntrospection:
    """The master, as others see it."""

    def __init__(self, arbiter: "Arbiter") -> None:
        self._arbiter = arbiter

    def workers(self) -> list[dict[str, Any]]:
        """One mapping per worker, from the oldest on.

        Times are in seconds; ``last_heartbeat`` and ``busy_for`` count back.
        """
        now = time.monotonic()
        arbiter = self._arbiter
        entries = sorted(arbiter.table.values(), key=lambda entry: entry.age)
        return [self._worker(entry, arbiter.WORKERS[entry.pid], now) for entry in entries]

    def _worker(self, entry: Entry, worker: Any, now: float) -> dict[str, Any]:
        slot = worker.scoreboard
        busy_since = slot.busy_since
        return {
            "pid": entry.pid,
            "age": entry.age,
            "slot": slot.index,
            "booted": entry.booted,
            "state": "stopping" if entry.stopping else slot.state.name.lower(),
            "generation": entry.generation,
            "uptime": round(now - entry.spawned, 3),
            "last_heartbeat": round(max(0.0, now - slot.heartbeat), 3),
            "requests": slot.requests,
            "connections": slot.connections,
            "errors": slot.errors,
            "busy_for": round(now - busy_since, 3) if busy_since else 0.0,
            "current": slot.current,
        }

    def stats(self) -> dict[str, Any]:
        """Counters of the instance since its start."""
        arbiter = self._arbiter
        slots = [worker.scoreboard for worker in list(arbiter.WORKERS.values())]
        dirty = self.service("dirty")
        return {
            "version": __version__,
            "name": arbiter.proc_name,
            "pid": arbiter.pid,
            "uptime": round(time.monotonic() - arbiter.started_at, 3),
            "worker_class": arbiter.cfg.worker_class_str,
            "workers_current": len(arbiter.WORKERS),
            "workers_target": arbiter.num_workers,
            "workers_spawned": arbiter.worker_age,
            "workers_killed": arbiter.workers_killed,
            "reloads": arbiter.generation,
            "requests": arbiter.past_requests + sum(slot.requests for slot in slots),
            "errors": arbiter.past_errors + sum(slot.errors for slot in slots),
            "connections": sum(slot.connections for slot in slots),
            "dirty_arbiter_pid": dirty.get("pid") if dirty else None,
        }

    def config(self) -> dict[str, Any]:
        """All settings by name; what is no JSON is shown as text."""
        return {name: _plain(setting.get()) for name, setting in sorted(self._arbiter.cfg.settings.items())}

    def listeners(self) -> list[dict[str, Any]]:
        """One mapping per listening socket."""
        return [
            {
                "url": str(listener),
                "address": host_port(listener.getsockname()),
                "family": listener.family.name,
                "fd": listener.fileno(),
            }
            for listener in self._arbiter.LISTENERS
        ]

    def service(self, name: str) -> dict[str, Any] | None:
        """What a running service says of itself."""
        return self._arbiter.services.snapshot(name)

    # Acting --------------------------------------------------------------------------------------------------------

    def scale_workers(self, delta: int) -> dict[str, Any]:
        """Run ``delta`` workers more (or fewer, but never fewer than one)."""
        previous = self._arbiter.num_workers
        total = max(1, previous + delta)
        self._arbiter.num_workers = total
        self._arbiter.loop.call_soon(self._arbiter.manage_workers)
        return {"previous": previous, "total": total}

    def kill_worker(self, pid: int) -> None:
        """Stop one worker gracefully; it is replaced.

        :raises LookupError: when ``pid`` is no worker.
        """
        if pid not in self._arbiter.WORKERS:
            pids = ", ".join(map(str, sorted(self._arbiter.WORKERS))) or "none"
            raise LookupError(f"no worker has the pid {pid}; workers: {pids}")
        self._arbiter.loop.call_soon(lambda: self._arbiter.kill_worker(pid, signal.SIGTERM))

    def reload(self) -> None:
        """As HUP."""
        self._arbiter.loop.call_soon(self._arbiter.reload)

    def reopen(self) -> None:
        """As USR1."""
        self._arbiter.loop.call_soon(self._arbiter.reopen)

    def shutdown(self, graceful: bool) -> None:
        """As TERM, or as INT when not graceful."""
        self._arbiter.loop.call_soon(lambda: self._arbiter.stop(graceful))


def _plain(value: Any) -> Any:
    """The value as JSON has it; functions and classes by name."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if callable(value):
        return f"{value.__module__}.{getattr(value, '__qualname__', type(value).__name__)}"
    return str(value)
