"""``wsgi.input`` of a body that is still arriving; made by drivers that may wait where a read has to.

Those are the greenlet driver, and the selector driver on threads.

At most one buffer of :data:`BUFFER_SIZE` bytes, and what one ``recv`` brought, is held in memory. Blocks of
:data:`LARGE` bytes and more, as frameworks read them, are handed over as they were received: of an upload's cost, each
copy that is not made is a fifth.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol, cast

from gunicorn.http.errors import RemoteProtocolError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BUFFER_SIZE: Final = 16384  # bytes
RECEIVE_SIZE: Final = 65536  # bytes of one recv where the application did not ask for a certain number
LARGE: Final = 32768  # bytes from which on a read does not go through the buffer
MOST_AT_ONCE: Final = 1 << 20  # bytes of one recv, however many the application asks for


class Source(Protocol):
    """Where the parts come from: ``greenlet_client.Client``, ``channel.Channel``."""

    def next_part(self, size: int) -> tuple[bytes, bool]:
        """The next part of the body, mostly of up to *size* bytes, waiting for it; and whether it is the last.

        Raises :class:`~gunicorn.http.errors.RemoteProtocolError`, PeerGoneError.
        """

    def report(self, error: RemoteProtocolError) -> None: ...


class BodyReader(io.RawIOBase):
    """The unbuffered side of ``wsgi.input``.

    Reads raise :class:`~gunicorn.http.errors.RemoteProtocolError` for a body that is refused or too slow, which was
    logged then, and PeerGoneError, an OSError, when the peer has gone before the end.
    """

    def __init__(self, source: Source, begin: bytes = b"") -> None:
        self._source = source
        self._left = memoryview(begin)  # received and not read yet
        self._ended = False
        self.buffered = False  # whether a buffer was filled from here, which then comes first

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        self.buffered = True
        while not self._left and not self._ended:
            self._left = memoryview(self._next(RECEIVE_SIZE))
        view = memoryview(buffer).cast("B")
        size = min(len(view), len(self._left))
        view[:size] = self._left[:size]
        self._left = self._left[size:]
        return size

    def readall(self) -> bytes:
        parts = [bytes(self._left)]
        self._left = memoryview(b"")
        while not self._ended:
            parts.append(self._next(RECEIVE_SIZE))
        return b"".join(parts)

    def take(self, size: int) -> bytes:
        """The next *size* bytes, less only at the end; mostly as they were received, without a copy."""
        parts: list[bytes] = []
        while True:
            if self._left:
                part = bytes(self._left[:size])
                self._left = self._left[size:]
            elif self._ended:
                break
            else:
                part = self._next(size if size < MOST_AT_ONCE else MOST_AT_ONCE)
                if len(part) > size:
                    self._left = memoryview(part)
                    continue
            if len(part) == size and not parts:
                return part
            parts.append(part)
            size -= len(part)
            if not size:
                break
        return b"".join(parts)

    def _next(self, size: int) -> bytes:
        try:
            part, self._ended = self._source.next_part(size)
        except RemoteProtocolError as error:
            self._source.report(error)
            raise
        return part


class BodyFile(io.BufferedReader):
    """The buffered side. An application that reads in large blocks gets them past the buffer."""

    def __init__(self, raw: BodyReader) -> None:
        super().__init__(raw, BUFFER_SIZE)
        self._unbuffered = raw

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < LARGE or self._unbuffered.buffered:
            return super().read(size)
        return self._unbuffered.take(size)


def body_stream(source: Source, begin: bytes = b"") -> BinaryIO:
    """A file-like object over *begin* and what *source* gives: ``read``, ``readline``, ``readlines``, iteration."""
    return cast(BinaryIO, BodyFile(BodyReader(source, begin)))
