"""A request on its way through the arbiter, and what its two kinds of connection share: header fields and a read
buffer.

Used by caller.py and link.py, the two ends of the relay. Requests and answers pass as the bytes that came: only the 8
bytes of the request id are replaced, by the arbiter's own on the way in and by the client's on the way back. What is
not whole yet is passed on in parts; whoever cannot be written to is not read for.

    client ──► Caller ──submit──► Scheduler ──► SlotLink ──► worker       (the rules of who may run are in dispatch.py)
    client ◄── Caller ◄──────deliver──────────  SlotLink ◄── worker
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

from .scheduler import Call, Slot
from .wire import HEADER_SIZE, Route

if TYPE_CHECKING:
    from .caller import Caller

__all__ = ["PoolCall", "ReceiveBuffer"]

ID = struct.Struct(">Q")
ID_OFFSET = 8

READ_SIZE = 262144
_KEPT_VIEWS = 1024


class _Views(dict[int, memoryview]):
    """Its first bytes by their number. Messages are alike, and making a view costs more than finding it."""

    def __init__(self, whole: memoryview) -> None:
        super().__init__()
        self._whole = whole

    def __missing__(self, size: int) -> memoryview:
        view = self._whole[:size]
        if len(self) < _KEPT_VIEWS:
            self[size] = view
        return view


class ReceiveBuffer:
    """One buffer for all reads of the arbiter, which handles what it has read before it reads again.

    :ivar view: all of it
    :ivar first: its first bytes, by their number
    """

    __slots__ = ("data", "first", "view")

    def __init__(self) -> None:
        # What was left of the last read (at most a request's front, 64 KiB and a header) goes before the new bytes.
        self.data = bytearray(2 * READ_SIZE + HEADER_SIZE)
        self.view = memoryview(self.data)
        self.first = _Views(self.view)

    def fill(self, sock: socket.socket, rest: bytes) -> int:
        """Put `rest` first and read after it. Returns how many bytes there are in all; `len(rest)` at the end of the
        stream.

        :raises OSError: like `recv_into`
        """
        if not rest:
            return sock.recv_into(self.data, READ_SIZE)
        self.data[: len(rest)] = rest
        return len(rest) + sock.recv_into(self.view[len(rest) :], READ_SIZE)


class PoolCall(Call):
    """A request in the arbiter.

    :ivar id: the arbiter's own id of it, which the worker sees
    :ivar caller: who gets the answer; None when nobody wants it any more
    :ivar caller_id: the id that the client gave it
    :ivar route: what the request's front says
    :ivar limit: monotonic time by which its caller wants it ended, None is never
    :ivar held: the parts of the request that came while it waits; None when it does not
    :ivar body_left: bytes of the request that are still to come from the client
    :ivar arrived: monotonic seconds; `started` likewise, None while it waits
    """

    __slots__ = ("arrived", "body_left", "caller", "caller_id", "held", "id", "limit", "route", "started")

    def __init__(
        self, number: int, caller: Caller, caller_id: int, route: Route, arrived: float, seconds: float | None = None
    ) -> None:
        """:param seconds: how long the caller waits for the answer"""
        # What Call.__init__ does, without the call: this runs for every request.
        self.app = route[0]
        self.deadline: float | None = None
        self.priority = route[2][1] or 0
        self.slot: Slot | None = None
        self.queued = False
        self.order = 0
        self.id = number
        self.caller: Caller | None = caller
        self.caller_id = caller_id
        self.route = route
        self.held: list[bytes | bytearray] | None = None
        self.body_left = 0
        self.arrived = arrived
        self.limit = None if seconds is None else arrived + seconds
        self.started: float | None = None

    @property
    def action(self) -> str:
        return self.route.action
