"""Threads that share one selector driver: leader and followers, with as few hand-overs as the application allows.

One thread leads: it polls, and runs the requests it finds itself. While requests are quick nobody else wakes up, since
handing a request to another thread costs more than running it. Two things make a follower take the lead:

- *Requests have been slow lately*, more than one in five: then the leader calls a follower before it runs each one
  (but now and then one, since the wakened thread itself makes requests slower).
- *A request turns out slow*: the first follower looks every ``TICK``, and when the leader is still at the same request
  it takes over; the old leader becomes a follower when it is done.

So a quick application runs at the speed of one thread, and a slow one on all of them; a surprise costs one TICK.
Who holds ``_baton`` may poll. It is free exactly while the last leader runs a request.

``threads`` are places, not threads. One that has to wait for its client (``wait``) leaves its place vacant until nobody
else is free to poll; then another thread gets it, which leads, follows and runs requests in its stead. When the client
is ready and the place is gone, the first of the others that can do without its own gives it back: a follower, a leader
that only polls, or whoever has just ended a request. So there are never more than ``threads`` requests in application
code, and slow clients cost a sleeping thread each, at most one for each connection.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import traceback
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gunicorn.drivers.channel import Channel
    from gunicorn.drivers.selector import SelectorDriver
    from gunicorn.drivers.sender import Sender

TICK: Final = 0.005  # seconds between the first follower's looks at the leader
SLOW: Final = 0.0001  # seconds from which a request counts as slow: several times what a hand-over costs
SLOW_STEP: Final = 4  # one slow request outweighs this many quick ones; a machine's hiccups stay below that
SLOW_MOST: Final = 64  # the score's upper end: after this many quick requests in a row nothing is handed over
EAGER: Final = 32  # the score from which on requests are handed over before they run
PROBE: Final = 64  # one of so many requests is not handed over, to see whether it is slow by itself
QUIET: Final = 200  # ticks without a request after which the first follower sleeps until it is called
SUPERVISE: Final = 1.0  # seconds between the main thread's looks at the crew
FAREWELL: Final = 1.0  # seconds that threads without a request have to end with the driver
GRACE: Final = 0.002  # seconds that a thread waits for its client before it gives up its place
STAND_IN: Final = 0.02  # seconds between looks whether all places are taken, where there is a health path
SPARE: Final = 10.0  # seconds that a thread without a place waits for one before it ends


class Member:
    """One thread of the crew. ``since`` is when it began what it runs now (monotonic seconds), 0.0 when nothing; later
    by what that has waited for its client. ``channel`` is whose request that is.
    """

    __slots__ = ("channel", "ident", "overdue", "since", "thread", "turn")

    def __init__(self) -> None:
        self.ident = 0
        self.since = 0.0
        self.channel: Channel | None = None
        self.overdue = False
        self.thread: threading.Thread | None = None
        self.turn = threading.Lock()  # released to give it a place that it waits for
        self.turn.acquire()


class Crew:
    """Runs *driver* on *threads* places; the calling thread, which gets the signals, supervises them."""

    def __init__(self, driver: SelectorDriver, worker: Any, threads: int) -> None:
        self._driver = driver
        self._worker = worker
        self._places = threads
        self._members: dict[int, Member] = {}  # by the idents of their threads, spare ones included
        self._started = 0  # threads, for their names
        self._leader: Member | None = None
        self._baton = threading.Lock()
        self._first = threading.Lock()  # whoever holds it is the first follower; the others wait for it
        self._bell = threading.Lock()  # released to call the first follower
        self._handled = 0  # requests begun, by which a follower sees whether the leader moves
        self._score = 0  # how slow requests were lately, 0 to SLOW_MOST
        self._asleep = False
        self._giving = threading.Lock()  # for the next three
        self._returning: deque[Member] = deque()  # whose clients are ready, and who wait for a place
        self._spares: list[Member] = []  # who have no place
        self._vacant = 0  # places that nobody has, while their threads wait for clients
        self._nudge, self._nudged = os.pipe()  # wakes the leader out of its poll
        self._end, self._ended = os.pipe()  # closed at its writing end to wake all who wait for clients
        os.set_blocking(self._nudge, False)
        os.set_blocking(self._nudged, False)
        driver.room = None  # a body may be read while it arrives, since waiting for it holds nothing up
        driver.wait = self.wait

    def run(self) -> None:
        """Serve until the driver has stopped, or only requests over ``timeout`` are left."""
        self._driver.on_wakeup(self._nudge, self._interrupt)
        for _ in range(self._places):
            self._start_member()
        if self._driver.health is not None:
            threading.Thread(target=self._stand_in, name="gunicorn-health", daemon=True).start()
        self._worker.notify()  # ready to serve
        self._supervise()
        self._dismiss()

    def close(self) -> None:
        """Release the pipes; after the driver, which polls one of them."""
        for fd in (self._nudge, self._nudged, self._end):
            os.close(fd)

    def _start_member(self) -> None:
        member = Member()
        self._started += 1
        member.thread = threading.Thread(
            target=self._work, args=(member,), name=f"gunicorn-{self._started - 1}", daemon=True
        )
        member.thread.start()

    # ---------------------------------------------------------------- each thread

    def _work(self, member: Member) -> None:
        member.ident = threading.get_ident()
        self._members[member.ident] = member
        try:
            while not self._driver.stopped:
                if self._returning and self._give_place(member) and not self._get_place(member):
                    return
                if self._driver.reserved_for:
                    self._push()
                with self._first:
                    leads = self._take_over(member)
                if leads:
                    self._lead(member)
        finally:
            del self._members[member.ident]

    def _take_over(self, member: Member) -> bool:
        """Wait until the lead is free for the taking, and take it; False when there is something else to look at."""
        quiet = 0
        while not self._driver.stopped and not self._returning:
            handled = self._handled
            called = self._bell.acquire(timeout=TICK if quiet < QUIET else -1)
            if called:
                self._asleep = False
                if self._returning:
                    break
            moved = self._handled != handled
            if ((called and self._score >= EAGER) or not moved) and self._baton.acquire(blocking=False):
                self._leader = member
                return True
            quiet = 0 if moved or called else quiet + 1
            if quiet == QUIET:
                self._asleep = True
                if self._handled != handled or self._returning:  # before it could be seen that there is need to call
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
            member.channel = channel
            started = member.since = monotonic()
            eager = self._score >= EAGER and self._handled % PROBE != 0
            self._baton.release()
            if self._vacant:
                self._fill()
            if eager or self._asleep:
                self._call()
            try:
                channel.on_ready()
            except BaseException:  # SystemExit too: nobody else would hear of it, and the place would be lost
                driver.fail(channel)
            driver.release(channel)
            member.since = 0.0
            if monotonic() - started > SLOW:
                self._score = min(self._score + SLOW_STEP, SLOW_MOST)
            elif self._score < EAGER or eager:
                self._score = max(0, self._score - 1)
            else:  # quick once nobody is called beside it: so it was the hand-overs that took the time
                self._score = EAGER // 2
            if self._returning or (self._leader is not member and not eager) or not self._baton.acquire(blocking=False):
                return
            self._leader = member

    def _call(self) -> None:
        try:
            self._bell.release()
        except RuntimeError:  # it is ringing already
            pass

    def _stand_in(self) -> None:
        """The thread for the health path: it polls while all places are taken, and holds what else comes."""
        driver = self._driver
        waiter = select.poll()
        waiter.register(self._end, select.POLLIN)
        while not waiter.poll(STAND_IN * 1000) and not driver.stopped:
            if not self._all_taken() or not self._baton.acquire(blocking=False):
                continue
            driver.reserved_for = threading.get_ident()
            held = []
            while self._all_taken() and (channel := driver.next_channel()) is not None:
                try:
                    channel.on_ready()
                except Exception:
                    driver.fail(channel)
                if channel.holds_request():
                    held.append(channel)
                else:
                    driver.release(channel)
            driver.reserved_for = 0
            driver.ready.extend(held)
            self._baton.release()
            self._call()

    def _all_taken(self) -> bool:
        return sum(1 for member in list(self._members.values()) if member.since) >= self._places

    # ---------------------------------------------------------------- waiting for a client

    def wait(self, channel: Sender, mask: int, limit: float | None) -> bool:
        """Wait until the socket of *channel* is ready for *mask*; False after *limit* seconds (None: for ever).

        Called from within application code. A wait that is not over at once takes no place away from others, and its
        time is not counted by ``timeout``.
        """
        began = monotonic()
        waiter = select.poll()
        waiter.register(channel.fd, mask)
        soon = bool(waiter.poll(GRACE * 1000))
        member = self._members.get(threading.get_ident())  # None for a thread of the application's own
        if soon:
            if member is not None:
                member.since += monotonic() - began
            return True
        if member is not None:
            spent, member.since = began - member.since, 0.0
            self._leave_place()
        waiter.register(self._end, select.POLLIN)
        left = None if limit is None else max(0.0, limit - GRACE) * 1000
        ready = bool(waiter.poll(left)) and not self._driver.stopped
        if member is not None:
            member.since = monotonic() - spent  # already now: _fill() must not take it for somebody who could poll
            self._return(member)
            member.since = monotonic() - spent
        return ready

    def _leave_place(self) -> None:
        """Give one's place to who waits for one, or leave it vacant, for oneself or who else needs one first."""
        with self._giving:
            if self._returning:
                self._returning.popleft().turn.release()
                return
            self._vacant += 1
        self._fill()

    def _fill(self) -> None:
        """When all who have a place run requests, give a vacant one to a spare thread or a new one: somebody has to
        poll. Not before, since every change of threads costs more than a quick request.
        """
        with self._giving:
            busy = sum(1 for member in list(self._members.values()) if member.since)
            if self._vacant <= 0 or busy < self._places - self._vacant:
                return
            self._vacant -= 1
            if self._spares:
                self._spares.pop().turn.release()
                return
            try:
                self._start_member()
            except RuntimeError:  # the system has no room for a thread
                self._vacant += 1

    def _return(self, member: Member) -> None:
        """Get a place again, as soon as one can be had."""
        with self._giving:
            if self._vacant > 0 or self._driver.stopped:
                self._vacant -= 1
                return
            self._returning.append(member)
        self._call()
        self._push()
        member.turn.acquire()

    def _give_place(self, member: Member) -> bool:
        """Give one's place to the first who waits for one; False when nobody does any more."""
        with self._giving:
            if not self._returning:
                return False
            self._spares.append(member)
            self._returning.popleft().turn.release()
        return True

    def _get_place(self, member: Member) -> bool:
        """Wait for a place, as a spare thread; False when it was not needed for long, and shall end."""
        if member.turn.acquire(timeout=SPARE):
            return True
        with self._giving:
            if member in self._spares:
                self._spares.remove(member)
                return False
        member.turn.acquire()  # it was given one at the last moment
        return True

    def _push(self) -> None:
        """Make the leader come out of its poll."""
        try:
            os.write(self._nudged, b"\0")
        except BlockingIOError:  # it is about to
            pass

    def _interrupt(self) -> None:
        os.read(self._nudge, 4096)
        self._driver.interrupted = True

    # ---------------------------------------------------------------- the main thread

    def _supervise(self) -> None:
        worker, driver = self._worker, self._driver
        waiter = select.poll()
        for fd in (worker.wakeup_fd, worker.parent_fd):
            if fd >= 0:
                waiter.register(fd, select.POLLIN)
        while not driver.stopped:
            for fd, _ in waiter.poll(SUPERVISE * 1000):
                if fd == worker.wakeup_fd:
                    worker.drain_wakeup()
                else:
                    waiter.unregister(fd)
                    worker.alive = False
            worker.notify()
            self._check_overdue(monotonic())
            if not worker.alive:
                self._push()
                if self._only_overdue_left():
                    return

    def _dismiss(self) -> None:
        """Let go of the threads, but for those that are still held up by a request: nobody polls any more."""
        self._driver.stopped = True
        self._push()
        self._call()
        os.close(self._ended)
        with self._giving:
            for member in (*self._returning, *self._spares):
                member.turn.release()
            self._returning.clear()
            self._spares.clear()
        deadline = monotonic() + FAREWELL
        for member in list(self._members.values()):
            if member.thread is not None and not (member.overdue and member.since):
                member.thread.join(max(0.0, deadline - monotonic()))

    def _check_overdue(self, now: float) -> None:
        """A request over ``timeout`` cannot be ended without its thread: log where it is, and replace the worker.

        A response that has begun may go on for as long as it likes (server-sent events).
        """
        limit = self._worker.cfg.timeout
        if not limit:
            return
        for member in list(self._members.values()):
            if not member.since or member.overdue or now - member.since <= limit or member.channel is None:
                continue
            http = member.channel.http
            if not http.responding:
                member.overdue = True
                frame = sys._current_frames().get(member.ident)
                stack = "".join(traceback.format_stack(frame)) if frame else ""
                request = http.request
                self._worker.overran(f"{request.method} {request.uri}" if request else "a request", limit, stack)

    def _only_overdue_left(self) -> bool:
        overdue = sum(1 for member in list(self._members.values()) if member.overdue and member.since)
        return overdue > 0 and len(self._driver.channels) <= overdue
