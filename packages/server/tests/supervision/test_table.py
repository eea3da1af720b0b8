"""What to spawn, stop and kill, given made-up tables and times; no process is involved."""

import signal
from typing import Any

from gunicorn.supervision.table import ABORT_GRACE, Backoff, Entry, Plan, next_deadline, overdue, plan
from hypothesis import given
from hypothesis import strategies as st


def entry(age: int, generation: int = 0, booted: bool = True, **fields: Any) -> Entry:
    made = Entry(pid=age, age=age, generation=generation, spawned=0.0, heartbeat=0.0, booted=booted)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def test_missing_workers_are_spawned() -> None:
    assert plan([], 3, 0) == Plan((), 3)
    assert plan([entry(1)], 3, 0) == Plan((), 2)
    assert plan([entry(1), entry(2, booted=False)], 2, 0) == Plan((), 0)


def test_a_worker_that_stops_does_not_count() -> None:
    assert plan([entry(1, kill_at=9.0)], 1, 0) == Plan((), 1)
    assert plan([entry(1, aborted_at=9.0)], 1, 0) == Plan((), 1)


def test_the_oldest_surplus_workers_are_stopped() -> None:
    assert plan([entry(3), entry(1), entry(2)], 2, 0) == Plan((1,), 0)
    assert plan([entry(1), entry(2)], 0, 0) == Plan((1, 2), 0)


def test_a_replacement_takes_over_only_when_it_has_booted() -> None:
    assert plan([entry(1), entry(2, booted=False)], 1, 0) == Plan((), 0)
    assert plan([entry(1), entry(2)], 1, 0) == Plan((1,), 0)


def test_after_a_reload_old_workers_stop_one_by_one_as_new_ones_boot() -> None:
    old = [entry(1), entry(2)]
    assert plan(old, 2, 1) == Plan((), 2)
    assert plan([*old, entry(3, 1, booted=False), entry(4, 1, booted=False)], 2, 1) == Plan((), 0)
    assert plan([*old, entry(3, 1), entry(4, 1, booted=False)], 2, 1) == Plan((1,), 0)
    assert plan([*old, entry(3, 1), entry(4, 1)], 2, 1) == Plan((1, 2), 0)


def test_workers_that_retire_are_replaced_one_by_one_and_stop_when_their_replacement_serves() -> None:
    first, second = entry(1, retiring=True), entry(2, retiring=True)
    assert plan([first, second], 2, 0) == Plan((), 1)
    assert plan([first, second, entry(3, booted=False)], 2, 0) == Plan((), 0)
    assert plan([first, second, entry(3)], 2, 0) == Plan((1,), 1)
    assert plan([second, entry(3), entry(4)], 2, 0) == Plan((2,), 0)


def test_one_that_retires_goes_before_older_ones() -> None:
    assert plan([entry(1), entry(2, retiring=True), entry(3)], 2, 0) == Plan((2,), 0)
    assert plan([entry(1), entry(2, retiring=True)], 1, 0) == Plan((2,), 0)


def test_one_that_retires_is_not_replaced_twice_when_it_drains_before_its_replacement_serves() -> None:
    assert plan([entry(1, retiring=True, kill_at=9.0), entry(2, booted=False)], 1, 0) == Plan((), 0)


def test_after_a_reload_old_workers_that_still_load_are_stopped_at_once() -> None:
    assert plan([entry(1, 0, booted=False)], 1, 1) == Plan((1,), 1)


def test_a_new_generation_that_fails_leaves_the_old_one_alone() -> None:
    old = [entry(1), entry(2)]
    assert plan(old, 2, 1).stop == ()
    assert plan([*old, entry(3, 1, booted=False)], 2, 1).stop == ()


tables = st.lists(
    st.tuples(st.integers(0, 2), st.booleans(), st.booleans(), st.booleans()),
    max_size=8,
).map(
    lambda rows: [
        entry(age, generation, booted, kill_at=1.0 if stopping else None, retiring=retiring)
        for age, (generation, booted, stopping, retiring) in enumerate(rows, 1)
    ]
)


@given(tables, st.integers(0, 5))
def test_a_plan_never_takes_serving_workers_below_the_target(table: list[Entry], target: int) -> None:
    result = plan(table, target, 2)
    serving = [e for e in table if not e.stopping and e.booted]
    stopped = [e for e in serving if e.pid in result.stop]
    assert len(serving) - len(stopped) >= min(target, len(serving))
    assert len(set(result.stop)) == len(result.stop)
    assert not {e.pid for e in table if e.stopping} & set(result.stop)


@given(tables, st.integers(0, 5))
def test_carrying_plans_out_ends_with_exactly_the_target_of_the_current_generation(
    table: list[Entry], target: int
) -> None:
    age = len(table)
    for _ in range(16):  # each round: do what the plan says, then whoever was told to stop ends and whoever loads boots
        result = plan(table, target, 2)
        table = [e for e in table if e.pid not in result.stop and not e.stopping]
        for _ in range(result.spawn):
            age += 1
            table.append(entry(age, 2, booted=False))
        for e in table:
            e.booted = True
    assert plan(table, target, 2) == Plan((), 0)
    assert len(table) == target
    assert all(e.generation == 2 for e in table)


def test_a_worker_without_a_heartbeat_is_aborted_then_killed() -> None:
    hung = entry(1, heartbeat=100.0)
    assert overdue([hung], 130.0, 30.0) == []
    assert overdue([hung], 130.1, 30.0) == [(1, signal.SIGABRT)]
    hung.aborted_at = 130.1
    assert overdue([hung], 130.1 + ABORT_GRACE / 2, 30.0) == []
    assert overdue([hung], 130.1 + ABORT_GRACE, 30.0) == [(1, signal.SIGKILL)]


def test_one_that_was_killed_is_not_judged_again() -> None:
    gone = entry(1, heartbeat=100.0, aborted_at=130.1, killed=True)
    assert overdue([gone], 200.0, 30.0) == []
    assert next_deadline([gone], 30.0) is None


def test_a_timeout_of_0_means_never() -> None:
    assert overdue([entry(1, heartbeat=0.0)], 1e9, 0) == []
    assert next_deadline([entry(1)], 0) is None


def test_a_worker_that_does_not_stop_is_killed() -> None:
    assert overdue([entry(1, heartbeat=50.0, kill_at=60.0)], 59.9, 0) == []
    assert overdue([entry(1, heartbeat=50.0, kill_at=60.0)], 60.0, 0) == [(1, signal.SIGKILL)]


def test_the_next_deadline_is_the_earliest() -> None:
    assert next_deadline([], 30) is None
    assert next_deadline([entry(1, heartbeat=10.0), entry(2, heartbeat=5.0)], 30) == 35.0
    assert next_deadline([entry(1, heartbeat=10.0), entry(2, heartbeat=5.0, kill_at=20.0)], 30) == 20.0
    assert next_deadline([entry(1, heartbeat=10.0, aborted_at=11.0)], 30) == 11.0 + ABORT_GRACE


def test_ordinary_deaths_do_not_delay() -> None:
    backoff = Backoff()
    for now in range(100, 1000, 50):
        assert backoff.died(now, lifetime=60.0, free=0) == 0.0
        assert backoff.allows(now)


def test_early_deaths_delay_more_and_more_up_to_the_limit() -> None:
    backoff = Backoff(first=0.5, limit=4.0, healthy=10.0)
    now, delays = 100.0, []
    for _ in range(8):
        delays.append(backoff.died(now, lifetime=0.1, free=3))
        now += delays[-1]
    assert delays == [0.0, 0.0, 0.0, 0.5, 1.0, 2.0, 4.0, 4.0]
    assert not backoff.allows(now - 0.1)
    assert backoff.allows(now)


def test_a_worker_that_lived_or_a_quiet_time_forgives() -> None:
    backoff = Backoff(first=0.5, limit=4.0, healthy=10.0)
    assert backoff.died(100.0, 0.1, free=0) == 0.5
    assert backoff.died(101.0, 20.0, free=0) == 0.0
    assert backoff.died(102.0, 0.1, free=0) == 0.5
    assert backoff.died(103.0, 0.1, free=0) == 1.0
    assert backoff.died(120.0, 0.1, free=0) == 0.5
    backoff.reset()
    assert backoff.allows(0.0)
    assert backoff.died(120.1, 0.1, free=0) == 0.5
