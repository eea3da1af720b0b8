"""Threads that share one selector driver: leader and followers, with as few hand-overs as the application allows.

One thread leads: it polls, and runs the requests it finds itself. While requests are quick nobody else wakes up, since
handing a request to another thread costs more than running it. Two things make a follower take the lead:

- *Requests have been slow lately*, more than one in five: then the leader calls a follower before it runs each one.
- *A request turns out slow*: the first follower looks every ``TICK``, and when the leader is still at the same request
  it takes over; the old leader becomes a follower when it is done.

So a quick application runs at the speed of one thread, and a slow one on all of them; a surprise costs one TICK.
Who holds ``_baton`` may poll. It is free exactly while the last leader runs a request.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import traceback
from time import monotonic
from typing import Any, Final

from gunicorn.drivers.selector import SelectorDriver

TICK: Final = 0.005  # seconds between the first follower's looks at the leader
SLOW: Final = 0.0001  # seconds from which a request counts as slow: several times what a hand-over costs
SLOW_STEP: Final = 4  # one slow request outweighs this many quick ones; a machine's hiccups stay below that
SLOW_MOST: Final = 64  # the score's upper end: after this many quick requests in a row nothing is handed over
EAGER: Final = 32  # the score from which on requests are handed over before they run
QUIET: Final = 200  # ticks without a request after which the first follower sleeps until it is called
SUPERVISE: Final = 1.0  # seconds between the main thread's looks at the crew
FAREWELL: Final = 1.0  # seconds that threads without a request have to end with the driver


class Member:
    """One thread of the crew. ``since`` is when it began what it runs now (monotonic seconds), 0.0 when nothing."""

    __slots__ = ("ident", "overdue", "since")

    def __init__(self) -> None:
        self.ident = 0
        self.since = 0.0
        self.overdue = False


class Crew:
    """Runs *driver* on *threads* threads; the calling thread, which gets the signals, supervises them."""

    def __init__(self, driver: SelectorDriver, worker: Any, threads: int) -> None:
        self._driver = driver
        self._worker = worker
        self._members = [Member() for _ in range(threads)]
        self._leader: Member | None = None
        self._baton = threading.Lock()
        self._first = threading.Lock()  # whoever holds it is the first follower; the others wait for it
        self._bell = threading.Lock()  # released to call the first follower
        self._handled = 0  # requests begun, by which a follower sees whether the leader moves
        self._score = 0  # how slow requests were lately, 0 to SLOW_MOST
        self._asleep = False

    def run(self) -> None:
        """Serve until the driver has stopped, or only requests over ``timeout`` are left."""
        nudge, nudged = os.pipe()
        os.set_blocking(nudge, False)
        self._driver.on_wakeup(nudge, lambda: _drop(nudge))
        threads = [
            threading.Thread(target=self._work, args=(member,), name=f"gunicorn-{number}", daemon=True)
            for number, member in enumerate(self._members)
        ]
        for thread in threads:
            thread.start()
        self._worker.notify()  # ready to serve
        self._supervise(threads, nudged)
        self._dismiss(threads, nudged)
        os.close(nudged)
        os.close(nudge)

    # ---------------------------------------------------------------- each thread

    def _work(self, member: Member) -> None:
        member.ident = threading.get_ident()
        while not self._driver.stopped:
            with self._first:
                if not self._take_over(member):
                    return
            self._lead(member)

    def _take_over(self, member: Member) -> bool:
        """Wait until the lead is free for the taking, and take it; False when the driver has stopped."""
        quiet = 0
        while not self._driver.stopped:
            handled = self._handled
            called = self._bell.acquire(timeout=TICK if quiet < QUIET else -1)
            if called:
                self._asleep = False
            moved = self._handled != handled
            if ((called and self._score >= EAGER) or not moved) and self._baton.acquire(blocking=False):
                self._leader = member
                return True
            quiet = 0 if moved or called else quiet + 1
            if quiet == QUIET:
                self._asleep = True
                if self._handled != handled:  # begun before it could see that it has to call
                    self._asleep, quiet = False, 0
        return False

    def _lead(self, member: Member) -> None:
        """Poll and run requests until another thread has taken the lead. Called, and looped, with the baton held."""
        driver = self._driver
        while True:
            channel = driver.next_channel()
            if channel is None:
                self._baton.release()
                self._call()
                return
            self._handled += 1
            started = member.since = monotonic()
            eager = self._score >= EAGER
            self._baton.release()
            if eager or self._asleep:
                self._call()
            try:
                channel.on_ready()
            except Exception:
                driver.log.exception("Error on the connection of %s", channel.peer)
                channel.close()
            driver.release(channel)
            member.since = 0.0
            if monotonic() - started > SLOW:
                self._score = min(self._score + SLOW_STEP, SLOW_MOST)
            elif self._score:
                self._score -= 1
            if (self._leader is not member and not eager) or not self._baton.acquire(blocking=False):
                return
            self._leader = member

    def _call(self) -> None:
        try:
            self._bell.release()
        except RuntimeError:  # it is ringing already
            pass

    # ---------------------------------------------------------------- the main thread

    def _supervise(self, threads: list[threading.Thread], nudged: int) -> None:
        worker, driver = self._worker, self._driver
        waiter = select.poll()
        for fd in (worker.wakeup_fd, worker.parent_fd):
            if fd >= 0:
                waiter.register(fd, select.POLLIN)
        draining = False
        while not driver.stopped and any(thread.is_alive() for thread in threads):
            for fd, _ in waiter.poll(SUPERVISE * 1000):
                if fd == worker.wakeup_fd:
                    worker.drain_wakeup()
                else:
                    waiter.unregister(fd)
                    worker.alive = False
            worker.notify()
            self._check_overdue(monotonic())
            if not worker.alive and not draining:
                draining = True
            if draining:
                os.write(nudged, b"\0")
                if self._only_overdue_left():
                    return

    def _dismiss(self, threads: list[threading.Thread], nudged: int) -> None:
        """Let go of the threads, but for those that are still held up by a request: nobody polls any more."""
        self._driver.stopped = True
        os.write(nudged, b"\0")
        self._call()
        deadline = monotonic() + FAREWELL
        for thread, member in zip(threads, self._members, strict=True):
            if not member.overdue or not member.since:
                thread.join(max(0.0, deadline - monotonic()))

    def _check_overdue(self, now: float) -> None:
        """A request over ``timeout`` cannot be ended without its thread: log where it is, and replace the worker."""
        limit = self._worker.cfg.timeout
        if not limit:
            return
        for member in self._members:
            if member.since and now - member.since > limit and not member.overdue:
                member.overdue = True
                frame = sys._current_frames().get(member.ident)
                stack = "".join(traceback.format_stack(frame)) if frame else ""
                self._driver.log.critical("A request runs for over %d seconds; replacing the worker.\n%s", limit, stack)
                self._worker.alive = False

    def _only_overdue_left(self) -> bool:
        overdue = sum(1 for member in self._members if member.overdue and member.since)
        return overdue > 0 and len(self._driver.channels) <= overdue


def _drop(fd: int) -> None:
    os.read(fd, 64)
