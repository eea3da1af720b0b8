"""The command: what it refuses, and that a pool runs by it with the options given."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from gunicorn.dirty.__main__ import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--app", "nonsense"], "not of the form"),
        (["--app", "m:A", "--app", "m:A:1"], "given twice"),
        (["--app", "m:A", "--workers", "0"], "1 or more workers"),
    ],
)
def test_what_cannot_be_is_said_and_exits_with_2(
    arguments: list[str], message: str, short_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--socket", os.path.join(short_dir, "s")]) == 2
    assert message in capsys.readouterr().err
    assert os.listdir(short_dir) == []


def test_a_socket_in_use_is_not_taken(shared: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--app", "m:A", "--socket", shared.path]) == 2
    assert "another pool listens" in capsys.readouterr().err
    assert shared.client().execute("sampleapps:Sample", "echo", 1) == 1


def test_options_are_explained() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gunicorn.dirty", "--help"], capture_output=True, text=True, check=True
    )
    for option in ("--app", "--socket", "--workers", "--threads", "--timeout", "--queue-size", "--cancel-grace"):
        assert option in done.stdout


def test_options_reach_the_pool(start: Any) -> None:
    pool = start("--workers", "3", "--threads", "2", "--timeout", "7.5").ready()
    status = pool.status()
    assert status["timeout"] == 7.5
    assert [len(worker["slots"]) for worker in status["workers"]] == [2, 2, 2]
    assert status["socket"] == pool.path
