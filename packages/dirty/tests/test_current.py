"""What an action knows of its call, without a pool."""

from __future__ import annotations

import threading
import time

import pytest
from gunicorn.dirty.current import CurrentCall, call_variable, current_call
from gunicorn.dirty.errors import DirtyCancelledError


def test_outside_of_actions_there_is_none() -> None:
    with pytest.raises(RuntimeError, match="no dirty call"):
        current_call()
    call = CurrentCall(1)
    token = call_variable.set(call)
    try:
        assert current_call() is call
    finally:
        call_variable.reset(token)


def test_what_is_not_said_is_empty() -> None:
    call = CurrentCall(5)
    assert (call.request_id, call.app_path, call.action, call.traceparent, call.idempotency_key) == (
        5,
        "",
        "",
        None,
        None,
    )
    assert call.remaining is None
    call.deadline = time.monotonic() - 1
    assert call.remaining == 0


def test_waiting_ends_with_the_cancellation() -> None:
    call = CurrentCall(1)
    assert not call.wait(0.001)
    call.raise_if_cancelled()
    results = []
    thread = threading.Thread(target=lambda: results.append(call.wait(60)))
    thread.start()
    while call._on_cancel is None:
        time.sleep(0.001)
    call.cancel()
    thread.join(20)
    assert results == [True]
    assert call.wait(60)
    with pytest.raises(DirtyCancelledError):
        call.raise_if_cancelled()


def test_a_callback_is_called_even_when_it_comes_late() -> None:
    call = CurrentCall(1)
    told: list[int] = []
    call.cancel()
    call.on_cancel(lambda: told.append(1))
    assert told == [1]
