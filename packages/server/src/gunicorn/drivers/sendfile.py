"""``wsgi.file_wrapper`` by way of the kernel: files that are sent without passing through Python.

Used by the selector and greenlet drivers on connections without TLS, unless the setting ``sendfile`` is off. What
cannot be sent so is iterated over, as PEP 3333 has it.
"""

from __future__ import annotations

import io
import os
import stat
import tempfile
from typing import TYPE_CHECKING, Any, Final, Protocol

from gunicorn.wsgi.file import FileWrapper

if TYPE_CHECKING:
    from gunicorn.wsgi.response import Response

AVAILABLE: Final = hasattr(os, "sendfile")
LARGEST: Final = 1 << 30  # bytes for one call of sendfile(2), which takes less than 2 GiB

# Their reads give what is in the file, byte by byte. Of others (gzip.GzipFile) a descriptor says nothing.
_PLAIN: Final = (io.FileIO, io.BufferedReader, io.BufferedRandom)


class FileRange:
    """Bytes of an open file: *left* of them from *offset* on. It has a descriptor of its own."""

    __slots__ = ("_fd", "left", "offset")

    def __init__(self, fd: int, offset: int, left: int) -> None:
        self._fd = os.dup(fd)
        self.offset = offset
        self.left = left

    def send(self, fd: int) -> int:
        """Send as much as the socket *fd* takes; 0 when the file ends before *left*.

        Raises BlockingIOError when it takes nothing now, OSError when the peer has gone.
        """
        sent = os.sendfile(fd, self._fd, self.offset, min(self.left, LARGEST))
        self.offset += sent
        self.left -= sent
        return sent

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class FileSender(Protocol):
    """A driver's connection (``drivers.channel.Channel``, ``drivers.greenlet_client.Client``)."""

    def send_file(self, file: FileRange) -> None:
        """Send what waits in the connection and then *file*, and close it."""


class SendableFile(FileWrapper):
    """What ``wsgi.file_wrapper`` returns on *channel*: an iterable like any other, if need be."""

    def __init__(self, channel: FileSender, filelike: Any, block_size: int) -> None:
        super().__init__(filelike, block_size)
        self._channel = channel

    def deliver(self, response: Response) -> bool:
        """Send the file through the channel, from its position to its end; False when it has to be iterated over."""
        found = regular_file(self.filelike)
        if found is None:
            return False
        fd, offset, size = found
        left = response.begin_file(size)
        if left is None:
            return False
        if left:
            self._channel.send_file(FileRange(fd, offset, left))
        return True


def regular_file(filelike: Any) -> tuple[int, int, int] | None:
    """Descriptor, position and bytes from there to the end of an ordinary file that is read as it stands; else None."""
    if isinstance(filelike, tempfile._TemporaryFileWrapper):
        filelike = filelike.file
    if type(filelike) not in _PLAIN or type(getattr(filelike, "raw", filelike)) is not io.FileIO:
        return None
    try:
        if filelike.writable():
            filelike.flush()
        fd, offset = filelike.fileno(), filelike.tell()
        status = os.fstat(fd)
    except (OSError, ValueError):  # closed, or not seekable
        return None
    return (fd, offset, max(0, status.st_size - offset)) if stat.S_ISREG(status.st_mode) else None
