"""A connection of the blocking client that has memory in common with the workers, for large payloads.

Made by connection.py of a usual connection when that has had the first one; so those that never have one pay nothing.
The other sides are in shared.py.
"""

from __future__ import annotations

import os
import socket

from gunicorn_dirty_protocol import Error, Manage, ManageOp, ProtocolError

from .bulk import MIN_SHARED, send_frame
from .calls import next_id, read_payload
from .connection import Connection
from .errors import DirtyError, DirtyMappingError, DirtyProtocolError
from .shared import Mapping
from .wire import ERROR, RESPONSE, Frame, front_of, payload_of, read_shared, shared_request

__all__ = ["SharingConnection"]

_MAX_FRONTS = 64
# After an answer of these types no worker has the request any more. After others one may still write its result.
_DONE = ("DirtyAppError", "DirtyAppNotFoundError", "DirtyNoWorkersAvailableError", "DirtyOverloadedError")
_REFUSED = DirtyMappingError.__name__


class SharingConnection(Connection):
    """Lays large arguments into the mapping, and offers it for the results of what had large ones before."""

    __slots__ = ("_asking", "_frame", "_front", "_fronts", "_mapping")

    def __init__(self, connection: Connection) -> None:
        """Takes over all that `connection` has."""
        for name in Connection.__slots__:
            setattr(self, name, getattr(connection, name))
        self._asking = True  # the pool has not refused yet
        self._mapping: Mapping | None = None
        self._frame: Frame | None = None  # the request under way, if its message names the mapping
        self._front = b""
        self._fronts: set[bytes] = set()  # of requests whose last result was large

    def begin(self, frame: Frame, timeout: float | None) -> None:
        self._start = self._end = self._reads = 0
        if timeout != self._limit:
            self._set_limit(timeout)
        self._frame = None
        self._front = front_of(frame)
        payload = payload_of(frame)
        size = sum(map(len, payload))
        if self._front and (size >= MIN_SHARED or self._front in self._fronts):
            mapping = self._get_mapping()
            if mapping is not None:
                self._frame = frame
                if MIN_SHARED <= size <= len(mapping):
                    frame = shared_request(frame, mapping.token, mapping.write(payload))
                elif size < MIN_SHARED:
                    frame = shared_request(frame, mapping.token, 0)
        send_frame(self.sock, frame)

    def _get_mapping(self) -> Mapping | None:
        """The memory, which the pool is asked for the first time; None where it gives none.

        :raises OSError: the connection broke, or the time is over
        """
        if self._mapping is not None or not self._asking:
            return self._mapping
        self._asking = False
        request_id = next_id()
        self.sock.sendall(Manage(request_id, ManageOp.SHARE).to_bytes())
        data, fds, _, _ = socket.recv_fds(self.sock, len(self._buffer), 1, getattr(socket, "MSG_CMSG_CLOEXEC", 0))
        try:
            self._buffer[: len(data)] = data
            self._end = len(data)
            result = read_payload(*Connection.receive(self, request_id, None))
            if fds:
                self._mapping = Mapping(result["token"], fds[0])
        except (DirtyError, OSError) as exc:
            if isinstance(exc, OSError) and not fds:
                raise
        finally:
            for fd in fds:
                os.close(fd)
            self._start = self._end = self._reads = 0
        return self._mapping

    def receive_first(self, request_id: int, deadline: float | None) -> tuple[int, bytes | memoryview]:
        if self._frame is None:
            return Connection.receive_first(self, request_id, deadline)
        return self.receive(request_id, deadline)

    def receive(self, request_id: int, deadline: float | None) -> tuple[int, memoryview]:
        kind, payload = Connection.receive(self, request_id, deadline)
        frame = self._frame
        if frame is None:
            return kind, payload
        if kind == RESPONSE:
            length = read_shared(payload)
            if length is None:
                self._fronts.discard(self._front)
            elif self._mapping is None or length > len(self._mapping):
                raise DirtyProtocolError(f"an answer of {length} bytes does not lie in the mapping")
            else:
                return kind, self._mapping.read(length)
        elif kind == ERROR:
            error_type = _type_of(payload)
            if error_type not in _DONE:
                self._mapping, self._frame = None, None
                self._asking = True
            if error_type == _REFUSED:
                self._asking = False
                self._start = self._end = 0
                send_frame(self.sock, frame)
                return self.receive(request_id, deadline)
        return kind, payload

    def expect_large(self, frame: Frame) -> None:
        """This request had a large result: offer the mapping to the next one like it."""
        if len(self._fronts) >= _MAX_FRONTS:
            self._fronts.clear()
        self._fronts.add(front_of(frame))


def _type_of(payload: memoryview) -> str:
    try:
        return Error.from_payload(0, bytes(payload)).error_type
    except ProtocolError:
        return ""
