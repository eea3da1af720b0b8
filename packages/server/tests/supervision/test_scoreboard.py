"""The scoreboard: slots, their fields, and that a child's stores are seen by its parent."""

import os
from collections.abc import Iterator

import pytest
from gunicorn.supervision import scoreboard
from gunicorn.supervision.scoreboard import Scoreboard, WorkerState


@pytest.fixture
def board() -> Iterator[Scoreboard]:
    made = Scoreboard(slots=4)
    yield made
    made.close()


def test_slots_are_given_lowest_index_first_and_come_back(board: Scoreboard) -> None:
    first, second, third = board.acquire(), board.acquire(), board.acquire()
    assert [first.index, second.index, third.index] == [0, 1, 2]
    board.release(second)
    board.release(first)
    assert len(board) == 1
    assert board.acquire().index == 0
    assert board.acquire().index == 1
    assert board.acquire().index == 3


def test_an_acquired_slot_is_zero(board: Scoreboard) -> None:
    slot = board.acquire()
    slot.pid, slot.heartbeat, slot.current = 5, 1.5, "GET /"
    board.release(slot)
    assert slot.pid == 0
    again = board.acquire()
    assert (again.pid, again.heartbeat, again.current, again.state) == (0, 0.0, "", WorkerState.BOOTING)


def test_a_full_board_and_a_slot_that_is_not_taken_are_errors(board: Scoreboard) -> None:
    slots = [board.acquire() for _ in range(4)]
    with pytest.raises(RuntimeError, match="all 4 scoreboard slots are taken"):
        board.acquire()
    board.release(slots[2])
    with pytest.raises(ValueError, match="slot 2 is not taken"):
        board.release(slots[2])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pid", 2**40),
        ("age", 7),
        ("retiring", True),
        ("state", WorkerState.DRAINING),
        ("started", 1.25),
        ("heartbeat", 123456.789),
        ("requests", 2**62),
        ("connections", 3),
        ("errors", 9),
        ("busy_since", 0.5),
        ("current", "GET /naïve"),
    ],
)
def test_each_field_keeps_its_value_and_touches_no_other(board: Scoreboard, name: str, value: object) -> None:
    names = [
        "pid",
        "age",
        "state",
        "started",
        "heartbeat",
        "requests",
        "connections",
        "errors",
        "busy_since",
        "current",
    ]
    before, slot, after = board.acquire(), board.acquire(), board.acquire()
    setattr(slot, name, value)
    assert getattr(slot, name) == value
    for other in names:
        assert not getattr(before, other)
        assert not getattr(after, other)
        assert other == name or not getattr(slot, other)


def test_the_hot_path_indices_are_the_fields(board: Scoreboard) -> None:
    slot = board.acquire()
    slot.q[scoreboard.PID], slot.q[scoreboard.AGE], slot.q[scoreboard.STATE] = 1, 2, 3
    slot.d[scoreboard.STARTED], slot.d[scoreboard.HEARTBEAT], slot.d[scoreboard.BUSY_SINCE] = 4.0, 5.0, 6.0
    slot.q[scoreboard.REQUESTS], slot.q[scoreboard.CONNECTIONS], slot.q[scoreboard.ERRORS] = 7, 8, 9
    assert (slot.pid, slot.age, slot.state) == (1, 2, WorkerState.DRAINING)
    assert (slot.started, slot.heartbeat, slot.busy_since) == (4.0, 5.0, 6.0)
    assert (slot.requests, slot.connections, slot.errors) == (7, 8, 9)


def test_a_long_text_is_cut_even_within_a_character(board: Scoreboard) -> None:
    slot = board.acquire()
    slot.current = "é" * 100
    assert slot.current == "é" * 52
    slot.current = "x" + "é" * 100
    assert slot.current == "x" + "é" * 51 + "\ufffd"
    slot.current = "short"
    assert slot.current == "short"


def test_a_child_writes_what_its_parent_reads(board: Scoreboard) -> None:
    slot = board.acquire()
    pid = os.fork()
    if pid == 0:
        slot.requests = 41
        slot.current = "from the child"
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert slot.requests == 41
    assert slot.current == "from the child"
