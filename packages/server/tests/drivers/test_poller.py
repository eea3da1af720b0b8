"""The pollers: epoll, and its stand-in over the standard library, which must behave alike."""

import select
import socket
import sys
from collections.abc import Callable, Iterator

import pytest
from gunicorn.drivers.poller import EXCLUSIVE, READ, WRITE, Poller, SelectorPoller, make_poller

KINDS: list[Callable[[], Poller]] = [make_poller, SelectorPoller]


@pytest.fixture(params=KINDS, ids=["best", "selectors"])
def poller(request: pytest.FixtureRequest) -> Iterator[Poller]:
    made: Poller = request.param()
    yield made
    made.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


Pair = tuple[socket.socket, socket.socket]


def test_the_best_poller_of_linux_is_epoll() -> None:
    made = make_poller()
    assert isinstance(made, select.epoll) == (sys.platform == "linux")
    made.close()


def test_readiness(poller: Poller, pair: Pair) -> None:
    ours, theirs = pair
    fd = ours.fileno()
    poller.register(fd, READ)
    assert poller.poll(0) == []
    theirs.send(b"x")
    assert poller.poll(1) == [(fd, READ)]
    poller.modify(fd, WRITE)
    assert poller.poll(1) == [(fd, WRITE)]
    poller.modify(fd, READ | WRITE)
    assert poller.poll(1) == [(fd, READ | WRITE)]


def test_readiness_is_told_until_it_is_used(poller: Poller, pair: Pair) -> None:
    ours, theirs = pair
    poller.register(ours.fileno(), READ)
    theirs.send(b"x")
    assert poller.poll(1) == poller.poll(1) != []
    ours.recv(1)
    assert poller.poll(0) == []


def test_nothing_is_told_of_a_mask_of_nothing(poller: Poller, pair: Pair) -> None:
    ours, theirs = pair
    theirs.send(b"x")
    poller.register(ours.fileno(), READ)
    poller.modify(ours.fileno(), 0)
    assert poller.poll(0) == []
    poller.modify(ours.fileno(), 0)
    poller.modify(ours.fileno(), READ)
    assert poller.poll(1) == [(ours.fileno(), READ)]


def test_a_new_descriptor_may_begin_with_nothing(poller: Poller, pair: Pair) -> None:
    ours, theirs = pair
    theirs.send(b"x")
    poller.register(ours.fileno(), 0)
    assert poller.poll(0) == []
    poller.modify(ours.fileno(), READ)
    assert poller.poll(1) == [(ours.fileno(), READ)]


def test_unregister(poller: Poller, pair: Pair) -> None:
    ours, theirs = pair
    theirs.send(b"x")
    poller.register(ours.fileno(), READ)
    poller.unregister(ours.fileno())
    assert poller.poll(0) == []
    poller.register(ours.fileno(), READ)
    assert poller.poll(1) == [(ours.fileno(), READ)]


def test_a_listener_may_be_exclusive(poller: Poller) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        poller.register(listener.fileno(), READ | EXCLUSIVE)
        with socket.create_connection(listener.getsockname()):
            assert poller.poll(1) == [(listener.fileno(), READ)]


def test_a_hang_up_is_told(poller: Poller, pair: Pair) -> None:
    ours, theirs = pair
    poller.register(ours.fileno(), READ)
    theirs.close()
    [(fd, mask)] = poller.poll(1)
    assert fd == ours.fileno()
    assert mask & READ
