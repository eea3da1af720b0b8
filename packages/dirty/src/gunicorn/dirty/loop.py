"""The arbiter's event loop: readiness, timers and signals in one thread, made to be forked out of.

Why not asyncio: docs/decisions/0002-dirty-arbiter-is-a-selector-loop.md. `select.epoll` is used directly where there is
one, since the arbiter's time per call is mostly system calls and the dispatch around them; elsewhere `selectors` does
it.
"""

from __future__ import annotations

import heapq
import itertools
import os
import select
import selectors
import signal
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

__all__ = ["HANGUP", "READ", "WRITE", "Loop", "Timer"]

READ = 1
WRITE = 4
HANGUP = 16  # reported whether asked for or not: the peer is gone in both directions, or the descriptor is broken

_EPOLLERR = 8
_LONGEST = 86400.0  # seconds without a look at the timers
_NEVER = float("inf")


class Watched(Protocol):
    """What can be registered: a socket, or anything with these two."""

    def fileno(self) -> int: ...

    def close(self) -> None: ...


class Timer:
    """A callback at a time; :meth:`cancel` it any time."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class _SelectorPoller:
    """`selectors` behind the three calls of `select.epoll` that the loop uses."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._idle: set[int] = set()  # registered for hang-ups only, which selectors cannot express

    def register(self, fd: int, events: int) -> None:
        if events:
            self._selector.register(fd, self._wanted(events))
        else:
            self._idle.add(fd)

    def modify(self, fd: int, events: int) -> None:
        self.unregister(fd)
        self.register(fd, events)

    def unregister(self, fd: int) -> None:
        if fd in self._idle:
            self._idle.discard(fd)
        else:
            self._selector.unregister(fd)

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        return [
            (key.fd, (READ if ready & selectors.EVENT_READ else 0) | (WRITE if ready & selectors.EVENT_WRITE else 0))
            for key, ready in self._selector.select(timeout)
        ]

    def close(self) -> None:
        self._selector.close()

    @staticmethod
    def _wanted(events: int) -> int:
        return (selectors.EVENT_READ if events & READ else 0) | (selectors.EVENT_WRITE if events & WRITE else 0)


class Loop:
    """One per process. Handlers are called as `handler(events)` with a mask of READ, WRITE and HANGUP.

    An exception that a handler or a timer does not expect ends :meth:`run`, unless the object whose method it is has a
    method `on_error`: then that is called, from within the `except`, and the loop goes on.

    :ivar now: the monotonic time at which the handlers of this round began; timers and deadlines are reckoned from it
    """

    def __init__(self, *, epoll: bool = hasattr(select, "epoll")) -> None:
        self._poller: Any = select.epoll() if epoll else _SelectorPoller()  # type: ignore[attr-defined,unused-ignore]
        self._handlers: dict[int, tuple[Callable[[int], None], Watched]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._count = itertools.count()
        self._running = False
        self._wakeup: tuple[int, int] | None = None
        self._signals: dict[int, Callable[[], None]] = {}
        self._previous: dict[int, Any] = {}
        self.now = time.monotonic()

    # Descriptors

    def register(self, watched: Watched, events: int, handler: Callable[[int], None]) -> None:
        fd = watched.fileno()
        self._poller.register(fd, events)
        self._handlers[fd] = (handler, watched)

    def modify(self, watched: Watched, events: int) -> None:
        self._poller.modify(watched.fileno(), events)

    def unregister(self, watched: Watched) -> None:
        """To be called before the descriptor is closed. One that is not registered is no error."""
        fd = watched.fileno()
        if self._handlers.pop(fd, None) is not None:
            self._poller.unregister(fd)

    # Timers

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call `callback()` at monotonic time `when` (seconds)."""
        timer = Timer(when, callback)
        self._push(timer)
        return timer

    def _push(self, timer: Timer) -> None:
        # What is further away is looked at again on the way: poll() takes no more than 24 days.
        when = min(timer.when, self.now + _LONGEST)
        heapq.heappush(self._timers, (when, next(self._count), timer))

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        return self.call_at(time.monotonic() + delay, callback)

    # Signals

    def on_signals(self, handlers: dict[int, Callable[[], None]]) -> None:
        """Call these from the loop when their signals have come. Main thread only; once per loop."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        self._wakeup = (reader, writer)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self._signals = handlers
        for number in handlers:
            self._previous[number] = signal.signal(number, _noticed)
        self._poller.register(reader, READ)
        self._handlers[reader] = (self._on_wakeup, _Descriptor(reader))

    def _on_wakeup(self, _events: int) -> None:
        assert self._wakeup is not None
        try:
            numbers: Iterable[int] = os.read(self._wakeup[0], 4096)
        except BlockingIOError:
            return
        for number in dict.fromkeys(numbers):
            handler = self._signals.get(number)
            if handler is not None:
                handler()

    # Running

    def run(self) -> None:
        """Dispatch until :meth:`stop`."""
        self._running = True
        self.now = now = time.monotonic()
        handlers, poll, timers, monotonic = self._handlers, self._poller.poll, self._timers, time.monotonic
        while self._running:
            if timers:  # a cancelled one at the front only wakes for nothing, once
                due = timers[0][0]
                ready = poll(due - now if due > now else 0)
            else:
                due = _NEVER
                ready = poll()
            self.now = now = monotonic()
            entry = None
            try:
                for fd, events in ready:
                    entry = handlers.get(fd)
                    if entry is not None:  # else an earlier handler of this round has closed it
                        entry[0](events if events < _EPOLLERR else events | HANGUP)
            except Exception:
                # What else was ready is reported again by the next poll.
                if entry is None or not _told(entry[0]):
                    raise
            if now >= due:
                self._run_timers()

    def stop(self) -> None:
        self._running = False

    def _run_timers(self) -> None:
        while self._timers and self._timers[0][0] <= self.now:
            timer = heapq.heappop(self._timers)[2]
            if timer.callback is None:
                continue
            if timer.when > self.now:
                self._push(timer)
            else:
                try:
                    timer.callback()
                except Exception:
                    if not _told(timer.callback):
                        raise

    # Ends

    def close(self) -> None:
        """Give back signals and the loop's own descriptors; registered objects stay their owners'."""
        if self._wakeup is not None:
            signal.set_wakeup_fd(-1)
            for number, previous in self._previous.items():
                signal.signal(number, signal.SIG_DFL if previous is None else previous)
            for fd in self._wakeup:
                os.close(fd)
            self._wakeup = None
        self._poller.close()
        self._handlers.clear()

    def forked(self) -> None:
        """In a forked child: close everything that is registered here, so that only the parent holds it; signals to
        default."""
        signal.set_wakeup_fd(-1)
        for number in self._signals:
            signal.signal(number, signal.SIG_DFL)
        for _handler, watched in list(self._handlers.values()):
            watched.close()
        if self._wakeup is not None:
            os.close(self._wakeup[1])
        self._poller.close()
        self._handlers.clear()
        self._timers.clear()


class _Descriptor:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        os.close(self._fd)


def _told(callback: Callable[..., None] | None) -> bool:
    """Tell the object whose method has failed, if it wants to know; False otherwise."""
    on_error = getattr(getattr(callback, "__self__", None), "on_error", None)
    if on_error is None:
        return False
    on_error()
    return True


def _noticed(_number: int, _frame: Any) -> None:
    """Python runs this after the C handler has written to the wake-up pipe, which is what the loop reads."""
