"""Who is given up when others wait for a place."""

import errno
import logging

import pytest
from gunicorn.drivers.admission import LEAST_RATE, PATIENCE, REPORT_EVERY, Shortage, Stage, choose, overstays


def test_every_stage_has_its_patience() -> None:
    assert len(PATIENCE) == len(Stage)


@pytest.mark.parametrize("stage", Stage)
def test_patience_is_not_used_up_at_once(stage: Stage) -> None:
    assert overstays(stage, PATIENCE[stage]) <= 0
    assert overstays(stage, PATIENCE[stage] + 0.001) > 0


def test_a_body_that_comes_is_let_come() -> None:
    assert overstays(Stage.BODY, 60.0, 60 * LEAST_RATE) < 0
    assert overstays(Stage.BODY, 60.0, 50 * LEAST_RATE) > 0
    assert overstays(Stage.BODY, 1.0, 0) < 0


def test_the_least_loss_goes_first_and_within_a_stage_the_slowest() -> None:
    waiting = [
        ("reader", Stage.READER, 100.0, 0),
        ("young head", Stage.HEAD, 0.5, 0),
        ("slow body", Stage.BODY, 50.0, 10),
        ("good body", Stage.BODY, 50.0, 1 << 20),
        ("head", Stage.HEAD, 3.0, 0),
        ("older head", Stage.HEAD, 30.0, 0),
        ("idle", Stage.IDLE, 2.0, 0),
        ("silent", Stage.SILENT, 9.0, 0),
        ("goodbye", Stage.GOODBYE, 0.1, 0),
    ]
    chosen = choose(waiting)
    assert chosen[::-1] == ["goodbye", "idle", "silent", "older head", "head", "slow body", "reader"]


def test_connections_need_not_be_comparable() -> None:
    first, second = object(), object()
    assert set(choose([(first, Stage.IDLE, 5.0, 0), (second, Stage.IDLE, 5.0, 0)])) == {first, second}


def test_nobody_is_given_up_without_need() -> None:
    assert choose([]) == []
    assert choose([("idle", Stage.IDLE, 0.5, 0)]) == []


def test_a_shortage_is_said_at_once_and_then_now_and_then_with_a_count(caplog: pytest.LogCaptureFixture) -> None:
    shortage = Shortage(logging.getLogger("test"))
    for tenths in range(int(REPORT_EVERY * 10) + 1):
        shortage.failed(OSError(errno.EMFILE, "Too many open files"), 1000 + tenths / 10)
    first, second = caplog.messages
    assert "they wait: [Errno 24] Too many open files; raise the limit" in first
    assert "Too many open files (100 times since the last report); raise" in second
    shortage.failed(OSError(errno.ENOMEM, "No memory"), 2000)
    assert caplog.messages[-1].endswith("they wait: [Errno 12] No memory")
