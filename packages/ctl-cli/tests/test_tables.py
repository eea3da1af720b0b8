"""Tables and fields: alignment, cutting, units, and that nothing on display steers the terminal."""

from typing import Any

import pytest
from gunicornc.tables import Column, duration, fields, plain, table


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        ("", "-"),
        ([], "-"),
        ({}, "-"),
        (True, "yes"),
        (False, "no"),
        (0, "0"),
        (0.25, "0.25"),
        (3.0, "3"),
        ("é", "é"),
        (["a", 1, None], "a, 1, -"),
        ({"a": 1, "b": [2]}, "a=1, b=2"),
        ("GET /\x1b[2J\r\n", "GET /\\x1b[2J\\r\\n"),
        ("\u202e\x9b", "\\u202e\\x9b"),
        (["\x07"], "\\x07"),
        ({"\x07": 1}, "\\x07=1"),
    ],
)
def test_plain(value: Any, text: str) -> None:
    assert plain(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0s"),
        (0.04, "0.0s"),
        (9.94, "9.9s"),
        (10, "10s"),
        (59.9, "59s"),
        (60, "1m 00s"),
        (307, "5m 07s"),
        (3600, "1h 00m"),
        (12000, "3h 20m"),
        (172799, "47h 59m"),
        (172800, "2d 0h"),
        (1051200, "12d 4h"),
        (None, "-"),
        ("soon", "soon"),
        (True, "yes"),
    ],
)
def test_duration(seconds: Any, text: str) -> None:
    assert duration(seconds) == text


COLUMNS = [Column("pid", "PID"), Column("gone", "GONE"), Column("name", "NAME"), Column("beat", "BEAT", duration)]


def test_table() -> None:
    rows = [{"pid": 7, "name": "a", "beat": 0.5}, {"pid": 1234, "name": "longer", "beat": 75}]
    assert table(rows, COLUMNS) == [
        " PID  NAME      BEAT",
        "   7  a         0.5s",
        "1234  longer  1m 15s",
    ]


def test_rows_may_lack_values() -> None:
    assert table([{"pid": 7}, {"name": "b"}], COLUMNS) == ["PID  NAME", "7    -", "-    b"]


def test_lines_are_cut_to_the_width() -> None:
    rows = [{"name": "x" * 50}]
    assert table(rows, [Column("name", "NAME")], width=10) == ["NAME", "xxxxxxxxx…"]
    assert table(rows, [Column("name", "NAME")], width=50)[1] == "x" * 50
    assert fields([("a", "y" * 50)], width=10) == ["a  yyyyyy…"]


def test_fields() -> None:
    assert fields([("pid", "7"), ("uptime", "3s"), ("x", "")]) == ["pid     7", "uptime  3s", "x"]
    assert fields([]) == []
