"""Forked children: their status, their signals, and that they never return."""

import gc
import os
import signal
import sys
from collections.abc import Callable

import pytest
from gunicorn.supervision import fork


def status_of(main: Callable[[], int | None], at_exit: bool = False) -> int:
    pid = fork.fork([signal.SIGUSR1, signal.SIGUSR2], [signal.SIGUSR1], main, at_exit)
    return os.waitpid(pid, 0)[1]


def test_the_result_is_the_exit_status() -> None:
    assert os.WEXITSTATUS(status_of(lambda: 5)) == 5
    assert os.WEXITSTATUS(status_of(lambda: None)) == 0
    assert os.WEXITSTATUS(status_of(lambda: 5, at_exit=True)) == 5


def test_system_exit_is_the_exit_status() -> None:
    assert os.WEXITSTATUS(status_of(lambda: sys.exit(9))) == 9
    assert os.WEXITSTATUS(status_of(sys.exit)) == 0


def test_an_exception_is_status_1_and_printed(capfd: pytest.CaptureFixture[str]) -> None:
    def main() -> int:
        raise LookupError("in the child")

    assert os.WEXITSTATUS(status_of(main)) == fork.UNCAUGHT
    assert "LookupError: in the child" in capfd.readouterr().err


def test_an_exit_text_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    assert os.WEXITSTATUS(status_of(lambda: sys.exit("a reason"))) == 1
    assert "a reason" in capfd.readouterr().err


def test_signals_are_at_their_defaults_or_ignored_and_unblocked_in_the_child() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda *args: seen.append(1)), signal.getsignal(signal.SIGUSR1)

    def main() -> int:
        if signal.getsignal(signal.SIGUSR2) != signal.SIG_DFL or signal.getsignal(signal.SIGUSR1) != signal.SIG_IGN:
            return 1
        return 2 if signal.pthread_sigmask(signal.SIG_BLOCK, []) & {signal.SIGUSR1, signal.SIGUSR2} else 0

    try:
        assert status_of(main) == 0
        assert signal.getsignal(signal.SIGUSR2) is not signal.SIG_DFL
        assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & {signal.SIGUSR1, signal.SIGUSR2}
    finally:
        signal.signal(signal.SIGUSR2, before[0])
        signal.signal(signal.SIGUSR1, before[1])


def test_the_childs_collector_leaves_alone_what_is_the_masters() -> None:
    before = gc.get_freeze_count()
    assert status_of(lambda: 0 if gc.get_freeze_count() > before + 1000 else 1) == 0
    assert gc.get_freeze_count() == 0


def test_a_fork_that_fails_leaves_the_collector_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", fail)
    with pytest.raises(BlockingIOError):
        status_of(lambda: 0)
    assert gc.get_freeze_count() == 0
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & {signal.SIGUSR1, signal.SIGUSR2}


def test_atexit_functions_run_only_when_asked() -> None:
    import atexit

    def main_with(fd: int) -> Callable[[], int]:
        def main() -> int:
            atexit.register(os.write, fd, b"done")
            return 0

        return main

    for at_exit, expected in ((True, b"done"), (False, b"")):
        read, write = os.pipe()
        assert status_of(main_with(write), at_exit) == 0
        os.close(write)
        assert os.read(read, 10) == expected
        os.close(read)


def test_statuses_are_described() -> None:
    assert fork.describe(status_of(lambda: 3)) == "exited with code 3"
    killed = status_of(lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert fork.describe(killed) == "was killed by SIGKILL (out of memory?)"
    assert fork.describe(status_of(lambda: os.kill(os.getpid(), signal.SIGTERM))) == "was killed by SIGTERM"


@pytest.mark.parametrize("at_exit", [False, True])
def test_output_that_cannot_be_written_hinders_nobody(monkeypatch: pytest.MonkeyPatch, at_exit: bool) -> None:
    full = open("/dev/full", "w")  # noqa: SIM115 - closed below, with an error
    full.write("buffered")
    monkeypatch.setattr(sys, "stdout", full)
    monkeypatch.setattr(sys, "stderr", None)  # closed before the start: 2>&-
    assert os.WEXITSTATUS(status_of(lambda: 5, at_exit)) == 5
    with pytest.raises(OSError, match="No space left"):
        full.close()
