"""The stash on disk, so that its tables survive the end of an arbiter. Used by the arbiter, when `dirty_stash_file` is
set.

Written every now and then, when something has changed, by a forked child, which has the tables as they were at the fork
while the arbiter goes on; and once more at the end. A file is replaced as a whole or not at all. It is a sequence of
records, each a length (u32) and one encoded value: first the format's name, then for each table its name, bounds and
number of entries, followed by that many entries.

One pool writes a file: the one that holds a lock on the file beside it, `….lock`, which ends with the arbiter's
process. Another pool, as there is during an upgrade, reads the file at its start and begins to write it when the first
is gone.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from gunicorn_dirty_protocol import ProtocolError, decode, encode

from .loop import Timer
from .stash_store import Bounds, StashStore

if TYPE_CHECKING:
    from .arbiter import DirtyArbiter

__all__ = ["Claim", "Snapshots", "load", "save"]

_FORMAT = "gunicorn-dirty-stash-1"
_NEVER_SAVED = -1
_ENDINGS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


class Claim:
    """The right to write the file at `path`, which one process has at a time.

    :ivar held: whether this process has it
    """

    def __init__(self, path: str) -> None:
        self.held = False
        self._path = path + ".lock"
        self._fd = -1

    def take(self) -> bool:
        """Take the right if nobody has it. Where there are no locks, everybody has it.

        :raises OSError: the lock's file cannot be opened
        """
        if self._fd < 0:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # A record lock (fcntl(2)): a child that inherits the descriptor does not hold it.
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            if exc.errno in (errno.EACCES, errno.EAGAIN):
                return False
        else:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, str(os.getpid()).encode(), 0)
        self.held = True
        return True

    def holder(self) -> str:
        """The pid of the process that has the right, as far as it has said so."""
        return os.pread(self._fd, 20, 0).decode("ascii", "replace") or "unknown"

    def close(self) -> None:
        """Give the right up."""
        self.held = False
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Snapshots:
    """Keeps the file of one arbiter up to date."""

    def __init__(self, arbiter: DirtyArbiter, path: str, interval: float) -> None:
        """:param interval: seconds between two looks at whether something has changed"""
        self.path = path = os.path.abspath(path)  # the process may go to another directory
        self.interval = interval
        self._arbiter = arbiter
        self._store = arbiter.dispatcher.stash.store
        self._claim = Claim(path)
        self._saved = _NEVER_SAVED
        self._writer = 0  # pid of the child that writes
        self._timer: Timer | None = None

    def start(self, read: bool = True) -> None:
        """Read the file, if there is one (or not: the tables at hand take its place); and write it from now on. Trouble
        is logged."""
        log = self._arbiter.log
        if read:
            try:
                load(self._store, self.path, self._arbiter.loop.now)
            except FileNotFoundError:
                pass
            except (OSError, ValueError) as exc:
                log.error("The stash's file %s cannot be read, the stash begins empty: %s", self.path, exc)
                self._keep_aside()
            self._saved = self._store.changed
        try:
            if self._claim.take():
                self._sweep()
            else:
                log.warning(
                    "The stash's file %s is written by another pool (pid %s); this one begins to write it when that "
                    "has ended", self.path, self._claim.holder(),
                )  # fmt: skip
        except OSError as exc:
            log.error("The stash will not be kept: %s cannot be written: %s", self.path, exc)
        if read:
            self._wait()
        else:
            self._look()

    def _keep_aside(self) -> None:
        try:
            os.replace(self.path, self.path + ".unreadable")
        except OSError:
            pass

    def _sweep(self) -> None:
        """Remove what writers have left that were killed."""
        for part in glob.glob(f"{glob.escape(self.path)}.*.part"):
            _remove(part)

    def _wait(self) -> None:
        self._timer = self._arbiter.loop.call_later(self.interval, self._look)

    def _may_write(self) -> bool:
        """Whether the file is ours, perhaps from now on."""
        if not self._claim.held:
            try:
                if not self._claim.take():
                    return False
            except OSError:
                return False  # which has been said
            self._arbiter.log.info("The stash's file %s is written by this pool from now on", self.path)
            self._saved = _NEVER_SAVED
        return True

    def _look(self) -> None:
        self._wait()
        if self._writer or not self._may_write() or self._store.changed == self._saved:
            return
        arbiter = self._arbiter
        try:
            self._writer = os.fork()
        except OSError as exc:
            arbiter.log.error("The stash cannot be written to %s at the moment: %s", self.path, exc)
            return
        self._saved = self._store.changed
        if self._writer == 0:
            code = 1
            try:
                arbiter.forked()
                for number in _ENDINGS:  # which may go to all processes of the pool at once
                    signal.signal(number, signal.SIG_IGN)
                code = 0 if self._save(lambda: os.getppid() == arbiter.pid) else 1
            finally:
                os._exit(code)

    def child_exited(self, pid: int, code: int) -> None:
        """A child of the arbiter that is no worker has ended."""
        if pid == self._writer:
            self._writer = 0
            if code:
                self._saved = _NEVER_SAVED
                _remove(_part(self.path, pid))

    def close(self) -> None:
        """Write what has changed since, and no more; at the arbiter's end, or when another file takes its place."""
        if self._timer is None:
            return  # it never began
        self._timer.cancel()
        if self._writer:  # its tables are older, and would take the place of ours
            os.kill(self._writer, signal.SIGKILL)
            try:
                os.waitpid(self._writer, 0)
            except ChildProcessError:
                pass
            self.child_exited(self._writer, -signal.SIGKILL)
        if self._store.changed != self._saved:
            if self._may_write():
                self._save()
            else:
                self._arbiter.log.warning("The stash is not kept: another pool writes its file %s", self.path)
        self._claim.close()

    def _save(self, wanted: Callable[[], bool] = lambda: True) -> bool:
        try:
            save(self._store, self.path, time.monotonic(), wanted)
        except OSError as exc:
            self._arbiter.log.error("The stash cannot be written to %s: %s", self.path, exc)
            return False
        return True


def _part(path: str, pid: int) -> str:
    return f"{path}.{pid}.part"


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass


def save(store: StashStore, path: str, now: float, wanted: Callable[[], bool] = lambda: True) -> None:
    """Write all tables. `now` is the store's time; `wanted` is asked before the file takes its place.

    :raises OSError: it cannot be written, and the former file is as it was
    """
    part = _part(path, os.getpid())
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
        if wanted():
            os.replace(part, path)
        else:
            os.unlink(part)
    except BaseException:
        _remove(part)
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
