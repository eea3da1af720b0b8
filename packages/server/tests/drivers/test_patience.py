"""Deadlines and who gives way, state by state, without sockets: test_selector.py and test_channel.py have those."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.drivers import patience
from gunicorn.drivers.admission import Stage
from gunicorn.drivers.poller import READ, WRITE
from gunicorn.http.errors import RequestTimeout


class FakeChannel:
    """What patience looks at, and what it does with it. All states begin at 100 seconds."""

    def __init__(self, **state: Any) -> None:
        self.busy = self.lingering = False
        self.outbox: Any = None
        self.rest: Any = None
        self.waits = 0
        self.since = self.began = 100.0
        self.moved = 0
        self.done: list[Any] = []
        self.sock, self.peer = socket.socketpair()
        self.sock.setblocking(False)
        http = {"idle": False, "served": True, "request": None, "limit": 5.0}
        http.update({name: state.pop(name) for name in list(state) if name in http})
        self.http = SimpleNamespace(**http, deadline=lambda: http["limit"])
        vars(self).update(state)

    def close(self) -> None:
        self.done.append("closed")

    def refuse(self, error: Exception) -> None:
        self.done.append(error)

    dismiss = refuse


@pytest.fixture
def make() -> Any:
    made: list[FakeChannel] = []

    def build(**state: Any) -> FakeChannel:
        made.append(FakeChannel(**state))
        return made[-1]

    yield build
    for channel in made:
        channel.sock.close()
        channel.peer.close()


@pytest.mark.parametrize(
    ("state", "limit", "draining", "end"),
    [
        ({"lingering": True}, patience.LINGER_TIMEOUT, False, "closed"),
        ({"outbox": object()}, patience.WRITE_TIMEOUT, False, "closed"),
        ({"idle": True, "limit": 7.0}, 7.0, False, "closed"),
        ({"idle": True, "limit": 7.0}, patience.ARRIVAL_TIMEOUT, True, "closed"),
        ({"limit": 7.0}, 7.0, False, RequestTimeout),
        ({"limit": 7.0}, 7.0, True, RequestTimeout),
    ],
)
def test_every_state_has_its_deadline(make: Any, state: dict[str, Any], limit: float, draining: bool, end: Any) -> None:
    channel = make(**state)
    patience.check_deadline(channel, 100.0 + limit, draining)
    assert channel.done == []
    patience.check_deadline(channel, 100.1 + limit, draining)
    (done,) = channel.done
    assert done == end or isinstance(done, end)


def test_without_a_deadline_a_channel_may_wait(make: Any) -> None:
    channel = make(limit=None)
    patience.check_deadline(channel, 1e9, False)
    assert channel.done == []


def test_a_request_that_has_just_come_is_not_closed(make: Any) -> None:
    channel = make(idle=True, limit=1.0)
    channel.peer.send(b"G")
    patience.check_deadline(channel, 200.0, False)
    assert channel.done == []


def test_a_body_in_the_kernel_that_goes_on_is_progress(make: Any) -> None:
    channel = make(limit=5.0, rest=SimpleNamespace(moved=lambda: 10))
    patience.check_deadline(channel, 200.0, False)
    assert (channel.done, channel.moved, channel.since) == ([], 10, 200.0)
    channel.rest = SimpleNamespace(moved=lambda: 0)
    patience.check_deadline(channel, 206.0, False)
    assert isinstance(channel.done[0], RequestTimeout)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"busy": True}, None),
        ({"busy": True, "waits": WRITE}, (Stage.READER, 3.0, 0)),
        ({"busy": True, "waits": READ, "began": 99.0, "moved": 7}, (Stage.BODY, 4.0, 7)),
        ({"lingering": True}, (Stage.GOODBYE, 3.0, 0)),
        ({"outbox": object()}, (Stage.READER, 3.0, 0)),
        ({"idle": True}, (Stage.IDLE, 3.0, 0)),
        ({"idle": True, "served": False}, (Stage.SILENT, 3.0, 0)),
        ({}, (Stage.HEAD, 3.0, 0)),
        ({"request": object(), "began": 99.0, "moved": 7}, (Stage.BODY, 4.0, 7)),
    ],
)
def test_standing(make: Any, state: dict[str, Any], expected: Any) -> None:
    assert patience.standing(make(**state), 103.0) == expected


def test_who_is_given_up_is_told_where_that_is_possible(make: Any) -> None:
    for state in ({"lingering": True}, {"outbox": object()}, {"idle": True}):
        channel = make(**state)
        patience.give_up(channel)
        assert channel.done == ["closed"]
    reading = make()
    patience.give_up(reading)
    assert isinstance(reading.done[0], RequestTimeout)
    busy = make(busy=True)
    patience.give_up(busy)
    assert busy.done == []
    assert busy.peer.recv(1) == b""  # its application will find that the peer has gone
