"""Frames of requests and what frames of answers mean, without a socket."""

from __future__ import annotations

import math
import threading

import pytest
from gunicorn.dirty import wire
from gunicorn.dirty.calls import (
    Attempts,
    default_socket_path,
    next_id,
    read_header,
    read_payload,
    request_frame,
    seconds_of,
)
from gunicorn.dirty.errors import (
    DirtyConnectionError,
    DirtyError,
    DirtyProtocolError,
    DirtyTimeoutError,
    DirtyWorkerError,
)
from gunicorn.dirty.protocol import BinaryProtocol


def test_the_environment_says_where_the_pool_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUNICORN_DIRTY_SOCKET", "/run/pool")
    assert default_socket_path() == "/run/pool"
    monkeypatch.delenv("GUNICORN_DIRTY_SOCKET")
    with pytest.raises(DirtyConnectionError, match="--dirty-app"):
        default_socket_path()


def test_ids_are_never_given_twice() -> None:
    seen: list[int] = []
    threads = [threading.Thread(target=lambda: seen.extend(next_id() for _ in range(2000))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(seen)) == 8000


def test_answers_are_read_for_the_request_that_they_are_for() -> None:
    frame = b"xx" + wire.whole(wire.response_frame(5, "result"))
    kind, length = read_header(frame, 2, 5)
    assert read_payload(kind, frame[2 + wire.HEADER_SIZE : 2 + wire.HEADER_SIZE + length]) == "result"
    with pytest.raises(DirtyProtocolError, match="request 5 came where one for 6"):
        read_header(frame, 2, 6)
    with pytest.raises(DirtyProtocolError, match="does not speak"):
        read_header(frame, 0, 5)
    with pytest.raises(DirtyProtocolError, match="does not speak"):
        read_header(wire.whole(request_frame(5, "m:A", "go", (), {})), 0, 5)


def test_errors_are_raised_as_what_they_are() -> None:
    frame = BinaryProtocol.encode_error(5, DirtyTimeoutError("late", 5))
    with pytest.raises(DirtyTimeoutError, match="late"):
        read_payload(wire.ERROR, frame[wire.HEADER_SIZE :])


def test_results_that_look_like_errors_are_results() -> None:
    value = {"error": {"error_type": "DirtyError", "message": "m", "details": {}}}
    assert read_payload(wire.RESPONSE, wire.whole(wire.response_frame(1, value))[wire.HEADER_SIZE :]) == value


@pytest.mark.parametrize("kind", [wire.RESPONSE, wire.CHUNK, wire.ERROR])
def test_malformed_answers(kind: int) -> None:
    with pytest.raises(DirtyProtocolError, match="malformed answer"):
        read_payload(kind, b"\xff\xff")


def test_end_has_no_value() -> None:
    assert read_payload(wire.END, b"") is None


def test_what_cannot_be_sent_is_the_callers_error() -> None:
    with pytest.raises(DirtyError, match="arguments of go of m:A"):
        request_frame(1, "m:A", "go", (object(),), {})


def test_attempts_share_a_key_and_the_time() -> None:
    attempts = Attempts(wire.Options(10.0), 100.0)
    lost = DirtyWorkerError("died")
    first = attempts.options(100.0)
    assert attempts.pause(lost, 104.0) == 0.05
    second = attempts.options(104.5)
    assert (first.deadline, second.deadline) == (10.0, 5.5)
    assert first.idempotency_key == second.idempotency_key is not None
    assert attempts.pause(lost, 105.0) == 0.1
    with pytest.raises(DirtyWorkerError):
        attempts.pause(lost, 109.95)


def test_only_what_was_lost_is_tried_again_and_not_for_ever() -> None:
    attempts = Attempts(wire.NO_OPTIONS, 0.0)
    for _ in range(5):
        attempts.options(0.0)
        attempts.pause(DirtyConnectionError("gone"), 0.0)
    attempts.options(0.0)
    with pytest.raises(DirtyConnectionError):
        attempts.pause(DirtyConnectionError("gone"), 0.0)
    with pytest.raises(DirtyTimeoutError):
        Attempts(wire.NO_OPTIONS, 0.0).pause(DirtyTimeoutError(), 0.0)


def test_timeouts_are_numbers_of_seconds_or_none() -> None:
    assert [seconds_of(timeout) for timeout in (None, 0, 0.0, math.inf, 1e300, 10**400)] == [None] * 6
    assert [seconds_of(timeout) for timeout in (5, 0.5, -1, True)] == [5, 0.5, -1, True]
    with pytest.raises(ValueError, match="timeout is NaN"):
        seconds_of(math.nan)
    with pytest.raises(TypeError, match="timeout is '5'; it must be a number of seconds"):
        seconds_of("5")
