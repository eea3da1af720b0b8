"""What calls and connections share: the read buffer."""

from __future__ import annotations

import socket
from typing import Any

from gunicorn.dirty.call import PoolCall, ReceiveBuffer
from gunicorn.dirty.scheduler import Call
from gunicorn.dirty.wire import Options, Route


def test_a_rest_goes_before_what_is_read() -> None:
    buffer = ReceiveBuffer()
    left, right = socket.socketpair()
    with left, right:
        left.send(b"world")
        assert buffer.fill(right, b"") == 5
        left.send(b"world")
        assert buffer.fill(right, b"hello ") == 11
        assert bytes(buffer.view[:11]) == b"hello world"
        left.close()
        assert buffer.fill(right, b"rest") == 4
        assert buffer.fill(right, b"") == 0


def test_the_largest_rest_leaves_room_for_a_whole_read() -> None:
    buffer = ReceiveBuffer()
    left, right = socket.socketpair()
    with left, right:
        left.sendall(bytes(65536))
        have = buffer.fill(right, b"r" * (65536 + 16))
        assert have > 65536 + 16
        assert bytes(buffer.view[: 65536 + 16]) == b"r" * (65536 + 16)


def test_a_pool_call_is_all_that_a_call_is() -> None:
    caller: Any = object()
    call = PoolCall(7, caller, 1, Route("m:A", "go"), 2.5)
    plain = Call("m:A")
    for name in Call.__slots__:
        assert getattr(call, name) == getattr(plain, name)
    assert (call.id, call.caller, call.caller_id, call.action, call.arrived) == (7, caller, 1, "go", 2.5)
    assert call.limit is None
    urgent = PoolCall(8, caller, 2, Route("m:A", "go", Options(priority=3)), 2.5, 4.0)
    assert (urgent.limit, urgent.priority) == (6.5, 3)
