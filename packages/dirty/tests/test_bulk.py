"""Large messages: whatever their pieces, they arrive, and memory is used again."""

from __future__ import annotations

import socket
import threading

import pytest
from gunicorn.dirty.bulk import give_back, room_for, send_frame, widen


@pytest.mark.parametrize("sizes", [[5], [1, 2, 3], [10, 300_000, 7], [60_000] * 5, [65_536, 65_537, 1], [1] * 3000])
def test_frames_arrive_whole(sizes: list[int]) -> None:
    pieces: list[bytes | bytearray | memoryview] = [bytes([index % 251]) * size for index, size in enumerate(sizes)]
    left, right = socket.socketpair()
    with left, right:
        widen(left)

        def send() -> None:
            send_frame(left, pieces)
            send_frame(left, b"end")
            left.close()

        thread = threading.Thread(target=send)
        thread.start()
        data = b""
        while part := right.recv(1_000_000):
            data += part
        thread.join()
    assert data == b"".join(pieces) + b"end"


def test_memory_of_large_messages_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gunicorn.dirty.bulk._spare", [])
    first = room_for(3_000_000)
    assert len(first) == 3_000_000
    second = room_for(3_000_000)
    assert first.obj is not second.obj
    again = first.obj
    give_back(first)
    third = room_for(2_000_000)
    assert third.obj is again
    assert len(third) == 2_000_000
    give_back(third)
    larger = room_for(50_000_000)
    assert larger.obj is not again
    give_back(larger)
    give_back(second)
    with pytest.raises(ValueError, match="released"):
        len(second)
    small = room_for(10)
    assert isinstance(small.obj, bytearray)
    give_back(small)
