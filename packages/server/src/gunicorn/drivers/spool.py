"""A request body while it arrives: in memory as long as there is room, in an unlinked temporary file beyond that.

Used by the selector driver. The ``sync`` worker receives whole bodies first, since reading must never make it wait; its
:class:`SpoolRoom` bounds what that may cost. ``gthread`` holds only the small ones here, and streams the others.
"""

from __future__ import annotations

import io
import tempfile
from typing import BinaryIO, Final

from gunicorn.http.errors import ContentTooLarge, SpoolFull

MOST_IN_MEMORY: Final = 8 << 20  # bytes of one body
MEMORY: Final = 64 << 20  # bytes of all bodies of a worker
HELD: Final = 32 << 20  # bytes of them that may wait in the kernel besides (``drivers.held``)
LEAST_HELD: Final = 65536  # bytes that a body must lack for that to pay


class SpoolRoom:
    """What the bodies of one worker may take together. Not for several threads.

    *directory* is where temporary files go (``tmp_upload_dir``), *disk* how many bytes of them there may be
    (``tmp_upload_limit``); 0 for no limit.
    """

    def __init__(self, directory: str | None = None, disk: int = 0) -> None:
        self.directory = directory
        self.limit = disk
        self.disk = disk or 1 << 62  # bytes that are left
        self.memory = MEMORY
        self.held = HELD

    def check(self, length: int | None) -> None:
        """Raises :class:`ContentTooLarge` for a body whose announced *length* could never be received."""
        if length is not None and self.limit and length > max(self.limit, MOST_IN_MEMORY):
            raise ContentTooLarge(f"a body of {length} bytes is over the limit of {self.limit}")

    def may_hold(self, length: int | None, left: int) -> bool:
        """Whether a body of *length* bytes, of which *left* have not come yet, may wait for them in the kernel."""
        return length is not None and length <= MOST_IN_MEMORY and LEAST_HELD <= left <= self.held


class Spool:
    """Collects a body; :meth:`rewind` gives it as a file to read. The file never has a name on disk that could stay.

    Without a *room* it stays in memory, whatever its size.
    """

    __slots__ = ("_disk", "_file", "_memory", "_parts", "_room", "size")

    def __init__(self, room: SpoolRoom | None = None) -> None:
        self._room = room
        self._memory = 0  # bytes taken from the room, of either kind
        self._disk = 0
        self._parts: list[bytes] = []
        self._file: BinaryIO | None = None
        self.size = 0

    @property
    def in_memory(self) -> bool:
        return self._file is None

    def write(self, data: bytes) -> None:
        """Append *data*.

        Raises :class:`ContentTooLarge` or :class:`SpoolFull` when there is no room for it.
        """
        size = len(data)
        self.size += size
        room = self._room
        if room is None:
            self._parts.append(data)
        elif self._file is None and size <= room.memory and self.size <= MOST_IN_MEMORY:
            room.memory -= size
            self._memory += size
            self._parts.append(data)
        else:
            self._take_disk(room)
            self._write_file(room, data)

    def rewind(self) -> BinaryIO:
        """The body, as a file at its beginning; nothing can be written any more."""
        if self._file is None:
            self._file = io.BytesIO(b"".join(self._parts))  # which copies nothing, also when it is read whole
            self._parts = []
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        """Let go of everything; the file that :meth:`rewind` gave is closed too."""
        if self._file is not None:
            self._file.close()
        self._parts = []
        if self._room is not None:
            self._room.memory += self._memory
            self._room.disk += self._disk
            self._room = None

    def _write_file(self, room: SpoolRoom, data: bytes) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="gunicorn-", dir=room.directory)  # noqa: SIM115 - close()
                self._file.write(b"".join(self._parts))
                self._parts = []
                room.memory += self._memory
                self._memory = 0
            self._file.write(data)
        except OSError as exc:
            where = room.directory or tempfile.gettempdir()
            raise SpoolFull(f"a body cannot be written to {where}: {exc.strerror}") from exc

    def _take_disk(self, room: SpoolRoom) -> None:
        """Take what is missing for the whole body to lie on disk."""
        size = self.size - self._disk
        if size > room.disk:
            if room.limit and self.size > room.limit:
                raise ContentTooLarge(f"a body is over the limit of {room.limit} bytes")
            raise SpoolFull("there is no room for the body at present")
        room.disk -= size
        self._disk += size
