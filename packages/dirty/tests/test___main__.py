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
        (["--app", "m:A", "--workers", "0"], "--workers: '0' is not a number, 1 or more"),
        (["--app", "m:A", "--threads", "x"], "--threads: 'x' is not a number, 1 or more"),
        (["--app", "m:A", "--queue-size", "-1"], "--queue-size: '-1' is not a number, 0 or more"),
        (["--app", "m:A", "--timeout", "nan"], "--timeout: 'nan' is not a number of seconds"),
        (["--app", "m:A", "--cancel-grace", "-1"], "--cancel-grace: '-1' is not"),
        (["--app", "m:A", "--stash-interval", "0"], "0.1 or more"),
        (["--app", "m:A", "--chdir", "/nowhere"], "No such file or directory: '/nowhere'"),
    ],
)
def test_what_cannot_be_is_said_and_exits_with_2(
    arguments: list[str], message: str, short_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code: object = None
    try:
        code = main([*arguments, "--socket", os.path.join(short_dir, "s")])
    except SystemExit as exc:  # argparse's
        code = exc.code
    assert code == 2
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
