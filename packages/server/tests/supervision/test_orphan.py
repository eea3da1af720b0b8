"""The end of a process whose parent has gone: a real child, deaf to everything but what the kernel does."""

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from gunicorn.supervision import orphan

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs Linux and /proc")


def signal_that_ended(pid: int) -> int | None:
    """None while the child lives."""
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.WTERMSIG(status) if found else None


def child(patience: float) -> tuple[int, int]:
    """A child that is armed and busy; its pid, and the end of the pipe that keeps it alive."""
    read, write = os.pipe()
    told, tells = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(write)
            orphan.arm(read, patience)
            os.write(tells, b".")
            while True:
                time.sleep(0.01)
        finally:
            os._exit(1)
    os.close(read)
    os.close(tells)
    assert os.read(told, 1) == b"."
    os.close(told)
    return pid, write


def test_it_ends_when_the_pipe_is_closed(eventually: Callable[..., Any]) -> None:
    pid, write = child(0.01)
    assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    os.close(write)
    assert eventually(lambda: signal_that_ended(pid)) == signal.SIGALRM


def test_siblings_are_each_told(eventually: Callable[..., Any]) -> None:
    read, write = os.pipe()
    ready, says = os.pipe()
    pids = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            try:
                os.close(write)
                orphan.arm(read, 0.01)
                os.write(says, b".")
                while True:
                    time.sleep(0.01)
            finally:
                os._exit(1)
        pids.append(pid)
    count = 0
    while count < 3:
        count += len(os.read(ready, 3))
    for fd in (write, read, ready, says):
        os.close(fd)
    for pid in pids:
        assert eventually(partial(signal_that_ended, pid)) == signal.SIGALRM


def test_a_closed_descriptor_is_no_trouble() -> None:
    read, write = os.pipe()
    os.close(read)
    os.close(write)
    before = signal.getsignal(signal.SIGIO)
    orphan.arm(read)
    assert signal.getsignal(signal.SIGIO) is before
