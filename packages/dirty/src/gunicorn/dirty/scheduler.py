"""Which call runs in which slot, and who waits: a pure module. No I/O and no clock; `now` is passed in. Used by the
arbiter.

A *member* is a worker as the schedule sees it: the apps it has, whether it is loading, ready or draining, and its
slots. A *slot* runs one call at a time. A call goes to an idle slot of the least busy ready member that has its app,
or waits in its app's bounded queue; a slot that becomes free takes the call that has waited longest among those its
member can run. So while a call of an app waits, no ready member of that app has an idle slot.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable

__all__ = ["Call", "Member", "MemberState", "NoWorkers", "QueueFull", "Scheduler", "Slot", "UnknownApp"]


class UnknownApp(LookupError):
    """The app is not one of the pool's."""


class NoWorkers(Exception):
    """No member has the app, loading ones included."""


class QueueFull(Exception):
    """The app's queue is at its bound."""


class MemberState(enum.Enum):
    LOADING = "loading"  # is starting, or waits to be started again
    READY = "ready"
    DRAINING = "draining"  # finishes what it runs and takes nothing new


class Call:
    """A request on its way. The arbiter derives its own from it.

    :ivar app: path of the app
    :ivar deadline: when it stops waiting in the queue (same clock as `now`; None is never); the arbiter's own use
        once it runs
    :ivar slot: where it runs, or None
    :ivar queued: whether it waits
    """

    __slots__ = ("app", "deadline", "order", "queued", "slot")

    def __init__(self, app: str, deadline: float | None = None) -> None:
        self.app = app
        self.deadline = deadline
        self.slot: Slot | None = None
        self.queued = False
        self.order = 0


class Slot:
    """One unit of concurrency of a member. The arbiter derives its own from it.

    :ivar call: what it runs, or None when idle
    """

    __slots__ = ("call", "member")

    def __init__(self, member: Member) -> None:
        self.member = member
        self.call: Call | None = None


class Member:
    """A worker in the schedule. `apps` are the paths of the apps it has or is loading."""

    __slots__ = ("apps", "busy", "idle", "slots", "state")

    def __init__(self, apps: Iterable[str]) -> None:
        self.apps = tuple(apps)
        self.state = MemberState.LOADING
        self.slots: tuple[Slot, ...] = ()
        self.idle: list[Slot] = []
        self.busy = 0


class _Queue:
    __slots__ = ("calls", "length", "members")

    def __init__(self) -> None:
        self.calls: deque[Call] = deque()  # with calls that no longer wait in between, skipped when met
        self.length = 0
        self.members: list[Member] = []

    def head(self) -> Call | None:
        calls = self.calls
        while calls:
            if calls[0].queued:
                return calls[0]
            calls.popleft()
        return None


class Scheduler:
    """The schedule of a pool.

    :param queue_size: how many calls may wait per app; 0 is no bound
    """

    def __init__(self, queue_size: int = 0) -> None:
        self.queue_size = queue_size
        self.waiting = 0
        self._queues: dict[str, _Queue] = {}
        self._order = 0

    # Apps and members

    def set_apps(self, paths: Iterable[str]) -> list[Call]:
        """Make these the pool's apps. Returns the waiting calls of apps that are no longer among them, taken out."""
        stranded: list[Call] = []
        wanted = dict.fromkeys(paths)
        for path in [path for path in self._queues if path not in wanted]:
            stranded += self._empty(self._queues.pop(path))
        for path in wanted:
            self._queues.setdefault(path, _Queue())
        return stranded

    @property
    def apps(self) -> list[str]:
        return list(self._queues)

    def queued(self, app: str) -> int:
        """How many calls wait for `app`; 0 for an unknown one."""
        queue = self._queues.get(app)
        return queue.length if queue else 0

    def add(self, member: Member) -> None:
        """A member is being started: calls for its apps may wait for it from now on."""
        for path in member.apps:
            queue = self._queues.get(path)
            if queue is not None:
                queue.members.append(member)

    def ready(self, member: Member, slots: Iterable[Slot]) -> list[Slot]:
        """The member has loaded its apps and runs these slots. Returns the slots that got a waiting call
        (`slot.call`)."""
        member.state = MemberState.READY
        member.slots = tuple(slots)
        member.idle = list(reversed(member.slots))
        assigned = []
        while member.idle:
            call = self._next_for(member)
            if call is None:
                break
            slot = self._assign(member, call)
            assigned.append(slot)
        return assigned

    def drain(self, member: Member) -> None:
        """The member finishes what it runs and gets nothing more; calls no longer wait for it."""
        member.state = MemberState.DRAINING

    def remove(self, member: Member) -> tuple[list[Call], list[Call]]:
        """The member is gone. Returns the calls that it ran, and the waiting calls that nobody is left to run."""
        running = []
        for slot in member.slots:
            if slot.call is not None:
                running.append(slot.call)
                slot.call.slot = None
                slot.call = None
        member.state, member.slots, member.idle, member.busy = MemberState.DRAINING, (), [], 0
        stranded: list[Call] = []
        for path in member.apps:
            queue = self._queues.get(path)
            if queue is not None and member in queue.members:
                queue.members.remove(member)
                if not queue.members:
                    stranded += self._empty(queue)
        return running, stranded

    # Calls

    def submit(self, call: Call) -> Slot | None:
        """Give the call a slot (returned; it is `call.slot` too) or let it wait (None).

        :raises UnknownApp: not one of the pool's apps
        :raises NoWorkers: no member has the app or is loading it
        :raises QueueFull: too many wait already
        """
        queue = self._queues.get(call.app)
        if queue is None:
            raise UnknownApp(call.app)
        best: Member | None = None
        hopeless = True
        for member in queue.members:
            if member.state is MemberState.DRAINING:
                continue
            hopeless = False
            if member.idle and member.state is MemberState.READY and (best is None or member.busy < best.busy):
                best = member
        if best is not None:
            slot = best.idle.pop()
            best.busy += 1
            slot.call = call
            call.slot = slot
            return slot
        if hopeless:
            raise NoWorkers(call.app)
        if self.queue_size and queue.length >= self.queue_size:
            raise QueueFull(call.app)
        self._order += 1
        call.order = self._order
        call.queued = True
        queue.calls.append(call)
        queue.length += 1
        self.waiting += 1
        return None

    def release(self, slot: Slot) -> Call | None:
        """The slot's call has ended. Returns the waiting call that the slot runs now, or None when it is idle."""
        member = slot.member
        call = slot.call
        if call is not None:
            call.slot = None
            slot.call = None
        member.busy -= 1
        member.idle.append(slot)
        if not self.waiting or member.state is not MemberState.READY:
            return None
        following = self._next_for(member)
        if following is not None:
            self._assign(member, following)
        return following

    def drop(self, call: Call) -> bool:
        """The call no longer wants to wait. Returns False when it did not wait."""
        if not call.queued:
            return False
        self._unqueue(call, self._queues[call.app])
        return True

    def expire(self, now: float) -> list[Call]:
        """Take out and return the waiting calls whose deadline is reached. It looks at all that wait."""
        expired = [
            call
            for queue in self._queues.values()
            for call in queue.calls
            if call.queued and call.deadline is not None and call.deadline <= now
        ]
        for call in expired:
            self._unqueue(call, self._queues[call.app])
        return expired

    # Inside

    def _assign(self, member: Member, call: Call) -> Slot:
        slot = member.idle.pop()
        member.busy += 1
        slot.call = call
        call.slot = slot
        return slot

    def _next_for(self, member: Member) -> Call | None:
        if not self.waiting:
            return None
        best: Call | None = None
        for path in member.apps:
            queue = self._queues.get(path)
            head = queue.head() if queue is not None and queue.length else None
            if head is not None and (best is None or head.order < best.order):
                best = head
        if best is not None:
            self._unqueue(best, self._queues[best.app])
        return best

    def _unqueue(self, call: Call, queue: _Queue) -> None:
        call.queued = False
        queue.length -= 1
        self.waiting -= 1
        if len(queue.calls) > 2 * queue.length + 64:
            queue.calls = deque(call for call in queue.calls if call.queued)

    def _empty(self, queue: _Queue) -> list[Call]:
        calls = [call for call in queue.calls if call.queued]
        for call in calls:
            self._unqueue(call, queue)
        return calls
