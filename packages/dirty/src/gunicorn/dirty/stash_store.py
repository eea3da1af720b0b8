"""The stash's tables: a pure module, without I/O and without a clock; `now` is passed in. Used by the arbiter.

A table maps keys (str, int or bytes) to values, which are kept as the encoded bytes that came, so that reading one
costs no encoding and its size is known exactly. Entries may have an end; a table may have bounds on entries and bytes,
beyond which a write fails or the entries used longest ago make room. Every method is one atomic operation, since the
arbiter is one thread.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from gunicorn_dirty_protocol import decode, encode

from .errors import StashError, StashFullError, StashKeyNotFoundError, StashTableNotFoundError
from .mirror import COUNTS, Counts, place_of

__all__ = ["Bounds", "Change", "Entry", "Key", "StashStore", "Table"]

Key = str | int | bytes

_FEW_ENDS = 1000
_ENTRY_OVERHEAD = 16  # bytes that an entry counts beside its key and value


class Entry(NamedTuple):
    """A value as encoded bytes, and the time (as `now`) at which it ends, None is never."""

    value: bytes
    expires: float | None


class Bounds(NamedTuple):
    """How large a table may become: None is without bound.

    :ivar max_entries: entries
    :ivar max_bytes: encoded bytes of keys and values, and 16 for each entry
    :ivar evict: whether the entries used longest ago make room; else a write that does not fit fails
    """

    max_entries: int | None = None
    max_bytes: int | None = None
    evict: bool = False


class Change(NamedTuple):
    """What has happened to a table: `op` is "put", "delete", "expire", "evict" or "clear" (which has no key)."""

    table: str
    op: str
    key: Key | None
    value: bytes | None


class Table:
    """One table.

    :ivar size: bytes that its entries count
    :ivar watched: whether its changes are to be told
    :ivar place: where its writes are counted (mirror.py)
    :ivar unmirrored: whether workers keep nothing of it
    """

    __slots__ = ("bounds", "entries", "name", "place", "size", "unmirrored", "watched")

    def __init__(self, name: str) -> None:
        self.name = name
        self.bounds = Bounds()
        self.entries: dict[Key, Entry] = {}  # in a table that evicts: the one used longest ago first
        self.size = 0
        self.watched = False
        self.place = place_of(name)
        self.unmirrored = False


class StashStore:
    """All tables. Methods raise StashError with the texts of protocol version 1, where it has them.

    :ivar changed: counts writes
    """

    def __init__(self, tell: Callable[[Change], None] = lambda change: None, counts: Counts | None = None) -> None:
        """
        :param tell: is given each change of a table that is watched
        :param counts: where the writes of tables are counted
        """
        self.counts: Counts = [0] * COUNTS if counts is None else counts
        self.tables: dict[str, Table] = {}
        self.changed = 0
        self._tell = tell
        self._ends: list[tuple[float, int, str, Key]] = []  # heap of (end, number, table, key); stale ones are skipped
        self._ends_made = 0
        self._many_ends = _FEW_ENDS

    # Tables

    def ensure(self, name: str, bounds: Bounds | None = None) -> Table:
        """The table, made if it is missing. `bounds` replace those it has; what is too much then goes, or stays until
        a write needs the room."""
        table = self.tables.get(name)
        if table is None:
            table = self.tables[name] = Table(name)
            self.changed += 1
        if bounds is not None and bounds != table.bounds:
            table.bounds = bounds
            self.changed += 1
            if bounds.evict:
                self._see_all_reads(table)
                self._make_room(table, 0, 0)
        return table

    def drop(self, name: str) -> bool:
        table = self.tables.get(name)
        if table is None:
            return False
        self.clear(name)
        if not table.watched:
            del self.tables[name]
            if table.unmirrored:
                self.counts[table.place + 1] -= 1
        return True

    def info(self, name: str, now: float) -> dict[str, Any]:
        table = self.tables.get(name)
        if table is None:
            raise StashTableNotFoundError(name)
        self.expire(now)
        bounds = table.bounds._asdict()
        return {"size": len(table.entries), "table": name, "bytes": table.size, **bounds}

    def clear(self, name: str) -> None:
        table = self.tables.get(name)
        if table is not None and table.entries:
            table.entries.clear()
            table.size = 0
            self._note(table, "clear", None, None)

    # Entries

    def get(self, name: str, key: Key, now: float) -> bytes:
        """The encoded value. Raises StashKeyNotFoundError, for a missing table too, as version 1 does."""
        entry = self._find(name, key, now)
        if entry is None:
            raise StashKeyNotFoundError(key)
        return entry.value

    def exists(self, name: str, key: Key, now: float) -> bool:
        return self._find(name, key, now) is not None

    def put(self, name: str, key: Key, value: bytes, now: float, ttl: float | None = None) -> None:
        """Set an entry that lives for `ttl` seconds (None: for ever).

        :raises StashFullError: the table's bounds do not allow it, and it does not evict
        """
        self._write(self.ensure(name), key, value, None if ttl is None else now + ttl, now)

    def update(self, name: str, items: Iterable[tuple[Key, bytes]], now: float, ttl: float | None = None) -> int:
        """Set several entries, or none of them. Returns how many. Raises StashFullError like :meth:`put`."""
        table = self.ensure(name)
        new = dict(items)
        expires = None if ttl is None else now + ttl
        if table.bounds != Bounds():
            self.expire(now)
            bounds = table.bounds
            kept = {} if bounds.evict else {key: e for key, e in table.entries.items() if key not in new}
            size = sum(_size(key, entry.value) for key, entry in kept.items())
            size += sum(_size(key, value) for key, value in new.items())
            self._check(table, len(kept) + len(new), size)
        for key, value in new.items():
            self._write(table, key, value, expires, now)
        return len(new)

    def put_if_absent(self, name: str, key: Key, value: bytes, now: float, ttl: float | None = None) -> bool:
        if self._find(name, key, now) is not None:
            return False
        self.put(name, key, value, now, ttl)
        return True

    def compare_and_set(
        self, name: str, key: Key, expected: bytes | None, value: bytes, now: float, ttl: float | None = None
    ) -> bool:
        """Set the entry if its value equals `expected` (None: if it is missing). Returns whether it did."""
        entry = self._find(name, key, now)
        if entry is None or expected is None:
            if entry is not None or expected is not None:
                return False
        elif not _equal(entry.value, expected):
            return False
        self.put(name, key, value, now, ttl)
        return True

    def incr(self, name: str, key: Key, amount: int | float, now: float, ttl: float | None = None) -> bytes:
        """Add to a number, which is 0 where it is missing, and return it. It keeps its end unless `ttl` is given.

        :raises StashError: the value is no number, or an integer beyond what a float can be added to
        """
        entry = self._find(name, key, now)
        current = 0 if entry is None else decode(entry.value)
        if type(current) not in (int, float):
            raise StashError(f"{key!r} of {name} is of type {type(current).__name__}, which cannot be incremented")
        try:
            value = encode(current + amount)
        except OverflowError as exc:
            raise StashError(f"{key!r} of {name} cannot be incremented by {amount!r}: {exc}") from None
        expires = now + ttl if ttl is not None else entry.expires if entry is not None else None
        self._write(self.ensure(name), key, value, expires, now)
        return value

    def pop(self, name: str, key: Key, now: float) -> bytes:
        """Take an entry out and return its value. Raises StashKeyNotFoundError."""
        value = self.get(name, key, now)
        self._remove(self.tables[name], key, "delete")
        return value

    def delete(self, name: str, key: Key, now: float) -> bool:
        if self._find(name, key, now) is None:
            return False
        self._remove(self.tables[name], key, "delete")
        return True

    def items(self, name: str, pattern: str | None, now: float) -> list[tuple[Key, bytes]]:
        """Entries whose key, as text, matches the glob. A missing table has none."""
        self.expire(now)
        table = self.tables.get(name)
        if table is None:
            return []
        return [
            (key, entry.value)
            for key, entry in table.entries.items()
            if pattern is None or fnmatchcase(key_text(key), pattern)
        ]

    # Time

    def next_end(self) -> float | None:
        """When the next entry ends, or one that has been replaced would have."""
        return self._ends[0][0] if self._ends else None

    def expire(self, now: float) -> None:
        """Take out what has ended."""
        ends = self._ends
        while ends and ends[0][0] <= now:
            when, _, name, key = heapq.heappop(ends)
            table = self.tables.get(name)
            entry = table.entries.get(key) if table is not None else None
            if table is not None and entry is not None and entry.expires == when:
                self._remove(table, key, "expire")

    # For snapshots

    def entries(self, now: float) -> Iterator[tuple[Table, list[tuple[Key, Entry]]]]:
        """Everything there is."""
        self.expire(now)
        for table in self.tables.values():
            yield table, list(table.entries.items())

    def restore(self, name: str, bounds: Bounds, items: Iterable[tuple[Key, bytes, float | None]], now: float) -> None:
        """Put back what a snapshot has; ends as `now` counts."""
        table = self.ensure(name, bounds)
        for key, value, expires in items:
            if expires is None or expires > now:
                self._write(table, key, value, expires, now)

    # Inside

    def _find(self, name: str, key: Key, now: float) -> Entry | None:
        table = self.tables.get(name)
        if table is None:
            return None
        entries = table.entries
        entry = entries.get(key)
        if entry is None:
            return None
        if entry[1] is not None and entry[1] <= now:
            self._remove(table, key, "expire")
            return None
        if table.bounds.evict:
            entries[key] = entries.pop(key)
        return entry

    def _write(self, table: Table, key: Key, value: bytes, expires: float | None, now: float) -> None:
        entries = table.entries
        old = entries.get(key)
        size = len(value) - len(old[0]) if old is not None else _size(key, value)
        bounds = table.bounds
        if bounds.max_entries is not None or bounds.max_bytes is not None:
            self.expire(now)
            more = 0 if old is not None else 1
            if bounds.evict:
                self._check(table, 1, _size(key, value))
                if old is not None:
                    entries[key] = entries.pop(key)  # it is not the one to go
                self._make_room(table, more, size)
            else:
                self._check(table, len(entries) + more, table.size + size)
        entries[key] = Entry(value, expires)
        table.size += size
        if expires is not None and (old is None or old.expires != expires):
            self._see_all_reads(table)
            self._end_at(expires, table.name, key)
        self.changed += 1
        self.counts[table.place] += 1
        if table.watched:
            self._tell(Change(table.name, "put", key, value))

    def _end_at(self, when: float, name: str, key: Key) -> None:
        self._ends_made += 1
        heapq.heappush(self._ends, (when, self._ends_made, name, key))
        if len(self._ends) > self._many_ends:  # most are stale where entries are written again and again
            tables = self.tables
            self._ends = [
                end
                for end in self._ends
                if end[2] in tables and end[3] in (entries := tables[end[2]].entries) and entries[end[3]][1] == end[0]
            ]
            heapq.heapify(self._ends)
            self._many_ends = 2 * len(self._ends) + _FEW_ENDS

    def _check(self, table: Table, entries: int, size: int) -> None:
        bounds = table.bounds
        if bounds.max_entries is not None and entries > bounds.max_entries:
            raise StashFullError(table.name, f"max_entries is {bounds.max_entries}")
        if bounds.max_bytes is not None and size > bounds.max_bytes:
            raise StashFullError(table.name, f"max_bytes is {bounds.max_bytes}, and this would make it {size}")

    def _make_room(self, table: Table, entries: int, size: int) -> None:
        bounds = table.bounds
        while table.entries and (
            (bounds.max_entries is not None and len(table.entries) + entries > bounds.max_entries)
            or (bounds.max_bytes is not None and table.size + size > bounds.max_bytes)
        ):
            self._remove(table, next(iter(table.entries)), "evict")

    def _remove(self, table: Table, key: Key, op: str) -> None:
        entry = table.entries.pop(key)
        table.size -= _size(key, entry.value)
        self._note(table, op, key, None)

    def _note(self, table: Table, op: str, key: Key | None, value: bytes | None) -> None:
        self.changed += 1
        self.counts[table.place] += 1
        if table.watched:
            self._tell(Change(table.name, op, key, value))

    def _see_all_reads(self, table: Table) -> None:
        """From now on, workers keep nothing of this table: time, and reading, change what is there."""
        if not table.unmirrored:
            table.unmirrored = True
            self.counts[table.place + 1] += 1
            self.counts[table.place] += 1


def key_text(key: Key) -> str:
    """The key as globs see it."""
    return key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key)


def _equal(one: bytes, other: bytes) -> bool:
    """Whether two encoded values are equal. What cannot be compared (arrays, signalling NaNs) is if its bytes are."""
    if one == other:
        return True
    try:
        return bool(decode(one) == decode(other))
    except (ValueError, ArithmeticError):
        return False


def _size(key: Key, value: bytes) -> int:
    """Bytes that an entry counts: a key that is a str with those of its UTF-8, an int with 8 or more."""
    if type(key) is str:
        length = len(key) if key.isascii() else len(key.encode())
    else:
        length = max(8, key.bit_length() + 7 >> 3) if type(key) is int else len(key)  # type: ignore[arg-type]
    return len(value) + length + _ENTRY_OVERHEAD
