"""The blocking client's connections: one per call at a time, kept for the next, started anew in a forked child.

Used by client.py alone.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
import weakref
from typing import TYPE_CHECKING

from .bulk import MIN_SHARED, give_back, room_for, widen
from .calls import read_header
from .errors import DirtyConnectionError, DirtyTimeoutError
from .wire import HEAD, HEADER_SIZE, RESPONSE, RESPONSE_HEAD, Frame

if TYPE_CHECKING:
    from .sharing import SharingConnection

__all__ = ["Connection", "ConnectionPool", "is_timeout"]

_READ_SIZE = 65536
_MAX_IDLE = 64  # connections kept for the next calls
_TIMEVAL = struct.Struct("ll")
_CLOSED = "the pool closed the connection"


class Connection:
    """One connection, used by one call at a time. Time limits are the kernel's (SO_RCVTIMEO), which costs no call per
    read."""

    __slots__ = ("_buffer", "_end", "_limit", "_native", "_reads", "_start", "_view", "path", "room", "sock")

    def __init__(self, path: str, timeout: float | None) -> None:
        self.path = path
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._buffer = bytearray(_READ_SIZE)
        self._view = memoryview(self._buffer)
        # gevent's sockets are non-blocking underneath and keep time themselves.
        self._native = type(self.sock).__module__ == "socket"
        self._limit: float | None = None
        self._start = self._end = 0  # what has been read and not handed out
        self._reads = 0
        self.room: memoryview | None = None  # of a large payload that is being read
        self.sock.settimeout(None)  # whatever socket.setdefaulttimeout() says
        try:
            if timeout is not None:
                self._set_limit(timeout)
            self.sock.connect(path)
            widen(self.sock)
        except OSError as exc:
            self.sock.close()
            if is_timeout(exc):
                raise DirtyTimeoutError(f"the dirty pool at {path} did not accept within {timeout} s", timeout) from exc
            raise DirtyConnectionError(
                f"no dirty pool answers at {path} ({exc.strerror or exc}): is it running, and is this its user?", path
            ) from exc

    def begin(self, frame: Frame, timeout: float | None) -> None:
        """Send a request; `timeout` (seconds) is for this and for the first read.

        :raises OSError: the connection broke, or the time is over
        """
        self._start = self._end = self._reads = 0
        if timeout != self._limit:
            self._set_limit(timeout)
        self.sock.sendall(frame)  # type: ignore[arg-type]  # what is in pieces goes to a SharingConnection

    def _set_limit(self, seconds: float | None) -> None:
        """Let each read and write from now on wait so long."""
        self._limit = seconds
        if self._native:
            value = _TIMEVAL.pack(0, 0) if seconds is None else _timeval(seconds)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)
        else:
            self.sock.settimeout(seconds)

    def done_reading(self) -> None:
        """The payload that :meth:`receive` has returned is needed no more."""
        room, self.room = self.room, None
        if room is not None:
            give_back(room)

    def receive_first(self, request_id: int, deadline: float | None) -> tuple[int, bytes | memoryview]:
        """:meth:`receive` after :meth:`begin`; in fewer steps where a whole RESPONSE comes at once, as mostly."""
        self._reads = 1
        end = self.sock.recv_into(self._buffer)
        if end >= HEADER_SIZE:
            head, length, number = HEAD.unpack_from(self._buffer)
            if number == request_id and length == end - HEADER_SIZE and head == RESPONSE_HEAD:
                return RESPONSE, bytes(self._view[HEADER_SIZE:end])
        elif not end:
            raise ConnectionResetError(errno.ECONNRESET, _CLOSED)
        self._end = end
        return self.receive(request_id, deadline)

    def receive(self, request_id: int, deadline: float | None) -> tuple[int, memoryview]:
        """The next frame of the answer: type and payload, which is good until the next call.

        :param deadline: monotonic seconds, None is never
        :raises DirtyProtocolError: not an answer to that request
        :raises OSError: the connection broke, or the time is over
        """
        while self._end - self._start < HEADER_SIZE:
            self._fill(deadline)
        kind, length = read_header(self._buffer, self._start, request_id)
        if HEADER_SIZE + length > _READ_SIZE:
            return kind, self._receive_large(self._start + HEADER_SIZE, length, deadline)
        while self._end < self._start + HEADER_SIZE + length:
            self._fill(deadline)
        start = self._start + HEADER_SIZE
        self._start = end = start + length
        return kind, self._view[start:end]

    def _fill(self, deadline: float | None) -> None:
        have = self._end - self._start
        if have:
            self._buffer[:have] = self._buffer[self._start : self._end]
        self._start, self._end = 0, have
        self._end += self._read(self._view[have:] if have else self._buffer, deadline)

    def _receive_large(self, start: int, length: int, deadline: float | None) -> memoryview:
        payload = self.room = room_for(length)
        have = self._end - start
        payload[:have] = self._view[start : self._end]
        self._start = self._end = 0
        while have < length:
            have += self._read(payload[have:], deadline)
        return payload

    def _read(self, into: memoryview | bytearray, deadline: float | None) -> int:
        if deadline is not None and self._reads:  # the first read's limit was set with the request
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(errno.ETIMEDOUT, "timed out")
            self._set_limit(left)
        self._reads += 1
        size = self.sock.recv_into(into)
        if not size:
            raise ConnectionResetError(errno.ECONNRESET, _CLOSED)
        return size


def _timeval(seconds: float) -> bytes:
    whole = int(seconds)
    return _TIMEVAL.pack(whole, max(1, int((seconds - whole) * 1_000_000)))


def is_timeout(exc: OSError) -> bool:
    return isinstance(exc, (TimeoutError, BlockingIOError)) or exc.errno in (errno.EAGAIN, errno.EINPROGRESS)


class ConnectionPool:
    """The connections to one socket that no call uses at the moment.

    :ivar idle: the last one used is the next one taken
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.idle: list[Connection] = []
        self._inherited: list[Connection] = []  # from the parent process, to be closed
        _pools.add(self)

    def send(self, frame: Frame, timeout: float | None) -> Connection:
        """Send a request on an idle connection or a new one, which is returned.

        :param timeout: seconds for this and for the first read of the answer
        :raises DirtyConnectionError: nobody listens, or closes at once
        :raises OSError: the connection broke, or the time is over
        """
        while True:
            try:
                connection = self.idle.pop()
            except IndexError:
                self._close_inherited()
                connection = Connection(self.path, timeout)
                fresh = True
            else:
                fresh = False
            if type(frame) is not bytes and type(connection) is Connection:
                connection = self._sharing(connection)
            try:
                connection.begin(frame, timeout)
            except (BrokenPipeError, ConnectionResetError) as exc:
                # Its arbiter went away while it was idle. The request has not come whole to anyone: send it anew.
                connection.sock.close()
                if fresh:
                    raise DirtyConnectionError(f"the dirty pool closed the connection: {exc}", self.path) from exc
            except BaseException:
                connection.sock.close()
                raise
            else:
                return connection

    def _sharing(self, connection: Connection) -> SharingConnection:
        from .sharing import SharingConnection  # most processes never need it

        return connection if isinstance(connection, SharingConnection) else SharingConnection(connection)

    def done_reading(self, connection: Connection, frame: Frame) -> Connection:
        """The large payload that answered `frame` is needed no more. Returns what goes on in the connection's place."""
        room = connection.room
        large = room is not None and len(room) >= MIN_SHARED
        connection.done_reading()
        if large:
            connection = sharing = self._sharing(connection)
            sharing.expect_large(frame)
        return connection

    def put_back(self, connection: Connection) -> None:
        """The call on it is done, and nothing more will come for it."""
        if len(self.idle) < _MAX_IDLE:
            self.idle.append(connection)
        else:
            connection.sock.close()

    def close(self) -> None:
        """Close the idle connections."""
        while self.idle:
            self.idle.pop().sock.close()
        self._close_inherited()

    def forked(self) -> None:
        """In a forked child: start anew."""
        self._inherited += self.idle
        self.idle.clear()

    def _close_inherited(self) -> None:
        # The parent goes on using them; closing our descriptors of them does not disturb it.
        while self._inherited:
            self._inherited.pop().sock.close()


# What has to start anew in a forked child: asking for the pid with each call would be a system call.
_pools: weakref.WeakSet[ConnectionPool] = weakref.WeakSet()


def _forked() -> None:
    for pool in _pools:
        pool.forked()


os.register_at_fork(after_in_child=_forked)
