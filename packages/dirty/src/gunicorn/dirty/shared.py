"""Memory that one connection of a client shares with the workers, for payloads too large to be sent; all three sides
of it.

The arbiter makes it (:class:`Shares`) and hands it to the client that asks and to every worker. Payloads then lie
there, and messages say so (docs/protocol.md, 3.7): the client's half is sharing.py, the workers' is :func:`fetch` and
:func:`deposit`. Whoever lets go of a mapping just forgets it: its memory and descriptors go with the last reference.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from .bulk import MIN_SHARED, expect, steps
from .errors import DirtyMappingError
from .wire import RESPONSE, Frame, Piece, payload_of, shared_response

if TYPE_CHECKING:
    from .current import CurrentCall
    from .process import WorkerProcess

__all__ = ["Mapping", "Mappings", "Shares", "deposit", "fetch", "mappings", "memory_file"]

_MAX_SHARES = 64  # connections that have one at a time: each costs a descriptor here and in every worker
_PATIENCE = 2.0  # seconds for a mapping that a request names to come by the side channel
_UNTRACKED = {"trackfd": False} if sys.version_info >= (3, 13) else {}


def memory_file(size: int) -> int:
    """A descriptor of `size` bytes of memory that nobody can make larger or smaller, so that no access can fail.

    :raises OSError: there is none to be had, as on systems without memfd_create(2)
    """
    if not hasattr(os, "memfd_create"):
        raise OSError("this system has no memfd_create")
    fd = os.memfd_create("gunicorn-dirty", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    except BaseException:
        os.close(fd)
        raise
    return fd


class Mapping:
    """Such memory, mapped here. The descriptor that it is made of may be closed.

    :ivar token: its name in messages, which nobody can guess
    """

    __slots__ = ("_view", "token")

    def __init__(self, token: int, fd: int) -> None:
        """:raises OSError: it cannot be mapped"""
        self.token = token
        self._view = memoryview(mmap.mmap(fd, os.fstat(fd).st_size, **_UNTRACKED))

    def __len__(self) -> int:
        return len(self._view)

    def read(self, length: int) -> memoryview:
        """The first `length` bytes, good until somebody writes.

        :raises DirtyMappingError: there are not as many
        """
        if not 0 <= length <= len(self._view):
            raise DirtyMappingError(f"{length} bytes cannot lie in a mapping of {len(self._view)}")
        expect(length)
        return self._view[:length]

    def write(self, pieces: Iterable[Piece]) -> int:
        """Put the pieces there, one behind the other; they have to fit. Returns how many bytes they are."""
        view = self._view
        end = 0
        for piece in steps(pieces):
            start, end = end, end + len(piece)
            view[start:end] = piece
        return end


# In the worker


class Mappings:
    """What the arbiter has given this worker, by token. Thread-safe."""

    def __init__(self) -> None:
        self._files: dict[int, int] = {}  # not mapped yet
        self._mapped: dict[int, Mapping] = {}
        self._changed = threading.Condition()

    def add(self, token: int, fd: int) -> None:
        """`fd` is ours from now on."""
        with self._changed:
            self._files[token] = fd
            self._changed.notify_all()

    def drop(self, token: int) -> None:
        """The client is gone, or has another."""
        with self._changed:
            fd = self._files.pop(token, None)
            self._mapped.pop(token, None)
        if fd is not None:
            os.close(fd)

    def get(self, token: int, patience: float = _PATIENCE) -> Mapping:
        """The mapping; it may still be on its way, since it comes another way than the request that names it.

        :raises DirtyMappingError: it has not come within `patience` seconds, or cannot be mapped
        """
        found = self._mapped.get(token)
        if found is not None:
            return found
        end = time.monotonic() + patience
        with self._changed:
            while token not in self._mapped:
                if token in self._files:
                    self._map(token)
                elif not self._changed.wait(end - time.monotonic()):
                    raise DirtyMappingError("this worker has no such mapping")
            return self._mapped[token]

    def _map(self, token: int) -> None:
        fd = self._files.pop(token)
        try:
            self._mapped[token] = Mapping(token, fd)
        except OSError as exc:
            raise DirtyMappingError(f"the mapping cannot be had here: {exc}") from exc
        finally:
            os.close(fd)

    def clear(self) -> None:
        """In a child of this process: forget all."""
        self._changed = threading.Condition()
        while self._files:
            os.close(self._files.popitem()[1])
        self._mapped.clear()


#: Of this process, if it is a worker.
mappings = Mappings()


def fetch(token: int, length: int) -> memoryview:
    """The payload of a request that says that it lies there.

    :raises DirtyMappingError: it cannot be had
    """
    return mappings.get(token).read(length)


def deposit(call: CurrentCall | None, frame: Frame) -> Frame:
    """What is to be sent for this frame: itself, or where its payload can lie in the call's mapping, a message
    that says so."""
    if isinstance(frame, bytes) or call is None or call.route is None or call.cancelled or frame[0][3] != RESPONSE:
        return frame
    place = call.route.options.shared
    if place is None:
        return frame
    payload = payload_of(frame)
    size = sum(map(len, payload))
    try:
        mapping = mappings.get(place[0], 0)
    except DirtyMappingError:  # its client is gone, for one
        return frame
    if not MIN_SHARED <= size <= len(mapping):
        return frame
    mapping.write(payload)
    return shared_response(call.request_id, size)


# In the arbiter


class Shares:
    """The memory that the arbiter has given out, by whom it was given to: one for each connection that has asked."""

    def __init__(self, processes: Callable[[], Iterable[WorkerProcess]]) -> None:
        """:param processes: the workers of the moment"""
        self._processes = processes
        self._given: dict[object, tuple[int, int]] = {}  # token and descriptor

    def give(self, owner: object, size: int) -> tuple[int, int] | None:
        """Token and descriptor of new memory of `size` bytes in place of what `owner` had; None where there is none to
        be had. The descriptor stays ours."""
        self.take_back(owner)
        if not size or len(self._given) >= _MAX_SHARES:
            return None
        try:
            fd = memory_file(size)
        except OSError:
            return None
        share = self._given[owner] = (int.from_bytes(os.urandom(8), "big") >> 1, fd)
        for process in self._processes():
            process.share(*share)
        return share

    def introduce(self, process: WorkerProcess) -> None:
        """A worker is about to serve: it gets what there is."""
        for share in self._given.values():
            process.share(*share)

    def take_back(self, owner: object) -> None:
        """`owner` is gone."""
        share = self._given.pop(owner, None)
        if share is not None:
            os.close(share[1])
            for process in self._processes():
                process.unshare(share[0])

    def close(self) -> None:
        """At the arbiter's end, and in its children."""
        while self._given:
            os.close(self._given.popitem()[1][1])
