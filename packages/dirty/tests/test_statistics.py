"""The histogram's edges."""

from __future__ import annotations

from gunicorn.dirty.statistics import BOUNDS, AppStatistics


def test_calls_fall_into_the_bucket_that_holds_them() -> None:
    statistics = AppStatistics()
    for seconds in (0.0, 0.001, 0.0011, 60.0, 61.0):
        statistics.count(seconds, seconds == 61.0)
    data = statistics.to_data()
    assert (data["calls"], data["errors"]) == (5, 1)
    assert {bound: count for bound, count in data["latency"].items() if count} == {
        "0.001": 2, "0.0025": 1, "60.0": 1, "inf": 1,
    }  # fmt: skip
    assert len(data["latency"]) == len(BOUNDS) + 1
    assert 121 < data["seconds"] < 121.01
