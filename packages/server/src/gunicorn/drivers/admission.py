"""Who is given up when a worker's connections are all taken and another client waits: one rule for all drivers.

``worker_connections`` pauses accepting: whoever comes then waits in the listener's backlog, and nothing is lost. But a
thousand connections that send a byte now and then would keep everyone else waiting for as long as they like. So, and
only then, those that keep the worker waiting longer than an honest client does make room, the least loss first:

    GOODBYE, IDLE, SILENT   nothing is lost: they have their answers, or have not asked
    HEAD, BODY              answered 408, and closed without lingering
    READER                  loses the rest of its response

A request that the application works on is never given up, nor a client that goes on as it should.

How a driver uses it: while it has ``worker_connections`` and a listener is readable, it calls :func:`choose` with all
that wait for their clients, and gives up as many as it wants to accept. When nobody is to be given up it asks again
after :data:`LOOK_AGAIN` seconds, or when a connection ends by itself. The same helps when it runs out of descriptors.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from enum import IntEnum
from typing import Any, Final, TypeVar

Connection = TypeVar("Connection")


class Stage(IntEnum):
    """What a connection waits for, in the order in which they are given up."""

    GOODBYE = 0  # the peer's close, after the last answer
    IDLE = 1  # the next request
    SILENT = 2  # the first byte, or the end of the TLS handshake
    HEAD = 3  # the rest of a request's head
    BODY = 4  # the rest of its body
    READER = 5  # room to write, since the client reads its response slowly


PATIENCE: Final = (0.0, 1.0, 1.0, 2.0, 2.0, 3.0)
"""Seconds that a connection may be in each stage while others wait for its place."""

LEAST_RATE: Final = 1024
"""Bytes per second of a body that are progress: a kilobyte buys a second."""

LOOK_AGAIN: Final = 0.25
"""Seconds after which a driver asks again, when nobody could be given up."""

REPORT_EVERY: Final = 10.0
"""Seconds between two lines about a shortage that lasts."""

REMEDY: Final = (
    "raise the limit of open files (ulimit -n, LimitNOFILE=) well above worker_connections, or lower the latter"
)


class Shortage:
    """Connections that cannot be accepted: said at once, and then as often as :data:`REPORT_EVERY` allows.

    The driver leaves its listeners alone for a moment after each failure; who comes waits in the backlog.
    """

    def __init__(self, log: Any) -> None:
        self._log = log
        self._due = 0.0
        self._unsaid = 0

    def failed(self, error: OSError, now: float) -> None:
        """``accept`` has failed with *error*, at *now* (monotonic seconds)."""
        self._unsaid += 1
        if now < self._due:
            return
        again = f" ({self._unsaid} times since the last report)" if self._unsaid > 1 else ""
        hint = f"; {REMEDY}" if error.errno in (errno.EMFILE, errno.ENFILE) else ""
        self._log.error("Cannot accept connections for now, they wait: %s%s%s", error, again, hint)
        self._due = now + REPORT_EVERY
        self._unsaid = 0


def overstays(stage: Stage, seconds: float, moved: int = 0) -> float:
    """By how many seconds a connection has used up its patience; not positive for one that may stay.

    *seconds* is how long it has been in its stage: a HEAD since its first byte, a BODY since its head was read, a
    READER since it last took anything. *moved* is how many bytes of a body came in that time.
    """
    return seconds - PATIENCE[stage] - moved / LEAST_RATE


def choose(waiting: Iterable[tuple[Connection, Stage, float, int]]) -> list[Connection]:
    """Those of *waiting* that may be given up, whoever shall go first at the end of the list.

    Each entry is a connection and the arguments of :func:`overstays`. Within a stage the one that is most overdue goes
    first.
    """
    found = []
    for connection, stage, seconds, moved in waiting:
        excess = overstays(stage, seconds, moved)
        if excess > 0:
            found.append((-stage, excess, connection))
    found.sort(key=lambda entry: entry[:2])
    return [connection for _, _, connection in found]
