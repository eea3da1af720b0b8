"""A body that waits in the kernel until all of it is here, so that no application has to wait for it, and nobody copies
it to and fro. Used by ``drivers.channel`` for the ``sync`` worker, which runs one request at a time.

A body that is collected in the worker's memory is written to pages that are in no cache, and read back from there: that
took longer than everything else of an upload. So ``SO_RCVLOWAT`` tells the kernel to report the socket when the rest of
the body has come, and the application reads it from there. The kernel makes room for it (half of the last number of
``net.ipv4.tcp_rmem`` at most, 3 MiB by default; of what does not fit the worker collects the beginning), within
:data:`~gunicorn.drivers.spool.HELD` bytes for all connections of a worker.
"""

from __future__ import annotations

import socket
import sys
from typing import Final

from gunicorn.drivers.errors import PeerGoneError
from gunicorn.drivers.queues import received
from gunicorn.drivers.spool import SpoolRoom
from gunicorn.http.errors import RemoteProtocolError

AVAILABLE: Final = sys.platform == "linux"  # elsewhere poll takes no notice of the low-water mark
DROP_SIZE: Final = 65536  # bytes dropped at a time


class HeldBody:
    """The rest of a body, *left* bytes, on its way to *sock*, or there already. It is a ``body_stream.Source``.

    It takes its place in *room*, which has said that it :meth:`~SpoolRoom.may_hold` it; :meth:`close` gives it back.
    """

    __slots__ = ("_room", "_size", "_sock", "left", "seen")

    def __init__(self, sock: socket.socket, room: SpoolRoom, left: int) -> None:
        self._sock = sock
        self._room = room
        self._size = left
        self.left = left
        self.seen = 0  # bytes that had come when the timekeeper looked last
        room.held -= left

    def here(self) -> bool:
        """Whether all of it is here. If not, the socket is readable when it is, or when the kernel holds no more of it.

        Raises OSError.
        """
        if received(self._sock.fileno()) >= self.left:
            return True
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, self.left)
        return False

    def moved(self) -> int:
        """How many bytes have come since this was called last."""
        try:
            now = received(self._sock.fileno())
        except OSError:
            return 0
        before, self.seen = self.seen, now
        return max(0, now - before)

    def next_part(self, size: int) -> tuple[bytes, bool]:
        """The next bytes for the application, and whether they are the last. Raises PeerGoneError."""
        left = self.left
        try:
            data = self._sock.recv(size if size < left else left)
        except (
            OSError
        ) as error:  # BlockingIOError too: somebody else has read them, or they were never body (urgent data)
            raise PeerGoneError(f"the rest of the request has gone: {error}") from error
        if not data:
            raise PeerGoneError("the client has gone away before the end of its request")
        self.left = left = left - len(data)
        return data, not left

    def report(self, error: RemoteProtocolError) -> None:
        """Nothing is refused here."""

    def close(self) -> bool:
        """Drop what the application did not read, and give the place back; whether the whole body is through."""
        self._room.held += self._size
        self._size = 0
        try:
            while self.left:
                self.next_part(DROP_SIZE)
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)  # from now on readable when anything comes
        except OSError:
            return False
        return True
