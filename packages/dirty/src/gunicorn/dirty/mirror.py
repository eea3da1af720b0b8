"""What a dirty worker remembers of the stash, and how it knows that this is still so.

The arbiter counts the writes of each table in memory that it shares with the workers that it forks. A worker keeps the
values that it has read or written with the count at which they were the table's; for as long as the count stands, a
read needs no question. Each write is counted before it is answered, so a reader never finds what is older than a write
that anybody knows to be done: reads stay as atomic as those that ask the arbiter.

Tables whose entries end, or give way to others, are not kept: there the arbiter has to see each read. Used by
stash_store.py (counting), process.py (in the fork) and stash.py (keeping).
"""

from __future__ import annotations

import mmap
import os
import threading
from zlib import crc32

__all__ = ["COUNTS", "Counts", "Mirror", "current", "install", "place_of", "shared_counts"]

#: Two numbers per place: how often what is there was written, and how many tables there are not to be kept.
Counts = memoryview | list[int]

_PLACES = 1024  # tables whose names meet at one place only forget more often than they must
COUNTS = 2 * _PLACES
_MAX_VALUE = 4096  # bytes of an encoded value that is kept
_MAX_VALUES = 1024  # of a table; then it starts anew
_MAX_TABLES = 64


def shared_counts() -> Counts:
    """Counts that forked children share."""
    return memoryview(mmap.mmap(-1, 8 * COUNTS)).cast("Q")


def place_of(table: str) -> int:
    """Where the table's two numbers are."""
    return crc32(table.encode("utf-8", "surrogatepass")) % _PLACES * 2


class _Kept:
    """What is known of one table. `count`: as long as the arbiter's count is this, `values` are what is there."""

    __slots__ = ("count", "place", "values")

    def __init__(self, place: int) -> None:
        self.place = place
        self.count = -1
        self.values: dict[str, bytes] = {}


class Mirror:
    """The values that this process keeps. Thread-safe: readers take no lock, since they find a value only under a count
    that had been reached when they looked."""

    def __init__(self, counts: Counts, path: str = "") -> None:
        """:param path: of the socket of the pool whose stash it is"""
        self.path = path
        self._counts = counts
        self._tables: dict[str, _Kept] = {}
        self._lock = threading.Lock()
        self._usable = True

    def get(self, table: str, key: str) -> bytes | None:
        """The encoded value, None where it has to be asked for."""
        kept = self._tables.get(table)
        if kept is not None and kept.count == self._counts[kept.place]:
            return kept.values.get(key)
        return None

    def count(self, table: str) -> int:
        """To be taken before a question, and handed to what keeps its answer."""
        kept = self._tables.get(table)
        return self._counts[place_of(table) if kept is None else kept.place]

    def keep_read(self, table: str, key: str, value: bytes, before: int) -> None:
        """`value` is what the arbiter has answered."""
        self._keep(table, key, value, before, before)

    def keep_written(self, table: str, key: str, value: bytes, before: int) -> None:
        """`value` is what this thread has written, and the arbiter has taken: it is kept if nobody else wrote."""
        self._keep(table, key, value, before, before + 1)

    def _keep(self, table: str, key: str, value: bytes, before: int, now: int) -> None:
        with self._lock:
            kept = self._tables.get(table)
            if kept is None:
                if len(self._tables) >= _MAX_TABLES:
                    self._tables.clear()
                kept = self._tables[table] = _Kept(place_of(table))
            counts, place = self._counts, kept.place
            if counts[place] != now or counts[place + 1] or len(value) > _MAX_VALUE or not self._usable:
                return
            if kept.count != before or len(kept.values) >= _MAX_VALUES:
                kept = self._tables[table] = _Kept(place)  # what others look at stays as it was
            kept.values[key] = value
            kept.count = now

    def forked(self) -> None:
        """In a child of this process, which may outlive the arbiter: keep nothing."""
        self._usable = False
        self._lock = threading.Lock()
        self._tables = {}


#: Of this process; None where it is no worker that was forked by the arbiter.
current: Mirror | None = None


def install(counts: Counts, path: str) -> None:
    """This process is a worker, forked by the arbiter that counts here and listens there."""
    global current
    current = mirror = Mirror(counts, path)
    os.register_at_fork(after_in_child=mirror.forked)
