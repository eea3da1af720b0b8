"""The master's loop in this process: readiness, deferred calls, signals, and errors of callbacks."""

import os
import selectors
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from gunicorn.supervision.loop import MasterLoop


class Log:
    def __init__(self) -> None:
        self.exceptions: list[Any] = []

    def exception(self, *args: Any) -> None:
        self.exceptions.append(args)


@pytest.fixture
def loop() -> Iterator[MasterLoop]:
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGUSR1, signal.SIGUSR2)}
    made = MasterLoop(Log())
    yield made
    made.close()
    for signum, handler in before.items():
        signal.signal(signum, handler)


def test_callbacks_get_the_mask_and_follow_modify_and_unregister(loop: MasterLoop) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        seen: list[int] = []
        loop.register(ours, selectors.EVENT_READ, seen.append)
        assert loop.turn(0.0) == []
        assert seen == []
        theirs.send(b"x")
        loop.turn(5.0)
        assert seen == [selectors.EVENT_READ]
        loop.modify(ours, selectors.EVENT_WRITE)
        loop.turn(5.0)
        assert seen[1:] == [selectors.EVENT_WRITE]
        loop.unregister(ours)
        loop.turn(0.0)
        assert len(seen) == 2


def test_an_exception_of_a_callback_is_logged_and_hurts_nobody_else(loop: MasterLoop) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        seen: list[int] = []

        def fail(mask: int) -> None:
            raise LookupError("mine")

        loop.register(ours, selectors.EVENT_WRITE, fail)
        loop.register(theirs, selectors.EVENT_WRITE, seen.append)
        loop.turn(0.0)
        assert seen == [selectors.EVENT_WRITE]
        assert len(loop.log.exceptions) == 1
        loop.unregister(ours)
        loop.unregister(theirs)


def test_deferred_calls_run_in_the_next_turn_without_waiting(loop: MasterLoop) -> None:
    seen: list[str] = []

    def first() -> None:
        seen.append("first")
        loop.call_soon(lambda: seen.append("second"))

    loop.call_soon(first)
    start = time.monotonic()
    loop.turn(30.0)
    assert seen == ["first"]
    loop.turn(30.0)
    assert seen == ["first", "second"]
    assert time.monotonic() - start < 10


def test_signals_come_in_order_and_end_the_wait(loop: MasterLoop) -> None:
    loop.catch([signal.SIGUSR1, signal.SIGUSR2])
    threading.Timer(0.0, os.kill, (os.getpid(), signal.SIGUSR1)).start()
    start = time.monotonic()
    got: list[int] = []
    while not got:
        got = loop.turn(30.0)
    assert got == [signal.SIGUSR1]
    os.kill(os.getpid(), signal.SIGUSR2)
    os.kill(os.getpid(), signal.SIGUSR1)
    while len(got) < 3:
        got += loop.turn(30.0)
    assert sorted(got[1:]) == [signal.SIGUSR1, signal.SIGUSR2]
    assert time.monotonic() - start < 10


def test_closing_twice_is_harmless_and_leaves_no_wakeup_descriptor(loop: MasterLoop) -> None:
    loop.catch([signal.SIGUSR1])
    loop.close()
    loop.close()
    assert signal.set_wakeup_fd(-1) == -1


def test_its_bell_wakes_it(loop: MasterLoop) -> None:
    bell = loop.bell()
    try:
        os.write(bell, b"\0")
    finally:
        os.close(bell)
    started = time.monotonic()
    assert loop.turn(20.0) == []
    assert time.monotonic() - started < 10
