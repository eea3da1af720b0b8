"""Gauges: the numbers that the master tells its logger of, for monitoring: workers, and connections in the backlog.

The arbiter calls :meth:`Gauges.report` in every turn. The numbers travel as ``extra`` of debug lines, which
``instrument.statsd`` and others' loggers understand.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterable
from typing import Any, Final

EVERY: Final = 1.0  # seconds between two looks at the backlog
UNACKED: Final = struct.Struct("=24xI")  # tcpi_unacked of struct tcp_info (linux/tcp.h): the queue, for a listener


class Gauges:
    """What was reported last."""

    def __init__(self) -> None:
        self._workers = -1
        self._due = 0.0

    def report(self, log: Any, workers: int, listeners: Iterable[Any], backlog: bool, now: float) -> None:
        """Report what has changed or is due. *now* is in monotonic seconds; *backlog* asks for that of *listeners*."""
        if workers != self._workers:
            self._workers = workers
            log.debug("%s workers", workers, extra={"metric": "gunicorn.workers", "value": workers, "mtype": "gauge"})
        if backlog and now >= self._due:
            self._due = now + EVERY
            waiting = sum(waiting_connections(listener) for listener in listeners)
            extra = {"metric": "gunicorn.backlog", "value": waiting, "mtype": "histogram"}
            log.debug("socket backlog: %s", waiting, extra=extra)


def waiting_connections(listener: socket.socket) -> int:
    """How many connections *listener* has not accepted yet; 0 where that cannot be known: Linux says it of TCP only."""
    if sys.platform != "linux" or listener.family not in (socket.AF_INET, socket.AF_INET6):
        return 0
    try:
        info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, UNACKED.size)
    except OSError:
        return 0
    return int(UNACKED.unpack(info)[0]) if len(info) == UNACKED.size else 0
