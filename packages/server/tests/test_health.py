"""The health path: which requests it takes, and what it says."""

from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.health import HealthPath
from gunicorn.http.events import Request
from gunicorn.http.h1.connection import H1Connection
from gunicorn.http.h1.head import HeadReader
from gunicorn.http.h1.response import Preamble
from gunicorn.http.policy import Policy
from gunicorn.supervision.scoreboard import WorkerState
from gunicorn.workers.base import Worker


def worker(**settings: Any) -> Worker:
    cfg = Config()
    for name, value in settings.items():
        cfg.set(name, value)
    return Worker(1, 1, [], None, 15, cfg, None)


def request(line: bytes) -> Request:
    http = H1Connection(HeadReader(Policy()), Preamble("s", 0.0))
    http.receive_data(line + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    event = http.next_event()
    assert isinstance(event, Request)
    return event


def test_it_is_off_by_default() -> None:
    assert HealthPath.of(worker()) is None


@pytest.mark.parametrize(
    ("state", "status", "body"),
    [
        (WorkerState.IDLE, 200, b"ok"),
        (WorkerState.BUSY, 200, b"ok"),
        (WorkerState.DRAINING, 503, b"draining"),
    ],
)
def test_what_it_says(state: WorkerState, status: int, body: bytes) -> None:
    made = worker(health_path="/healthz")
    made.scoreboard.state = state
    health = HealthPath.of(made)
    assert health is not None
    answer = health.answer(request(b"GET /healthz?verbose=1"))
    assert answer is not None
    assert (answer.status, answer.body, answer.end_stream) == (status, body, True)
    assert ("Cache-Control", "no-store") in answer.headers


def test_what_is_left_to_the_application() -> None:
    health = HealthPath.of(worker(health_path="/healthz"))
    assert health is not None
    assert health.answer(request(b"HEAD /healthz")) is not None
    for line in (b"GET /", b"GET /healthz/", b"GET /Healthz", b"POST /healthz"):
        assert health.answer(request(line)) is None
