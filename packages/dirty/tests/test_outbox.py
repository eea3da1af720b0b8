"""Sending without blocking: order, completeness, and what happens when the peer is gone."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from gunicorn.dirty.loop import READ, WRITE, Loop
from gunicorn.dirty.outbox import Outbox


class End:
    """An outbox in a loop, with the other end of its socket."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.sock, self.peer = socket.socketpair()
        self.sock.setblocking(False)
        self.drained = 0
        self.reads = 0
        self.outbox = Outbox(self.loop, self.sock, self.on_events, self.on_drained)

    def on_events(self, events: int) -> None:
        if events & WRITE:
            self.outbox.flush()
        if events & READ:
            self.reads += 1
            self.loop.stop()

    def on_drained(self) -> None:
        self.drained += 1
        self.loop.stop()

    def close(self) -> None:
        self.outbox.detach()
        self.sock.close()
        self.peer.close()
        self.loop.close()


@pytest.fixture
def end() -> Iterator[End]:
    made = End()
    yield made
    made.close()


def test_what_fits_goes_at_once(end: End) -> None:
    end.outbox.send(b"one")
    end.outbox.send(bytearray(b"two"))
    assert end.outbox.pending == 0
    assert end.peer.recv(10) == b"onetwo"


def test_what_does_not_fit_goes_later_in_order_even_if_its_buffer_is_used_again(end: End) -> None:
    sent = bytearray()
    buffer = bytearray(100_000)
    for number in range(20):
        buffer[:] = bytes([number]) * len(buffer)
        sent += buffer
        end.outbox.send(memoryview(buffer))
    assert end.outbox.pending
    received = bytearray()
    end.peer.settimeout(5)
    while len(received) < len(sent):
        received += end.peer.recv(1 << 20)
        if end.outbox.pending:
            end.outbox.flush()
    assert received == sent
    assert end.drained == 1


def test_draining_is_told_from_the_loop(end: End) -> None:
    end.outbox.send(bytes(1_000_000))
    pending = end.outbox.pending
    end.peer.settimeout(5)

    def read() -> None:
        end.peer.recv(1 << 20)
        if end.outbox.pending:
            end.loop.call_later(0, read)

    end.loop.call_later(0, read)
    end.loop.run()
    assert pending
    assert end.drained == 1
    assert end.outbox.pending == 0


def test_pausing_stops_reading_and_not_writing(end: End) -> None:
    end.outbox.pause()
    end.peer.send(b"x")
    end.loop.call_later(0.03, end.loop.stop)
    end.loop.run()
    assert end.reads == 0
    end.outbox.resume()
    end.loop.run()
    assert end.reads == 1


def test_a_peer_that_is_gone_is_no_error(end: End) -> None:
    end.outbox.send(bytes(1_000_000))
    end.peer.close()
    end.outbox.flush()
    assert end.outbox.broken
    assert end.outbox.pending == 0
    end.outbox.send(b"more")
    end.outbox.detach()
    end.outbox.pause()
    end.outbox.resume()
