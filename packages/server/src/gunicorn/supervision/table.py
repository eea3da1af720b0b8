"""The process table as data, and what to do given the table: whom to stop, how many to spawn, who hangs.

Pure: no process, no clock, no descriptor. The arbiter keeps an Entry per worker up to date and carries out what these
functions say; tests drive them with made-up tables and times. All times are ``time.monotonic()`` seconds.
"""

import signal
from collections.abc import Collection
from dataclasses import dataclass

# After ABRT a worker has this long to write its traceback and run its worker_abort hook.
ABORT_GRACE = 1.0
# A stopped worker ends by itself within its graceful timeout; the master adds this before it kills.
STOP_MARGIN = 1.0


@dataclass
class Entry:
    """One worker process, as the master knows it."""

    pid: int
    age: int  # serial number, rising
    generation: int  # the number of reloads before it was forked
    spawned: float
    heartbeat: float  # its last sign of life; the fork counts as one
    booted: bool = False  # it has loaded the application
    kill_at: float | None = None  # it stops, and is killed at this time
    aborted_at: float | None = None  # it was sent ABRT at this time
    told: bool = False  # its end is the master's doing
    killed: bool = False  # it was sent KILL: there is nothing left to try
    retiring: bool = False  # it serves, and will stop soon (max_requests): its replacement may come first

    @property
    def stopping(self) -> bool:
        return self.kill_at is not None or self.aborted_at is not None


@dataclass(frozen=True)
class Plan:
    """What brings the table to its target: workers to stop gracefully, and how many to spawn."""

    stop: tuple[int, ...]
    spawn: int


def plan(entries: Collection[Entry], target: int, generation: int) -> Plan:
    """Keep ``target`` workers of the current generation.

    Workers of an older generation, and the oldest of the current one when there are too many, are stopped as soon as
    ``target`` booted workers are left without them. So new ones are up before old ones stop, after a reload as well as
    when somebody has spawned a replacement. A worker of the current generation that still loads is never stopped for
    this. Workers that retire are replaced in the same way, but one after the other: a machine with room for ``target``
    workers may have none for twice as many.
    """
    serving = [entry for entry in entries if not entry.stopping]
    current = [entry for entry in serving if entry.generation == generation]
    spawn = max(0, target - len(current))
    if all(entry.booted for entry in current) and sum(1 for entry in current if not entry.retiring) < target:
        spawn = max(spawn, 1)
    surplus = len(serving) + spawn - target
    stop = [entry.pid for entry in serving if not entry.booted and entry.generation != generation]
    booted = sorted(
        (entry for entry in serving if entry.booted),
        key=lambda entry: (entry.generation, not entry.retiring, entry.age),
    )
    spare = min(surplus - len(stop), len(booted) - target)
    stop += [entry.pid for entry in booted[: max(0, spare)]]
    return Plan(tuple(stop), spawn)


def overdue(entries: Collection[Entry], now: float, timeout: float) -> list[tuple[int, signal.Signals]]:
    """Whom to signal because time is over: no heartbeat for ``timeout`` seconds (0: never), or a stop that takes too
    long.

    A worker without a heartbeat gets ABRT, so that it can say where it hangs, and KILL when that does not end it.
    """
    result: list[tuple[int, signal.Signals]] = []
    for entry in entries:
        if entry.killed:
            continue
        if entry.kill_at is not None and now >= entry.kill_at:
            result.append((entry.pid, signal.SIGKILL))
        elif entry.aborted_at is not None:
            if now >= entry.aborted_at + ABORT_GRACE:
                result.append((entry.pid, signal.SIGKILL))
        elif timeout and now - entry.heartbeat > timeout:
            result.append((entry.pid, signal.SIGABRT))
    return result


def next_deadline(entries: Collection[Entry], timeout: float) -> float | None:
    """When ``overdue`` may have something to say, at the earliest; None for never."""
    times = []
    for entry in entries:
        if entry.killed:
            continue
        if entry.kill_at is not None:
            times.append(entry.kill_at)
        if entry.aborted_at is not None:
            times.append(entry.aborted_at + ABORT_GRACE)
        elif timeout:
            times.append(entry.heartbeat + timeout)
    return min(times, default=None)


class Backoff:
    """When the next worker may be spawned: at once after an ordinary death, later and later when they die young.

    The first ``free`` early deaths in a row are forgiven; then the delay doubles from ``first`` to ``limit`` seconds. A
    worker that lived for ``healthy`` seconds, or as many seconds without a death, makes it start anew.
    """

    def __init__(self, first: float = 0.5, limit: float = 30.0, healthy: float = 10.0) -> None:
        self.first = first
        self.limit = limit
        self.healthy = healthy
        self.failures = 0
        self.not_before = 0.0
        self._last = 0.0

    def died(self, now: float, lifetime: float, free: int) -> float:
        """A worker died without being asked; returns the delay in seconds that this leads to."""
        if lifetime >= self.healthy or now - max(self._last, self.not_before) >= self.healthy:
            self.failures = 0
        self._last = now
        if lifetime >= self.healthy:
            return 0.0
        self.failures += 1
        excess = self.failures - free
        delay = 0.0 if excess <= 0 else min(self.limit, self.first * 2.0 ** min(excess - 1, 30))
        self.not_before = now + delay
        return delay

    def allows(self, now: float) -> bool:
        """Whether a worker may be spawned at ``now``."""
        return now >= self.not_before

    def reset(self) -> None:
        """Forget the past: the configuration is a new one."""
        self.failures = 0
        self.not_before = 0.0
