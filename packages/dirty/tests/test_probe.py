"""Limits are learnt from the class, in a process that ends; the arbiter imports no app."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def test_the_attribute_limits_the_workers_and_the_spec_wins(start: Any) -> None:
    pool = start("--workers", "3", app=("Sample", "Limited", "Telling:1")).ready()
    apps = {app["import_path"]: app["current_workers"] for app in pool.status()["apps"]}
    assert apps == {"sampleapps:Sample": 3, "sampleapps:Limited": 1, "sampleapps:Telling": 1}


def test_only_workers_and_the_probe_import_apps(start: Any, short_dir: str) -> None:
    notes = os.path.join(short_dir, "notes")
    pool = start("--workers", "2", app="Telling", env={"TELLING_FILE": notes}).ready()
    pids = {int(line) for line in Path(notes).read_text().split()}
    assert pool.pid not in pids
    assert set(pool.worker_pids()) <= pids
    assert len(pids) == 3


def test_an_app_that_cannot_be_imported_counts_as_unlimited_and_its_workers_say_why(start: Any, wait_for: Any) -> None:
    pool = start("--workers", "1", "--boot-delay", "0.01", app="Nowhere")
    wait_for(lambda: pool.status()["state"] == "failed", "the workers are given up")
    assert "has no Nowhere" in pool.status()["seats"][0]["error"]
