"""USR2: a second master on the same sockets, and which of the two is left."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Serve = Callable[..., Any]
Eventually = Callable[..., Any]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


@pytest.mark.parametrize("unix", [False, True])
def test_the_new_master_takes_the_place_of_the_old(
    serve: Serve, eventually: Eventually, short_path: Path, unix: bool
) -> None:
    path = str(short_path / "s") if unix else None
    server = serve("--pid", "pid", **({"bind": f"unix:{path}"} if unix else {}))
    server.wait_for("Booting worker")
    assert server.get(address=path)
    server.send(signal.SIGUSR2)
    pid = int(server.wait_for(r"A new master is started: (\d+)")[0])
    pidfile, second = short_path / "pid", short_path / "pid.2"
    eventually(lambda: _read(second) == f"{pid}\n", "second pid file")
    assert pidfile.read_text() == f"{server.pid}\n"
    server.wait_for("Booting worker", count=2)
    server.send(signal.SIGTERM)
    assert server.wait() == 0
    server.wait_for("The old master .* has gone")
    eventually(lambda: not second.exists() and _read(pidfile) == f"{pid}\n", "promotion")
    if path is None:
        assert server.try_get()
    else:
        assert os.path.exists(path)
        assert server.get(address=path)
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not server.group(), "end of the new master")
    assert not pidfile.exists()
    if path is not None:
        assert not os.path.exists(path)


def test_a_new_master_that_fails_leaves_the_old_one_serving(serve: Serve, short_path: Path) -> None:
    config = short_path / "gunicorn.conf.py"
    config.write_text("workers = 1\n")
    server = serve()
    assert server.get()
    config.write_text("raise LookupError('not this time')\n")
    server.send(signal.SIGUSR2)
    server.wait_for(r"The new master \(pid:\d+\) exited with code 1; this one serves on")
    assert server.get()
    config.write_text("workers = 1\n")
    server.send(signal.SIGUSR2)
    server.wait_for("A new master is started", count=2)
    server.send(signal.SIGUSR2)
    server.wait_for("USR2 is ignored: the new master .* runs already")
