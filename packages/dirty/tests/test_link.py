"""The arbiter's end of a slot: backpressure, abandoned streams, workers that break the protocol."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

APP = "sampleapps:Sample"
Wait = Callable[..., Any]


@pytest.mark.parametrize("action", ["forever", "aforever"])
@pytest.mark.parametrize("size", [10, 300_000])
def test_an_abandoned_stream_frees_everything(start: Any, wait_for: Wait, action: str, size: int) -> None:
    pool = start("--workers", "1").ready()
    client = pool.client()
    pids = pool.worker_pids()
    for number in range(1, 4):
        items = client.stream(APP, action, size)
        assert next(items) == b"x" * size
        assert next(items) == b"x" * size
        del items
        pool.idle()
        assert client.execute(APP, "streams_closed") == number
    assert pool.worker_pids() == pids


def test_a_slow_reader_holds_up_the_generator_and_nobody_else(start: Any, wait_for: Wait) -> None:
    pool = start("--workers", "1", "--threads", "2").ready()
    client = pool.client()
    items = client.stream(APP, "forever", 100_000)
    next(items)
    for _ in range(20):
        assert client.execute(APP, "echo", 1) == 1

    def resident() -> int:
        status = Path(f"/proc/{pool.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) // 1024

    before = resident()
    time_up = time.monotonic() + 0.5
    while time.monotonic() < time_up:  # the generator would produce gigabytes meanwhile
        client.execute(APP, "echo", 1)
    assert resident() - before < 20
    items.close()
    pool.idle()
