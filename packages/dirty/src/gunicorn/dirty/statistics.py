"""What an app's calls have been like: counts, and how long they took. Used by the dispatcher; shown by STATUS."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

__all__ = ["AppStatistics"]

#: Upper bounds of the histogram's buckets in seconds; the last bucket has none.
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class AppStatistics:
    """The calls of one app since the arbiter's start.

    :ivar refused: how many were not taken: the queue was full, or there was no worker
    """

    __slots__ = ("_buckets", "calls", "errors", "refused", "seconds", "timeouts")

    def __init__(self) -> None:
        self.calls = 0
        self.errors = 0
        self.timeouts = 0
        self.refused = 0
        self.seconds = 0.0
        self._buckets = [0] * (len(BOUNDS) + 1)

    def count(self, seconds: float, failed: bool) -> None:
        """A call has had its last frame, `seconds` after it came."""
        self.calls += 1
        self.seconds += seconds
        self._buckets[bisect_left(BOUNDS, seconds)] += 1
        if failed:
            self.errors += 1

    def to_data(self) -> dict[str, Any]:
        """For STATUS. `latency` counts answered calls by the time from arrival to last frame, queueing included."""
        bounds = [*map(str, BOUNDS), "inf"]
        return {
            "calls": self.calls,
            "errors": self.errors,
            "timeouts": self.timeouts,
            "refused": self.refused,
            "seconds": self.seconds,
            "latency": dict(zip(bounds, self._buckets, strict=True)),
        }
