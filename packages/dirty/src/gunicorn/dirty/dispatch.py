"""The rules for calls: who may run, how long, and what everybody is told when it goes wrong. Used by the arbiter.

Joins the schedule (pure) with the connections (caller, link). It knows processes only by what it has to tell the
supervisor: that one has nothing left to do, broke the protocol, or hangs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from . import commands
from .call import PoolCall, ReceiveBuffer
from .errors import (
    DirtyAppNotFoundError,
    DirtyError,
    DirtyNoWorkersAvailableError,
    DirtyOverloadedError,
    DirtyTimeoutError,
)
from .link import SlotLink
from .loop import Loop, Timer
from .process import ProcessState
from .scheduler import NoWorkers, QueueFull, Scheduler, UnknownApp
from .wire import Routes

if TYPE_CHECKING:
    from .arbiter import DirtyArbiter
    from .caller import Caller
    from .process import WorkerProcess

__all__ = ["Dispatcher"]


class Dispatcher:
    """What connections call of the arbiter.

    :ivar timeout: `dirty_timeout` in seconds, 0 is never
    :ivar cancel_grace: seconds that an ended call has before its worker is replaced
    :ivar callers: the open connections
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
        self.stopping = False
        self.next_call_id: Callable[[], int] = itertools.count(1).__next__
        self._deadline_timer: Timer | None = None

    # From connections

    def caller_gone(self, caller: Caller) -> None:
        self.callers.discard(caller)
        if self.stopping:
            self.arbiter.stop_when_idle()

    def command(self, caller: Caller, kind: int, request_id: int, payload: bytes) -> None:
        """A message that is for the arbiter itself."""
        caller.send_frame(commands.answer(self.arbiter, kind, request_id, payload))

    def worker_broken(self, process: WorkerProcess, reason: str) -> None:
        self.arbiter.supervisor.broken(process, reason)

    def submit(self, call: PoolCall) -> SlotLink | None:
        """Schedule the call. Returns where to send it, None when it waits.

        :raises DirtyAppNotFoundError, DirtyNoWorkersAvailableError, DirtyOverloadedError: it cannot be run
        """
        now = self.loop.now
        if self.timeout:
            call.deadline = now + self.timeout
            if self._deadline_timer is None:
                self._watch_deadlines()
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
            raise self._no_workers(call.app) from None
        except QueueFull:
            count = self.scheduler.queued(call.app)
            raise DirtyOverloadedError(
                call.app, f"{count} calls wait for {call.app} already (dirty_queue_size); try again later"
            ) from None
        if slot is None:
            return None
        assert isinstance(slot, SlotLink)
        call.started = now
        slot.used += 1
        return slot

    def finished(self, link: SlotLink) -> None:
        """The link's call has had its last frame."""
        call = link.call
        assert isinstance(call, PoolCall)
        caller = call.caller
        if caller is not None:
            caller.calls.pop(call.caller_id, None)
            caller.release(link)
            call.caller = None
        if call.body_left:
            if caller is not None:
                caller.forget_body(call)
            self.worker_broken(link.process, f"slot {link.index} answered a request that had not come whole")
            return
        if link.ending:
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

    def abandon(self, call: PoolCall) -> None:
        """The caller no longer wants the call."""
        caller = call.caller
        if caller is not None:
            caller.calls.pop(call.caller_id, None)
        if self.scheduler.drop(call):
            if caller is not None:
                caller.forget_body(call)
            call.held = None
        elif isinstance(call.slot, SlotLink):
            self._end(call.slot, call)

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
        call = link.call
        assert isinstance(call, PoolCall)
        call.started = self.loop.now
        if self.timeout:
            call.deadline = self.loop.now + self.timeout
        link.used += 1
        link.start(call)

    def lose(self, process: WorkerProcess, error: DirtyError) -> None:
        """The process is dead: what it had still sent counts, the calls without an answer fail, and it leaves the
        schedule."""
        for link in process.links:
            while link.call is not None and not link.ending and link.read():
                pass
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

    def _no_workers(self, app: str) -> DirtyNoWorkersAvailableError:
        reason = self.arbiter.supervisor.why_not(app)
        return DirtyNoWorkersAvailableError(
            app, f"No workers available for dirty app: {app}" + (f" ({reason})" if reason else "")
        )

    def _end(self, link: SlotLink, call: PoolCall) -> None:
        if not link.ending:
            link.end(call)

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

    def _watch_deadlines(self) -> None:
        # Calls are many and slots few: running calls are looked at all together now and then, none has a timer.
        pause = min(0.5, max(0.02, self.timeout / 10))
        self._deadline_timer = self.loop.call_later(pause, self._check_deadlines)

    def _check_deadlines(self) -> None:
        self._deadline_timer = None
        now = self.loop.now
        text = f"no answer within {self.timeout:g} seconds (dirty_timeout)"
        for waiting in self.scheduler.expire(now):
            assert isinstance(waiting, PoolCall)
            self._fail(
                waiting, DirtyTimeoutError(f"{waiting.app} {waiting.action}, in the queue: {text}", self.timeout)
            )
        busy = False
        for process in list(self.arbiter.supervisor.processes.values()):
            for link in process.busy:
                busy = True
                call = link.call
                assert isinstance(call, PoolCall)
                if not link.ending and call.deadline is not None and call.deadline <= now:
                    self.arbiter.log.warning(
                        "Dirty worker %d (pid %d): %s of %s: %s",
                        process.number,
                        process.pid,
                        call.action,
                        call.app,
                        text,
                    )
                    self._fail(call, DirtyTimeoutError(f"{call.app} {call.action}: {text}", self.timeout))
                    self._end(link, call)
        if self.timeout and (busy or self.scheduler.waiting):
            self._watch_deadlines()
