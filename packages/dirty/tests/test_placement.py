"""Placement: limits are kept, every app has a home, numbers are stable."""

from __future__ import annotations

import pytest
from gunicorn.dirty.placement import AppLimit, Placement, PlacementError
from hypothesis import given
from hypothesis import strategies as st

apps_strategy = st.lists(st.one_of(st.none(), st.integers(1, 5)), min_size=1, max_size=5).map(
    lambda limits: [AppLimit(f"m:A{index}", limit) for index, limit in enumerate(limits)]
)


def check(placement: Placement, apps: list[AppLimit]) -> None:
    for app in apps:
        hosts = placement.hosts(app.path)
        assert hosts, f"{app.path} has no worker"
        if app.limit is not None:
            assert len(hosts) <= app.limit
    assert all(placement.plan.values()), "a worker without apps"


@given(apps_strategy, st.integers(1, 6))
def test_every_app_is_loaded_as_often_as_it_may_be(apps: list[AppLimit], workers: int) -> None:
    placement = Placement(apps, workers)
    check(placement, apps)
    for app in apps:
        wanted = workers if app.limit is None else min(app.limit, workers)
        if app.limit is not None or len(placement.plan) == workers:
            assert len(placement.hosts(app.path)) == wanted


@given(apps_strategy, st.integers(1, 6), st.lists(st.booleans(), max_size=12))
def test_adding_and_removing_keeps_the_limits_and_touches_no_other_worker(
    apps: list[AppLimit], workers: int, steps: list[bool]
) -> None:
    placement = Placement(apps, workers)
    for adding in steps:
        before = dict(placement.plan)
        try:
            number = placement.add() if adding else placement.remove()
        except PlacementError:
            assert placement.plan == before
        else:
            changed = {n for n in before.keys() | placement.plan.keys() if before.get(n) != placement.plan.get(n)}
            assert changed == {number}
        check(placement, apps)


def test_limited_apps_share_a_worker_as_little_as_possible() -> None:
    placement = Placement([AppLimit("m:A", 1), AppLimit("m:B", 1), AppLimit("m:C")], 2)
    assert placement.plan == {1: ("m:A", "m:C"), 2: ("m:B", "m:C")}


def test_workers_without_an_app_are_not_planned() -> None:
    assert Placement([AppLimit("m:A", 2)], 4).plan == {1: ("m:A",), 2: ("m:A",)}


def test_nothing_is_added_when_all_apps_are_at_their_limits() -> None:
    placement = Placement([AppLimit("m:A", 1)], 1)
    with pytest.raises(PlacementError, match="all apps are at their worker limits"):
        placement.add()


def test_a_limited_app_keeps_its_worker() -> None:
    placement = Placement([AppLimit("m:A", 1), AppLimit("m:B")], 3)
    assert [placement.remove(), placement.remove()] == [3, 2]
    with pytest.raises(PlacementError, match="last"):
        placement.remove()
    placement = Placement([AppLimit("m:A", 2), AppLimit("m:B")], 2)
    with pytest.raises(PlacementError, match="needed"):
        placement.remove()


def test_a_free_number_is_taken_again() -> None:
    placement = Placement([AppLimit("m:A")], 3)
    del placement.plan[2]
    assert placement.add() == 2


def test_two_apps_of_one_path_are_refused() -> None:
    with pytest.raises(ValueError, match="same path"):
        Placement([AppLimit("m:A"), AppLimit("m:A", 1)], 1)
