"""The rules for calls: who may run, how long, and what everybody is told when it goes wrong. Used by the arbiter.

Joins the schedule (pure) with the connections (caller, link). It knows processes only by what it has to tell the
supervisor: that one has nothing left to do, broke the protocol, or hangs.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from . import commands
from .call import PoolCall, ReceiveBuffer
from .errors import (
    DirtyAppNotFoundError,
    DirtyCancelledError,
    DirtyError,
    DirtyNoWorkersAvailableError,
    DirtyOverloadedError,
    DirtyTimeoutError,
)
from .link import SlotLink
from .loop import Loop, Timer
from .process import ProcessState
from .scheduler import NoWorkers, QueueFull, Scheduler, UnknownApp
from .shared import Shares
from .stash_desk import StashDesk
from .statistics import AppStatistics
from .wire import Routes

if TYPE_CHECKING:
    from .arbiter import DirtyArbiter
    from .caller import Caller
    from .process import WorkerProcess

__all__ = ["Dispatcher"]

_GRAIN = 0.01  # seconds between two looks at the deadlines, at least


class Dispatcher:
    """What connections call of the arbiter.

    :ivar timeout: `dirty_timeout` in seconds, 0 is never
    :ivar cancel_grace: seconds that an ended call has before its worker is replaced
    :ivar callers: the open connections
    :ivar stash: answers STASH messages
    :ivar shares: the memory that connections share with the workers
    :ivar next_call_id: a new id for a call, which is the worker's name for it
    :ivar stopping: no new calls are taken
    """

    def __init__(self, arbiter: DirtyArbiter) -> None:
        self.arbiter = arbiter
        self.loop: Loop = arbiter.loop
        self.buffer = ReceiveBuffer()
        self.routes = Routes()
        self.scheduler = Scheduler(arbiter.config.queue_size)
        self.timeout = float(arbiter.config.timeout)
        self.cancel_grace = float(arbiter.config.cancel_grace)
        self.callers: set[Caller] = set()
        self.stash = StashDesk(arbiter.loop)
        self.shares = Shares(lambda: arbiter.supervisor.processes.values())  # noqa: PLW0108 (it is made later)
        self.statistics: defaultdict[str, AppStatistics] = defaultdict(AppStatistics)  # by app
        self.stopping = False
        self.next_call_id: Callable[[], int] = itertools.count(1).__next__
        self._deadlines: Timer | None = None

    # From connections

    def caller_gone(self, caller: Caller) -> None:
        self.callers.discard(caller)
        self.shares.take_back(caller)
        if self.stopping:
            self.arbiter.stop_when_idle()

    def command(self, caller: Caller, kind: int, request_id: int, payload: bytes) -> None:
        """A message that is for the arbiter itself."""
        frame = commands.answer(self.arbiter, caller, kind, request_id, payload)
        if frame is not None:
            caller.send_frame(frame)

    def cancel(self, call_id: int) -> bool:
        """End the call with this id of ours; its caller gets DirtyCancelledError. False when there is none."""
        calls = (call for caller in self.callers for call in caller.calls.values())
        call = next((call for call in calls if call.id == call_id), None)
        if call is None:
            return False
        self.arbiter.log.warning("%s of %s is cancelled by an operator", call.action, call.app)
        error = DirtyCancelledError(f"{call.action} of {call.app} was cancelled by an operator")
        self._stop(call, error, self.cancel_grace)
        return True

    def worker_broken(self, process: WorkerProcess, reason: str) -> None:
        self.arbiter.supervisor.broken(process, reason)

    def submit(self, call: PoolCall) -> SlotLink | None:
        """Schedule the call. Returns where to send it, None when it waits.

        :raises DirtyAppNotFoundError, DirtyNoWorkersAvailableError, DirtyOverloadedError: it cannot be run
        :raises DirtyTimeoutError: its deadline has passed already
        """
        now = self.loop.now
        limit = call.limit
        if limit is not None or not self.timeout:
            self._limit(call, now)
            if limit is not None and limit <= now:
                raise self._timed_out(call)
        else:  # the same, for most calls
            call.deadline = deadline = now + self.timeout
            if self._deadlines is None or deadline < self._deadlines.when:
                self._limit(call, now)
        if self.stopping:
            raise DirtyNoWorkersAvailableError(call.app, f"the pool is stopping; {call.app} takes no more calls")
        try:
            slot = self.scheduler.submit(call)
        except UnknownApp:
            known = ", ".join(self.scheduler.apps) or "none"
            raise DirtyAppNotFoundError(
                call.app, f"Dirty app not found: {call.app} (the pool has: {known}; see setting dirty_apps)"
            ) from None
        except NoWorkers:
            self.statistics[call.app].refused += 1
            raise self._no_workers(call.app) from None
        except QueueFull:
            self.statistics[call.app].refused += 1
            count = self.scheduler.queued(call.app)
            raise DirtyOverloadedError(
                call.app, f"{count} calls wait for {call.app} already (dirty_queue_size); try again later"
            ) from None
        link: SlotLink | None = slot  # type: ignore[assignment]  # the arbiter gives the schedule no other slots
        if link is not None:
            call.started = now
            link.used += 1
        return link

    def finished(self, link: SlotLink) -> None:
        """The link's call has had its last frame."""
        call: PoolCall = link.call  # type: ignore[assignment]
        caller = call.caller
        if caller is not None:
            caller.calls.pop(call.caller_id, None)
            caller.release(link)
            call.caller = None
            self.statistics[call.app].count(self.loop.now - call.arrived, link.failed)
        if call.body_left:
            if caller is not None:
                caller.forget_body(call)
            self.worker_broken(link.process, f"slot {link.index} answered a request that had not come whole")
            return
        if link.is_ending:
            link.ended()
        if not link.outbox.reading:
            link.outbox.resume()
        if self.scheduler.release(link) is not None:
            self.begin(link)
            return
        if link.process.state is ProcessState.DRAINING:
            self.arbiter.supervisor.settle(link.process)
        if self.stopping:
            self.arbiter.stop_when_idle()

    def give_up(self, call: PoolCall) -> None:
        """The client has said that it no longer wants the call; it is answered nevertheless (docs/protocol.md, 3.4)."""
        self._stop(call, DirtyCancelledError(), None)

    def abandon(self, call: PoolCall) -> None:
        """The caller is gone."""
        caller = call.caller
        if caller is not None:
            caller.calls.pop(call.caller_id, None)
        if self.scheduler.drop(call):
            if caller is not None:
                caller.forget_body(call)
            call.held = None
        elif isinstance(call.slot, SlotLink) and not call.slot.ending:
            call.slot.end(call)

    def disown(self, caller: Caller) -> None:
        """End what still runs or waits for a closed connection, which may not have come to know of it."""
        for process in self.arbiter.supervisor.processes.values():
            for link in process.busy:
                call = link.call
                if isinstance(call, PoolCall) and call.caller is caller and not link.ending:
                    link.end(call)
        for waiting in self.scheduler.first_waiting(self.scheduler.waiting):
            if isinstance(waiting, PoolCall) and waiting.caller is caller:
                self.abandon(waiting)

    def hung(self, link: SlotLink) -> None:
        """The call that the link was told to end has not ended."""
        call = link.call
        assert isinstance(call, PoolCall)
        self.arbiter.log.error(
            "Dirty worker %d (pid %d): %s of %s did not end within %g seconds of being told to; the worker is replaced",
            link.process.number, link.process.pid, call.action, call.app, self.arbiter.config.cancel_grace,
        )  # fmt: skip
        self.arbiter.supervisor.hung(link.process)

    # From the supervisor

    def begin(self, link: SlotLink) -> None:
        """The schedule gave the link a call that had waited: send it."""
        call: PoolCall = link.call  # type: ignore[assignment]
        call.started = now = self.loop.now
        self._limit(call, now)
        link.used += 1
        link.start(call)

    def lose(self, process: WorkerProcess, error: DirtyError) -> None:
        """The process is dead: what it had still sent counts, the calls without an answer fail, and it leaves the
        schedule."""
        for link in process.links:
            try:
                while link.call is not None and not link.ending and link.read():
                    pass
            except Exception:
                link.on_error()
            call = link.call
            if isinstance(call, PoolCall):
                self._fail(call, error)
        _running, stranded = self.scheduler.remove(process.member)
        self.strand(stranded)

    def strand(self, calls: Iterable[object]) -> None:
        """These waited for an app that nobody serves any more."""
        for call in calls:
            assert isinstance(call, PoolCall)
            self._fail(call, self._no_workers(call.app))

    @property
    def is_idle(self) -> bool:
        """Nothing waits, runs, or is still to be read by a client."""
        return not (
            self.scheduler.waiting
            or any(process.busy for process in self.arbiter.supervisor.processes.values())
            or any(caller.is_stalled() for caller in self.callers)
        )

    # Inside

    def _no_workers(self, app: str, reason: str = "") -> DirtyNoWorkersAvailableError:
        reason = "; ".join(filter(None, (reason, self.arbiter.supervisor.why_not(app))))
        return DirtyNoWorkersAvailableError(
            app, f"No workers available for dirty app: {app}" + (f" ({reason})" if reason else "")
        )

    def _stop(self, call: PoolCall, error: DirtyError, patience: float | None) -> None:
        """End a call that waits or runs, and tell its caller why; `patience` as for :meth:`SlotLink.end`."""
        if self.scheduler.drop(call):
            self._fail(call, error)
        elif isinstance(call.slot, SlotLink) and not call.slot.ending:
            call.slot.end(call, error, patience)

    def _fail(self, call: PoolCall, error: DirtyError) -> None:
        """Tell the caller that the call has failed, if it can still be told within its stream."""
        caller, call.caller = call.caller, None
        if caller is None:
            return
        caller.calls.pop(call.caller_id, None)
        caller.forget_body(call)
        link = call.slot
        if isinstance(link, SlotLink):
            if caller.is_inside_frame_of(link):
                caller.close()
                return
            caller.release(link)
        caller.send_error(call.caller_id, error)

    # Time. Calls are many and slots few: no call has a timer, one timer looks at all when the first deadline is due.

    def _limit(self, call: PoolCall, now: float) -> None:
        """Reckon the call's deadline anew: `dirty_timeout` from now, or the caller's own if that is sooner."""
        deadline = call.limit
        if self.timeout and (deadline is None or now + self.timeout < deadline):
            deadline = now + self.timeout
        call.deadline = deadline
        if deadline is None:
            return
        timer = self._deadlines
        if timer is None or deadline < timer.when:
            if timer is not None:
                timer.cancel()
            self._deadlines = self.loop.call_at(max(deadline, now + _GRAIN), self._check_deadlines)

    def _timed_out(self, call: PoolCall) -> DirtyError:
        """What the caller is told when the deadline has passed."""
        self.statistics[call.app].timeouts += 1
        what = f"{call.action} of {call.app}"
        if call.started is None and not self.scheduler.can_run_now(call.app):
            waited = self.loop.now - call.arrived
            return self._no_workers(call.app, f"none has been ready for {what} within {waited:.3g} seconds")
        where = ", all of them in the queue" if call.started is None else ""
        if call.limit is not None and call.deadline == call.limit:
            seconds = call.limit - call.arrived
            return DirtyTimeoutError(f"{what} took more than {seconds:.6g} seconds{where}", round(seconds, 6))
        return DirtyTimeoutError(
            f"{what}: no answer within {self.timeout:g} seconds{where} (dirty_timeout)", self.timeout
        )

    def _check_deadlines(self) -> None:
        self._deadlines = None
        now = self.loop.now
        for waiting in self.scheduler.expire(now):
            assert isinstance(waiting, PoolCall)
            self._fail(waiting, self._timed_out(waiting))
        following = self.scheduler.next_deadline()
        for process in list(self.arbiter.supervisor.processes.values()):
            for link in process.busy:
                call = link.call
                assert isinstance(call, PoolCall)
                if link.is_ending or call.deadline is None:
                    continue
                if call.deadline <= now:
                    error = self._timed_out(call)
                    self.arbiter.log.warning("Dirty worker %d (pid %d): %s", process.number, process.pid, error)
                    link.end(call, error, self.cancel_grace)
                elif following is None or call.deadline < following:
                    following = call.deadline
        if following is not None:
            self._deadlines = self.loop.call_at(max(following, now + _GRAIN), self._check_deadlines)
