"""What actions can be, and what becomes of their results and errors: through a real pool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gunicorn.dirty.errors import (
    DirtyAppError,
    DirtyAppNotFoundError,
    DirtyError,
    DirtyProtocolError,
    DirtyTimeoutError,
)

APP = "sampleapps:Sample"


LIKE_AN_ERROR = {"error": {"error_type": "DirtyError", "message": "no error", "details": {}}}


@pytest.mark.parametrize(
    "value",
    [None, True, -1, 1.5, "é", b"\x00\xff", [1, [2]], {"k": None}, LIKE_AN_ERROR, "x" * 200_000, b"y" * 3_000_000],
)
def test_values_come_back_as_they_went(shared: Any, value: Any) -> None:
    assert shared.client().execute(APP, "echo", value) == value


def test_arguments_go_by_position_and_by_name(shared: Any) -> None:
    assert shared.client().execute(APP, "join", "a", "b", sep="-") == "a-b"


def test_an_exception_reaches_the_caller_with_its_traceback(shared: Any) -> None:
    with pytest.raises(DirtyAppError, match=r"ValueError: boom") as caught:
        shared.client().execute(APP, "boom")
    assert caught.value.app_path == APP
    assert caught.value.action == "boom"
    assert "in boom" in (caught.value.traceback or "")


def test_an_error_of_the_pools_own_kinds_keeps_its_kind(shared: Any) -> None:
    with pytest.raises(DirtyTimeoutError) as caught:
        shared.client().execute(APP, "refuse")
    assert caught.value.timeout == 1.5


def test_a_result_that_cannot_be_sent_is_an_error_and_the_slot_goes_on(shared: Any) -> None:
    client = shared.client()
    for _ in range(8):
        with pytest.raises(DirtyAppError, match="cannot be sent"):
            client.execute(APP, "unsendable")
    assert client.execute(APP, "echo", 1) == 1


def test_an_exception_whose_text_cannot_be_made_is_an_error_like_any(shared: Any) -> None:
    with pytest.raises(DirtyAppError, match=r"TextlessError \(its text cannot be made") as caught:
        shared.client().execute(APP, "textless")
    assert "in textless" in str(caught.value.traceback)


def test_a_fork_that_comes_back_from_an_action_answers_nobody(start: Any, wait_for: Any, alive: Any) -> None:
    pool = start("--workers", "1", "--threads", "2").ready()
    client = pool.client()
    pids = pool.worker_pids()
    for _ in range(3):
        child = client.execute(APP, "fork_and_return")
        assert child > 0, "the answer is the worker's"
        wait_for(lambda child=child: not alive(child), "the child has ended")
        assert client.execute(APP, "echo", child) == child
    assert pool.worker_pids() == pids
    pool.idle()
    Path(pool.log_path).write_text("")  # tracebacks of the children


def test_system_exit_in_an_action_does_not_end_the_worker(shared: Any) -> None:
    client = shared.client()
    pids = set(shared.worker_pids())
    with pytest.raises(DirtyAppError, match="SystemExit"):
        client.execute(APP, "leave")
    assert set(shared.worker_pids()) == pids


@pytest.mark.parametrize("action", ["nope", "_private", "__init__", "init", "close", "calls"])
def test_what_is_no_public_method_is_no_action(shared: Any, action: str) -> None:
    with pytest.raises(DirtyAppError, match="has no action"):
        shared.client().execute(APP, action)


def test_an_unknown_app_is_named_with_those_there_are(shared: Any) -> None:
    with pytest.raises(DirtyAppNotFoundError, match="the pool has: sampleapps:Sample"):
        shared.client().execute("sampleapps:Nobody", "echo")


def test_streams_of_both_kinds(shared: Any) -> None:
    client = shared.client()
    assert list(client.stream(APP, "count", 5)) == [0, 1, 2, 3, 4]
    assert list(client.stream(APP, "acount", 5)) == [0, 1, 2, 3, 4]
    assert list(client.stream(APP, "count", 0)) == []
    assert sum(client.stream(APP, "count", 20_000)) == sum(range(20_000))
    assert sum(client.stream(APP, "acount", 20_000)) == sum(range(20_000))


def test_an_error_in_the_middle_of_a_stream_comes_after_the_items_before(shared: Any) -> None:
    items = shared.client().stream(APP, "break_off")
    assert next(items) == 1
    with pytest.raises(DirtyAppError, match="in the middle"):
        next(items)
    assert list(items) == []


def test_an_action_that_does_not_stream_gives_a_stream_of_one(shared: Any) -> None:
    assert list(shared.client().stream(APP, "echo", 7)) == [7]


def test_executing_a_stream_says_what_to_call(shared: Any) -> None:
    with pytest.raises(DirtyError, match=r"call stream\(\)"):
        shared.client().execute(APP, "count", 3)
    shared.idle()


def test_async_actions(shared: Any) -> None:
    client = shared.client()
    assert client.execute(APP, "aecho", [1]) == [1]
    assert client.execute(APP, "asleep", 0.01) == 0.01
    with pytest.raises(DirtyAppError, match="async boom"):
        client.execute(APP, "aboom")


def test_arguments_that_cannot_be_sent_never_leave(shared: Any) -> None:
    with pytest.raises(DirtyProtocolError, match="arguments of echo"):
        shared.client().execute(APP, "echo", object())


def test_sync_actions_run_in_threads_of_slots(shared: Any) -> None:
    assert shared.client().execute(APP, "thread_name").startswith("dirty-slot-")
