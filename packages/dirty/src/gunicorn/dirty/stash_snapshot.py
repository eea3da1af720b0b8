"""The stash on disk, so that its tables survive the end of an arbiter. Used by the arbiter, when `dirty_stash_file` is
set.

Written every now and then, when something has changed, by a forked child, which has the tables as they were at the fork
while the arbiter goes on; and once more at the end. A file is replaced as a whole or not at all. It is a sequence of
records, each a length (u32) and one encoded value: first the format's name, then for each table its name, bounds and
number of entries, followed by that many entries.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from gunicorn_dirty_protocol import ProtocolError, decode, encode

from .stash_store import Bounds, StashStore

if TYPE_CHECKING:
    from .arbiter import DirtyArbiter

__all__ = ["Snapshots", "load", "save"]

_FORMAT = "gunicorn-dirty-stash-1"


class Snapshots:
    """Keeps the file of one arbiter up to date."""

    def __init__(self, arbiter: DirtyArbiter, path: str, interval: float) -> None:
        """:param interval: seconds between two looks at whether something has changed"""
        self._arbiter = arbiter
        self._path = path
        self._interval = interval
        self._store = arbiter.dispatcher.stash.store
        self._saved = 0
        self._writer = 0  # pid of the child that writes

    def start(self) -> None:
        """Read the file, if there is one; and write it from now on. Trouble is logged."""
        try:
            load(self._store, self._path, self._arbiter.loop.now)
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as exc:
            self._arbiter.log.error("The stash's file %s cannot be read, the stash begins empty: %s", self._path, exc)
            self._keep_aside()
        folder = os.path.dirname(os.path.abspath(self._path))
        if not os.access(folder, os.W_OK | os.X_OK):
            self._arbiter.log.error("The stash will not be kept: %s cannot be written in %s", self._path, folder)
        self._saved = self._store.changed
        self._wait()

    def _keep_aside(self) -> None:
        try:
            os.replace(self._path, self._path + ".unreadable")
        except OSError:
            pass

    def _wait(self) -> None:
        self._arbiter.loop.call_later(self._interval, self._look)

    def _look(self) -> None:
        if self._store.changed != self._saved and not self._is_writing():
            try:
                self._writer = os.fork()
            except OSError as exc:
                self._arbiter.log.error("The stash cannot be written to %s at the moment: %s", self._path, exc)
                self._wait()
                return
            self._saved = self._store.changed
            if self._writer == 0:
                code = 1
                try:
                    self._arbiter.forked()
                    self._save()
                    code = 0
                finally:
                    os._exit(code)
        self._wait()

    def _is_writing(self) -> bool:
        if not self._writer:
            return False
        try:
            os.kill(self._writer, 0)  # the arbiter reaps all its children
        except ProcessLookupError:
            self._writer = 0
        return bool(self._writer)

    def finish(self) -> None:
        """Write what has changed since, at the arbiter's end."""
        if self._store.changed != self._saved:
            self._save()

    def _save(self) -> None:
        try:
            save(self._store, self._path, time.monotonic())
        except OSError as exc:
            self._arbiter.log.error("The stash cannot be written to %s: %s", self._path, exc)


def save(store: StashStore, path: str, now: float) -> None:
    """Write all tables. `now` is the store's time. Raises OSError."""
    part = f"{path}.{os.getpid()}.part"
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            _write(file, _FORMAT)
            clock = time.time()
            for table, entries in store.entries(now):
                _write(file, [table.name, list(table.bounds), len(entries)])
                for key, entry in entries:
                    end = None if entry.expires is None else entry.expires - now + clock
                    _write(file, [key, entry.value, end])
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        try:
            os.unlink(part)
        except OSError:
            pass
        raise


def load(store: StashStore, path: str, now: float) -> None:
    """Put all tables of the file into the store, those entries excepted whose end has come.

    :raises OSError, ValueError: it cannot be read, or is no such file; the store is then as it was
    """
    clock = time.time()
    tables: list[tuple[str, Bounds, list[Any]]] = []
    with open(path, "rb") as file:
        records = _read(file)
        try:
            if next(records, None) != _FORMAT:
                raise ValueError("it is no snapshot of a stash")
            for name, bounds, count in records:
                entries = []
                for _ in range(count):
                    key, value, end = next(records)
                    entries.append((key, value, None if end is None else end - clock + now))
                tables.append((name, Bounds(*bounds), entries))
        except (StopIteration, RuntimeError, TypeError, ProtocolError) as exc:
            raise ValueError(f"it is damaged: {exc!r}") from exc
    for name, bounds, entries in tables:
        store.restore(name, bounds, entries, now)


def _write(file: BinaryIO, value: Any) -> None:
    data = encode(value)
    file.write(len(data).to_bytes(4, "big"))
    file.write(data)


def _read(file: BinaryIO) -> Iterator[Any]:
    while head := file.read(4):
        size = int.from_bytes(head, "big")
        data = file.read(size)
        if len(data) != size:
            raise ValueError("it is cut short")
        yield decode(data)
