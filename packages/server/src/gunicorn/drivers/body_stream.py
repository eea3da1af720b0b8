"""``wsgi.input`` of a body that is still arriving; made by drivers that may wait where a read has to.

Those are the greenlet driver, and the selector driver on threads.

At most one buffer of :data:`BUFFER_SIZE` bytes, and what one ``recv`` brought, is held in memory.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol, cast

from gunicorn.drivers.runner import PeerGoneError
from gunicorn.http.errors import RemoteProtocolError
from gunicorn.http.events import Data, Disconnected

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BUFFER_SIZE: Final = 16384  # bytes


class Source(Protocol):
    """Where the parts come from: ``greenlet.Client``, ``channel.Channel``."""

    def next_data(self) -> Data | Disconnected: ...

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

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        while not self._left and not self._ended:
            self._left = memoryview(self._next())
        view = memoryview(buffer).cast("B")
        size = min(len(view), len(self._left))
        view[:size] = self._left[:size]
        self._left = self._left[size:]
        return size

    def readall(self) -> bytes:
        parts = [bytes(self._left)]
        self._left = memoryview(b"")
        while not self._ended:
            parts.append(self._next())
        return b"".join(parts)

    def _next(self) -> bytes:
        try:
            event = self._source.next_data()
        except RemoteProtocolError as error:
            self._source.report(error)
            raise
        if isinstance(event, Disconnected):
            raise PeerGoneError("the client has gone away before the end of its request")
        self._ended = event.end_stream
        return event.data


def body_stream(source: Source, begin: bytes = b"") -> BinaryIO:
    """A file-like object over *begin* and what *source* gives: ``read``, ``readline``, ``readlines``, iteration."""
    return cast(BinaryIO, io.BufferedReader(BodyReader(source, begin), BUFFER_SIZE))
