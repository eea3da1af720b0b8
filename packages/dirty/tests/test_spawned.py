"""Workers that are fresh interpreters: asked for by the app, or for all; with their hooks, and their ends."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gunicorn.dirty.config import PoolConfig
from gunicorn.dirty.errors import DirtyAppError, DirtyNoWorkersAvailableError
from gunicorn.dirty.settings import SETTINGS
from gunicorn.dirty.spawned import _find, _portable, _reference, _restore

Wait = Callable[..., Any]


def test_an_app_may_ask_for_a_fresh_interpreter(start: Any, wait_for: Wait, alive: Callable[[int], bool]) -> None:
    pool = start("--workers", "2", app=("Fresh:1", "Limited:1")).ready()
    client = pool.client()
    assert "gunicorn.dirty.spawned" in client.execute("sampleapps:Fresh", "command")
    workers = {tuple(worker["apps"]): worker["pid"] for worker in pool.status()["workers"]}
    pid = workers[("sampleapps:Fresh",)]
    for other in workers.values():
        command = Path(f"/proc/{other}/cmdline").read_bytes()
        assert (b"gunicorn.dirty.spawned" in command) == (other == pid)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: pid not in pool.worker_pids(), "it is gone")
    assert client.execute("sampleapps:Fresh", "echo", "again") == "again"
    pids = pool.worker_pids()
    pool.process.kill()
    wait_for(lambda: not any(map(alive, pids)), "it does not outlive the arbiter", 2)


def test_all_apps_may_be_started_so(start: Any) -> None:
    pool = start("--workers", "1", "--start-method", "spawn", "--threads", "2").ready()
    (pid,) = pool.worker_pids()
    assert b"gunicorn.dirty.spawned" in Path(f"/proc/{pid}/cmdline").read_bytes()
    client = pool.client()
    assert client.execute("sampleapps:Sample", "pid") == pid
    links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    assert len([link for link in links if link.startswith("socket:")]) == 3  # side channel and two slots
    assert pool.stop() == 0


def test_an_app_that_says_nonsense_is_told(start: Any, wait_for: Wait) -> None:
    pool = start("--workers", "1", "--boot-delay", "0.01", app="Odd")
    wait_for(lambda: pool.status()["state"] == "failed", "it is given up")
    with pytest.raises(DirtyNoWorkersAvailableError, match="start_method is 'teleport'"):
        pool.client().execute("sampleapps:Odd", "pid")


def test_hooks_are_found_again(tmp_path: Path) -> None:
    default = next(setting["default"] for setting in SETTINGS if setting["name"] == "dirty_worker_init")
    assert _find(_reference(default)) is default
    path = tmp_path / "gunicorn.conf.py"
    path.write_text("def dirty_worker_init(worker):\n    worker.seen = __name__\n")
    namespace: dict[str, Any] = {"__name__": "__config__"}
    exec(compile(path.read_text(), str(path), "exec"), namespace)
    reference = _reference(namespace["dirty_worker_init"])
    assert reference == {"path": str(path), "name": "dirty_worker_init"}

    class Worker:
        seen = ""

    _find(reference)(Worker)
    assert Worker.seen == "__config__"
    with pytest.raises(DirtyAppError, match="plain function"):
        _reference(lambda worker: None)


def test_a_configuration_that_cannot_be_carried_is_told_and_the_worker_starts_without(
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = PoolConfig(apps=(), cfg={"workers": 2}, log=logging.getLogger("gunicorn.dirty"))
    carried = _portable(config)
    assert _restore({"host": carried, "log_level": "INFO"}) == ({"workers": 2}, config.log)
    assert _portable(PoolConfig(apps=(), cfg=threading.Lock(), log=config.log)) is None
    assert "gets no worker.cfg" in caplog.text
    assert _restore({"host": None, "log_level": "INFO"}) == (None, config.log)
    assert _restore({"host": b"no pickle", "log_level": "INFO"}) == (None, config.log)
    assert "cannot be had here" in caplog.text
