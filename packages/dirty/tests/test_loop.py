"""The event loop, on epoll and on `selectors`."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from gunicorn.dirty.loop import HANGUP, READ, WRITE, Loop


@pytest.fixture(params=[True, False], ids=["epoll", "selectors"])
def loop(request: pytest.FixtureRequest) -> Iterator[Loop]:
    if request.param and not hasattr(select, "epoll"):
        pytest.skip("no epoll here")
    made = Loop(epoll=request.param)
    made.call_later(20, lambda: pytest.fail("the loop was not stopped"))
    yield made
    made.close()


def test_readiness(loop: Loop) -> None:
    left, right = socket.socketpair()
    seen: list[int] = []

    def handler(events: int) -> None:
        seen.append(events)
        if events & READ:
            assert right.recv(10) == b"x"
            loop.stop()
        elif len(seen) == 1:
            loop.modify(right, READ)
            left.send(b"x")

    loop.register(right, WRITE, handler)
    loop.run()
    assert seen == [WRITE, READ]
    loop.unregister(right)
    loop.unregister(right)
    left.close()
    right.close()


def test_a_descriptor_that_is_not_read_tells_its_hangup_on_epoll() -> None:
    if not hasattr(select, "epoll"):
        pytest.skip("no epoll here")
    loop = Loop()
    left, right = socket.socketpair()
    seen: list[int] = []

    def handler(events: int) -> None:
        seen.append(events)
        loop.stop()

    loop.register(right, 0, handler)
    left.close()
    loop.run()
    assert seen[0] & HANGUP
    loop.unregister(right)
    right.close()
    loop.close()


def test_nothing_is_called_for_a_descriptor_that_is_paused(loop: Loop) -> None:
    left, right = socket.socketpair()
    loop.register(right, READ, lambda _: pytest.fail("it is paused"))
    loop.modify(right, 0)
    left.send(b"x")
    loop.call_later(0.05, loop.stop)
    loop.run()
    loop.unregister(right)
    left.close()
    right.close()


def test_a_handler_that_an_earlier_one_took_away_is_not_called(loop: Loop) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    called = []

    def handler(index: int) -> None:
        called.append(index)
        loop.unregister(pairs[1 - index][1])
        loop.stop()

    for index, (left, right) in enumerate(pairs):
        left.send(b"x")
        loop.register(right, READ, lambda _, index=index: handler(index))  # type: ignore[misc]
    loop.run()
    assert len(called) == 1
    loop.unregister(pairs[called[0]][1])
    for pair in pairs:
        for sock in pair:
            sock.close()


def test_timers_run_in_order_and_can_be_cancelled(loop: Loop) -> None:
    order: list[str] = []
    begun = time.monotonic()
    loop.call_later(0.06, lambda: order.append("third"))
    loop.call_later(0.02, lambda: order.append("first"))
    loop.call_later(0.02, lambda: order.append("second"))
    loop.call_later(0.03, lambda: order.append("never")).cancel()
    loop.call_at(begun + 0.08, loop.stop)
    loop.run()
    assert order == ["first", "second", "third"]
    assert loop.now >= begun + 0.08


@pytest.mark.parametrize("epoll", [True, False])
def test_timers_may_be_far_away(epoll: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Further than poll() can wait for, which is 24 days; on the way they are looked at now and then."""
    loop = Loop(epoll=epoll)
    called: list[str] = []
    number = signal.SIGUSR2
    loop.on_signals({number: loop.stop})
    try:
        for delay in (30 * 86400, 1e300, float("inf")):
            loop.call_later(delay, lambda: called.append("far too early"))
            os.kill(os.getpid(), number)
            loop.run()
        monkeypatch.setattr("gunicorn.dirty.loop._LONGEST", 0.01)
        soon = loop.now + 0.05
        loop.call_at(soon, loop.stop)  # is looked at four times before
        loop.run()
        assert loop.now >= soon
    finally:
        loop.close()
    assert called == []


def test_signals_arrive_in_the_loop_and_handlers_are_given_back(loop: Loop) -> None:
    before = signal.getsignal(signal.SIGUSR2)
    seen: list[str] = []

    def handler() -> None:
        seen.append("usr2")
        loop.stop()

    loop.on_signals({signal.SIGUSR2: handler})
    loop.call_later(0.01, lambda: os.kill(os.getpid(), signal.SIGUSR2))
    loop.run()
    assert seen == ["usr2"]
    loop.close()
    assert signal.getsignal(signal.SIGUSR2) == before
    loop._poller = Loop()._poller  # what the fixture closes


def test_a_forked_child_gives_back_what_is_the_parents(loop: Loop) -> None:
    left, right = socket.socketpair()
    loop.register(right, READ, lambda _: None)
    loop.on_signals({signal.SIGUSR2: loop.stop})
    number = right.fileno()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            loop.forked()
            assert right.fileno() == -1
            try:
                os.fstat(number)
            except OSError:
                code = 0 if signal.getsignal(signal.SIGUSR2) is signal.SIG_DFL else 2
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    left.send(b"x")
    loop.unregister(right)
    left.close()
    right.close()


class _Owner:
    def fail(self, _events: int) -> None:
        raise ValueError("of a handler")

    def fail_late(self) -> None:
        raise ValueError("of a timer")


class _Caring(_Owner):
    """Notes what it is told and ends its registration, as connections do."""

    def __init__(self, end: Callable[[], None]) -> None:
        self.end = end
        self.errors: set[str] = set()

    def on_error(self) -> None:
        self.errors.add(str(sys.exc_info()[1]))
        self.end()


def test_an_exception_is_told_to_the_object_whose_method_raised_it_and_the_loop_goes_on(loop: Loop) -> None:
    pairs = [socket.socketpair() for _ in range(3)]
    ends = [right for _, right in pairs]
    seen: list[bytes] = []
    owner = _Caring(lambda: loop.unregister(ends[1]))

    def read(end: socket.socket) -> None:
        seen.append(end.recv(1))
        if len(seen) == 2:
            loop.call_later(0, owner.fail_late)
            loop.call_later(0, loop.stop)

    for left, _ in pairs:
        left.send(b"x")
    loop.register(ends[0], READ, lambda _: read(ends[0]))
    loop.register(ends[1], READ, owner.fail)
    loop.register(ends[2], READ, lambda _: read(ends[2]))
    loop.run()
    assert owner.errors == {"of a handler", "of a timer"}
    for pair in pairs:
        for end in pair:
            end.close()


def test_an_exception_that_nobody_wants_to_know_ends_the_loop(loop: Loop) -> None:
    owner, (left, right) = _Owner(), socket.socketpair()
    loop.call_later(0, owner.fail_late)
    with pytest.raises(ValueError, match="of a timer"):
        loop.run()
    left.send(b"x")
    loop.register(right, READ, owner.fail)
    with pytest.raises(ValueError, match="of a handler"):
        loop.run()
    left.close()
    right.close()
