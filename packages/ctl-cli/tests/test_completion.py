"""The script for bash, run by bash."""

import shutil
import subprocess

import pytest
from gunicorn.control.commands import REGISTRY
from gunicornc.completion import bash

BASH = shutil.which("bash")


@pytest.mark.skipif(BASH is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["gunicornc", ""], "show worker dirty reload reopen shutdown help"),
        (["gunicornc", "sh"], "show shutdown"),
        (["gunicornc", "-j", "-s", "/run/x.ctl", "show", "w"], "workers"),
        (["gunicornc", "worker", ""], "add remove kill"),
        (["gunicornc", "shutdown", "q"], "quick"),
        (["gunicornc", "worker", "add", ""], ""),
    ],
)
def test_it_completes(line: list[str], words: str) -> None:
    assert BASH is not None
    script = f'{bash(REGISTRY)}\nCOMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _gunicornc; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run([BASH, "-c", script, "bash", *line], capture_output=True, text=True, check=True)
    assert (done.stdout.rstrip("\n"), done.stderr) == (words, "")
