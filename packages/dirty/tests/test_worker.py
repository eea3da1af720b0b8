"""The worker process: how it loads, ends and tells."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

APP = "sampleapps:Sample"
Wait = Callable[..., Any]


def test_a_worker_that_is_told_to_end_finishes_first(start: Any, calls: Any, wait_for: Wait, short_dir: str) -> None:
    pool = start("--workers", "1").ready()
    client = pool.client()
    (pid,) = pool.worker_pids()
    go = os.path.join(short_dir, "go")
    calls.start(lambda: client.execute(APP, "wait_for_file", go))
    wait_for(lambda: len(pool.busy()) == 1, "the call runs")
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: pool.worker_pids() not in ([pid], []), "its replacement comes")
    Path(go).touch()
    assert calls.join() == [go]
    wait_for(lambda: pid not in [worker["pid"] for worker in pool.status()["workers"]], "it has gone")
