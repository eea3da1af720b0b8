"""Which call runs in which slot, and who waits: a pure module. No I/O and no clock; `now` is passed in. Used by the
arbiter.

A *member* is a worker as the schedule sees it: the apps it has, whether it is loading, ready or draining, and its
slots. A *slot* runs one call at a time, of any of its member's apps or of the one app that it is reserved for. A call
goes to an idle slot of the least busy ready member that has its app, or waits in its app's bounded queue; a slot that
becomes free takes, among the calls that it can run, the one of the highest priority, and of these the one that has
waited longest. So while a call of an app waits, no ready member of that app has an idle slot for it.
"""

from __future__ import annotations

import enum
import heapq
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


_READY, _DRAINING = MemberState.READY, MemberState.DRAINING


class Call:
    """A request on its way. The arbiter derives its own from it.

    :ivar app: path of the app
    :ivar deadline: when it stops waiting in the queue (same clock as `now`; None is never); the arbiter's own use
        once it runs
    :ivar priority: calls with a higher one are taken first
    :ivar slot: where it runs, or None
    :ivar queued: whether it waits
    """

    __slots__ = ("app", "deadline", "order", "priority", "queued", "slot")

    def __init__(self, app: str, deadline: float | None = None, priority: int = 0) -> None:
        self.app = app
        self.deadline = deadline
        self.priority = priority
        self.slot: Slot | None = None
        self.queued = False
        self.order = 0


class Slot:
    """One unit of concurrency of a member. The arbiter derives its own from it.

    :ivar call: what it runs, or None when idle
    :ivar only: the app that it is reserved for, or None for all of its member's that have no slots of their own
    """

    __slots__ = ("call", "member", "only")

    def __init__(self, member: Member, only: str | None = None) -> None:
        self.member = member
        self.only = only
        self.call: Call | None = None


class Member:
    """A worker in the schedule. `apps` are the paths of the apps it has or is loading.

    :ivar busy: how many of its slots run something
    """

    __slots__ = ("_idle", "_shared", "apps", "busy", "slots", "state")

    def __init__(self, apps: Iterable[str]) -> None:
        self.apps = tuple(apps)
        self.state = MemberState.LOADING
        self.slots: tuple[Slot, ...] = ()
        self.busy = 0
        self._shared = self.apps  # those without slots of their own
        self._idle: dict[str | None, list[Slot]] = {}  # by app; the lists of apps that share slots are the same one

    def _take(self, slots: Iterable[Slot]) -> None:
        self.slots = tuple(slots)
        reserved = {slot.only for slot in self.slots if slot.only is not None}
        self._shared = tuple(app for app in self.apps if app not in reserved)
        shared = [slot for slot in reversed(self.slots) if slot.only is None]
        self._idle = {None: shared, **dict.fromkeys(self._shared, shared)}
        for app in reserved:
            self._idle[app] = [slot for slot in reversed(self.slots) if slot.only == app]

    def idle(self, app: str) -> list[Slot]:
        """Its idle slots that can run `app`."""
        return self._idle.get(app, [])

    def _apps_of(self, slot: Slot) -> tuple[str, ...]:
        return self._shared if slot.only is None else (slot.only,)


class _Queue:
    __slots__ = ("heap", "length", "members")

    def __init__(self) -> None:
        # The best first: (-priority, order, call); with calls that no longer wait among them, skipped when met.
        self.heap: list[tuple[int, int, Call]] = []
        self.length = 0
        self.members: list[Member] = []

    def head(self) -> tuple[int, int, Call] | None:
        heap = self.heap
        while heap:
            if heap[0][2].queued:
                return heap[0]
            heapq.heappop(heap)
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
        member._take(slots)
        assigned = []
        for slot in member.slots:
            if not self.waiting:
                break
            call = self._next_for(slot)
            if call is not None:
                member._idle[slot.only].remove(slot)
                self._assign(slot, call)
                assigned.append(slot)
        return assigned

    def can_run_now(self, app: str) -> bool:
        """Whether a ready member has the app, however busy."""
        queue = self._queues.get(app)
        return queue is not None and any(member.state is MemberState.READY for member in queue.members)

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
        member.state, member.busy = MemberState.DRAINING, 0
        member._take(())
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
        best_idle: list[Slot] = []
        hopeless = True
        app = call.app
        for member in queue.members:
            state = member.state
            if state is _READY:
                idle = member._idle[app]
                if idle and (best is None or member.busy < best.busy):
                    best, best_idle = member, idle
            elif state is _DRAINING:
                continue
            hopeless = False
        if best is not None:
            slot = best_idle.pop()
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
        heapq.heappush(queue.heap, (-call.priority, self._order, call))
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
        if self.waiting and member.state is _READY:
            following = self._next_for(slot)
            if following is not None:
                slot.call = following
                following.slot = slot
                return following
        member.busy -= 1
        member._idle[slot.only].append(slot)
        return None

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
            for _, _, call in queue.heap
            if call.queued and call.deadline is not None and call.deadline <= now
        ]
        for call in expired:
            self._unqueue(call, self._queues[call.app])
        return expired

    def first_waiting(self, count: int) -> list[Call]:
        """The `count` calls that are to be taken first, if slots were free for all apps alike. It looks at all that
        wait."""
        entries = (entry for queue in self._queues.values() for entry in queue.heap if entry[2].queued)
        return [call for _, _, call in heapq.nsmallest(count, entries)]

    def next_deadline(self) -> float | None:
        """The first deadline of the calls that wait, None where there is none. It looks at all that wait."""
        deadlines = (call.deadline for queue in self._queues.values() for _, _, call in queue.heap if call.queued)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    # Inside

    def _assign(self, slot: Slot, call: Call) -> None:
        slot.member.busy += 1
        slot.call = call
        call.slot = slot

    def _next_for(self, slot: Slot) -> Call | None:
        apps = slot.member._apps_of(slot)
        if len(apps) == 1:
            return self._first(apps[0])
        best: tuple[int, int, Call] | None = None
        for path in apps:
            queue = self._queues.get(path)
            head = queue.head() if queue is not None and queue.length else None
            if head is not None and (best is None or head < best):
                best = head
        if best is None:
            return None
        self._unqueue(best[2], self._queues[best[2].app])
        return best[2]

    def _first(self, app: str) -> Call | None:
        """Take out the first call that waits for this app."""
        queue = self._queues.get(app)
        if queue is None or not queue.length:
            return None
        heap = queue.heap
        while True:  # it is there
            call = heapq.heappop(heap)[2]
            if call.queued:
                call.queued = False
                queue.length -= 1
                self.waiting -= 1
                return call

    def _unqueue(self, call: Call, queue: _Queue) -> None:
        call.queued = False
        queue.length -= 1
        self.waiting -= 1
        if len(queue.heap) > 2 * queue.length + 64:
            queue.heap = [entry for entry in queue.heap if entry[2].queued]
            heapq.heapify(queue.heap)

    def _empty(self, queue: _Queue) -> list[Call]:
        calls = [entry[2] for entry in sorted(queue.heap) if entry[2].queued]
        for call in calls:
            self._unqueue(call, queue)
        return calls
