"""The schedule, by examples and by a model: no call is lost, run twice, or left waiting beside an idle slot."""

from __future__ import annotations

import pytest
from gunicorn.dirty.scheduler import Call, Member, MemberState, NoWorkers, QueueFull, Scheduler, Slot, UnknownApp
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule


def ready(scheduler: Scheduler, apps: list[str], slots: int = 1) -> Member:
    member = Member(apps)
    scheduler.add(member)
    scheduler.ready(member, [Slot(member) for _ in range(slots)])
    return member


def test_a_call_goes_to_the_least_busy_ready_member() -> None:
    scheduler = Scheduler()
    scheduler.set_apps(["a"])
    first, second = ready(scheduler, ["a"], 2), ready(scheduler, ["a"], 2)
    members = [slot.member for slot in (scheduler.submit(Call("a")) for _ in range(4)) if slot]
    assert members == [first, second, first, second]
    assert scheduler.submit(Call("a")) is None


def test_an_app_that_is_not_the_pools_is_unknown() -> None:
    with pytest.raises(UnknownApp):
        Scheduler().submit(Call("a"))


def test_without_a_member_that_has_the_app_there_is_no_waiting() -> None:
    scheduler = Scheduler()
    scheduler.set_apps(["a", "b"])
    ready(scheduler, ["b"])
    with pytest.raises(NoWorkers):
        scheduler.submit(Call("a"))


def test_calls_wait_for_a_member_that_is_loading() -> None:
    scheduler = Scheduler()
    scheduler.set_apps(["a"])
    member = Member(["a"])
    scheduler.add(member)
    call = Call("a")
    assert scheduler.submit(call) is None
    slots = scheduler.ready(member, [Slot(member)])
    assert [slot.call for slot in slots] == [call]
    assert scheduler.waiting == 0


def test_a_freed_slot_takes_the_call_that_has_waited_longest_among_its_apps() -> None:
    scheduler = Scheduler()
    scheduler.set_apps(["a", "b", "c"])
    ready(scheduler, ["a", "b"])
    slot = scheduler.submit(Call("a"))
    other = Member(["c"])
    scheduler.add(other)
    calls = [Call("c"), Call("b"), Call("a")]
    for call in calls:
        assert scheduler.submit(call) is None
    assert slot is not None
    assert scheduler.release(slot) is calls[1]
    assert scheduler.release(slot) is calls[2]
    assert scheduler.release(slot) is None
    assert scheduler.queued("c") == 1


def test_a_full_queue_refuses() -> None:
    scheduler = Scheduler(queue_size=2)
    scheduler.set_apps(["a"])
    scheduler.add(Member(["a"]))
    for _ in range(2):
        scheduler.submit(Call("a"))
    with pytest.raises(QueueFull):
        scheduler.submit(Call("a"))


def test_a_draining_member_gets_nothing_more() -> None:
    scheduler = Scheduler()
    scheduler.set_apps(["a"])
    old = ready(scheduler, ["a"], 2)
    running = scheduler.submit(Call("a"))
    scheduler.add(Member(["a"]))
    scheduler.drain(old)
    waiting = Call("a")
    assert scheduler.submit(waiting) is None
    assert running is not None
    assert scheduler.release(running) is None
    assert waiting.queued


def test_removing_a_member_gives_back_what_it_ran_and_what_nobody_can_run() -> None:
    scheduler = Scheduler()
    scheduler.set_apps(["a"])
    member = ready(scheduler, ["a"])
    running, waiting = Call("a"), Call("a")
    scheduler.submit(running)
    scheduler.submit(waiting)
    assert scheduler.remove(member) == ([running], [waiting])


def test_waiting_calls_survive_when_a_replacement_is_on_its_way() -> None:
    scheduler = Scheduler()
    scheduler.set_apps(["a"])
    member = ready(scheduler, ["a"])
    running, waiting = Call("a"), Call("a")
    scheduler.submit(running)
    scheduler.submit(waiting)
    replacement = Member(["a"])
    scheduler.add(replacement)
    assert scheduler.remove(member) == ([running], [])
    assert scheduler.ready(replacement, [Slot(replacement)])[0].call is waiting


def test_deadlines_end_waiting_only() -> None:
    scheduler = Scheduler()
    scheduler.set_apps(["a"])
    ready(scheduler, ["a"])
    running, soon, late, never = Call("a", 1.0), Call("a", 2.0), Call("a", 9.0), Call("a")
    for call in (running, late, soon, never):
        scheduler.submit(call)
    assert scheduler.expire(5.0) == [soon]
    assert scheduler.expire(5.0) == []
    assert scheduler.drop(late)
    assert not scheduler.drop(late)
    assert scheduler.expire(99.0) == []
    assert running.slot is not None


def test_apps_that_leave_the_pool_strand_their_calls() -> None:
    scheduler = Scheduler()
    scheduler.set_apps(["a", "b"])
    scheduler.add(Member(["a", "b"]))
    gone, kept = Call("a"), Call("b")
    scheduler.submit(gone)
    scheduler.submit(kept)
    assert scheduler.set_apps(["b"]) == [gone]
    assert scheduler.waiting == 1


def test_dropped_calls_do_not_pile_up() -> None:
    scheduler = Scheduler()
    scheduler.set_apps(["a"])
    scheduler.add(Member(["a"]))
    for _ in range(10_000):
        call = Call("a", 1000.0)
        scheduler.submit(call)
        scheduler.drop(call)
    assert len(scheduler._queues["a"].heap) < 200


def test_the_highest_priority_goes_first_and_equals_in_their_order() -> None:
    scheduler = Scheduler()
    scheduler.set_apps(["a", "b"])
    ready(scheduler, ["a", "b"])
    slot = scheduler.submit(Call("a"))
    assert slot is not None
    low, first, second, high = Call("a", None, -1), Call("a"), Call("b"), Call("b", None, 5)
    for call in (low, first, second, high):
        scheduler.submit(call)
    assert [scheduler.release(slot) for _ in range(5)] == [high, first, second, low, None]


def test_a_slot_of_one_app_runs_nothing_else_and_its_app_runs_nowhere_else() -> None:
    scheduler = Scheduler()
    scheduler.set_apps(["a", "b"])
    member = Member(["a", "b"])
    scheduler.add(member)
    shared, own = Slot(member), Slot(member, "b")
    scheduler.ready(member, [shared, own])
    assert [len(member.idle(app)) for app in ("a", "b", "c")] == [1, 1, 0]
    assert scheduler.submit(Call("b")) is own
    waiting = Call("b")
    assert scheduler.submit(waiting) is None
    assert scheduler.submit(Call("a")) is shared
    assert scheduler.release(shared) is None
    assert scheduler.release(own) is waiting


def test_those_that_wait_are_told_in_the_order_in_which_they_are_taken() -> None:
    scheduler = Scheduler()
    scheduler.set_apps(["a", "b"])
    scheduler.add(Member(["a", "b"]))
    calls = [Call("a"), Call("b", priority=1), Call("a"), Call("b"), Call("a", priority=2)]
    for call in calls:
        scheduler.submit(call)
    scheduler.drop(calls[2])
    assert scheduler.first_waiting(10) == [calls[4], calls[1], calls[0], calls[3]]
    assert scheduler.first_waiting(2) == [calls[4], calls[1]]


def test_who_could_run_a_call_now() -> None:
    scheduler = Scheduler()
    scheduler.set_apps(["a", "b"])
    ready(scheduler, ["a"])
    scheduler.add(Member(["b"]))
    assert [scheduler.can_run_now(app) for app in ("a", "b", "c")] == [True, False, False]


class ScheduleModel(RuleBasedStateMachine):
    """Anything that can happen to a schedule, in any order."""

    APPS = ("a", "b", "c")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.scheduler = Scheduler(queue_size=4)
        self.scheduler.set_apps(self.APPS)
        self.members: list[Member] = []
        self.waiting: list[Call] = []
        self.running: dict[Slot, Call] = {}
        self.answered: list[Call] = []

    def took(self, slot: Slot) -> None:
        call = slot.call
        assert call is not None
        own = {other.only for other in slot.member.slots} - {None}
        assert slot.only == (call.app if call.app in own else None)
        rivals = [other for other in self.waiting if other is not call and self.can_run(slot, other.app)]
        assert all((-call.priority, call.order) < (-other.priority, other.order) for other in rivals)
        assert slot not in self.running
        assert call not in self.answered
        if call in self.waiting:
            self.waiting.remove(call)
        self.running[slot] = call

    @staticmethod
    def can_run(slot: Slot, app: str) -> bool:
        own = {other.only for other in slot.member.slots} - {None}
        return app in slot.member.apps and slot.only == (app if app in own else None)

    def end(self, calls: list[Call]) -> None:
        for call in calls:
            assert call in self.waiting
            self.waiting.remove(call)
            self.answered.append(call)

    @rule(apps=st.lists(st.sampled_from(APPS), min_size=1, max_size=3, unique=True))
    def add(self, apps: list[str]) -> None:
        member = Member(apps)
        self.scheduler.add(member)
        self.members.append(member)

    @precondition(lambda self: any(member.state is MemberState.LOADING for member in self.members))
    @rule(data=st.data(), slots=st.integers(1, 3), own=st.integers(0, 2))
    def load(self, data: st.DataObject, slots: int, own: int) -> None:
        loading = [member for member in self.members if member.state is MemberState.LOADING]
        member = data.draw(st.sampled_from(loading))
        shared = [Slot(member) for _ in range(slots)]
        reserved = [Slot(member, member.apps[0]) for _ in range(own)]
        for slot in self.scheduler.ready(member, [*shared, *reserved]):
            self.took(slot)

    @precondition(lambda self: self.members)
    @rule(data=st.data())
    def drain(self, data: st.DataObject) -> None:
        self.scheduler.drain(data.draw(st.sampled_from(self.members)))

    @precondition(lambda self: self.members)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        member = data.draw(st.sampled_from(self.members))
        self.members.remove(member)
        expected = [self.running.pop(slot) for slot in list(self.running) if slot.member is member]
        running, stranded = self.scheduler.remove(member)
        assert sorted(map(id, running)) == sorted(map(id, expected))
        self.answered += running
        self.end(stranded)

    @rule(app=st.sampled_from(APPS), patience=st.one_of(st.none(), st.integers(1, 5)), priority=st.integers(-1, 1))
    def submit(self, app: str, patience: int | None, priority: int) -> None:
        call = Call(app, None if patience is None else self.now + patience, priority)
        hosts = [m for m in self.members if app in m.apps]
        try:
            slot = self.scheduler.submit(call)
        except NoWorkers:
            assert all(member.state is MemberState.DRAINING for member in hosts)
        except QueueFull:
            assert sum(other.app == app for other in self.waiting) == 4
        else:
            if slot is None:
                self.waiting.append(call)
            else:
                assert app in slot.member.apps
                assert slot.member.state is MemberState.READY
                self.took(slot)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(sorted(self.running, key=lambda slot: self.running[slot].order)))
        self.answered.append(self.running.pop(slot))
        following = self.scheduler.release(slot)
        assert following is slot.call
        if following is not None:
            self.took(slot)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from(self.waiting))
        assert self.scheduler.drop(call)
        self.end([call])

    @rule(seconds=st.integers(1, 3))
    def pass_time(self, seconds: int) -> None:
        self.now += seconds
        due = [call for call in self.waiting if call.deadline is not None and call.deadline <= self.now]
        expired = self.scheduler.expire(self.now)
        left = [call.deadline for call in self.waiting if call.deadline is not None and call not in due]
        assert self.scheduler.next_deadline() == min(left, default=None)
        assert sorted(map(id, expired)) == sorted(map(id, due))
        self.end(expired)

    @invariant()
    def counts_agree(self) -> None:
        assert self.scheduler.waiting == len(self.waiting)
        for app in self.APPS:
            assert self.scheduler.queued(app) == sum(call.app == app for call in self.waiting)
        for member in self.members:
            assert member.busy == sum(slot.member is member for slot in self.running)
            idle = {id(slot): slot for app in (None, *member.apps) for slot in member._idle.get(app, ())}
            assert len(idle) + member.busy == len(member.slots)
            assert all(slot.call is None for slot in idle.values())

    @invariant()
    def nobody_waits_beside_an_idle_slot(self) -> None:
        for member in self.members:
            if member.state is MemberState.READY:
                assert not any(member.idle(call.app) for call in self.waiting)


TestScheduleModel = ScheduleModel.TestCase
TestScheduleModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
