"""What a worker's end means: its exit status, its last words, and its hooks."""

import logging
import os
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.errors import AppImportError, ConfigError
from gunicorn.supervision import child, proctitle


@pytest.fixture(autouse=True)
def keep_our_title(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    titles: list[str] = []
    monkeypatch.setattr(proctitle, "set_title", titles.append)
    return titles


def run(init_process: Any, notes: list[str], booted: bool = False, worker_exit: Any = None) -> int:
    def bell() -> int:
        notes.append("bell")
        return 7

    arbiter = SimpleNamespace(
        log=logging.getLogger("test.child"),
        proc_name="name",
        bell=bell,
        enter_child=lambda: notes.append("enter_child"),
        cfg=SimpleNamespace(post_fork=lambda server, worker: notes.append("post_fork")),
        APP_LOAD_ERROR=4,
        WORKER_BOOT_ERROR=3,
    )
    worker = SimpleNamespace(
        pid=0,
        booted=booted,
        parent_fd=-1,
        scoreboard=SimpleNamespace(pid=0),
        init_process=init_process,
        cfg=SimpleNamespace(worker_exit=worker_exit or (lambda server, worker: notes.append("worker_exit"))),
    )
    status = child.run_worker(arbiter, worker)
    assert worker.pid == worker.scoreboard.pid == os.getpid()
    assert worker.bell_fd == 7
    return status


def raising(exc: BaseException) -> Any:
    def init_process() -> None:
        raise exc

    return init_process


def test_a_worker_that_returns_exits_with_0(keep_our_title: list[str]) -> None:
    notes: list[str] = []
    assert run(lambda: notes.append("init_process"), notes) == 0
    assert notes == ["bell", "enter_child", "post_fork", "init_process", "worker_exit"]
    assert keep_our_title == ["worker [name]"]


@pytest.mark.parametrize("exc", [AppImportError("no such app"), ConfigError("no such thing")])
def test_an_application_that_cannot_be_loaded_is_4(exc: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(raising(exc), []) == 4
    assert str(exc) in capsys.readouterr().err


def test_an_exception_is_3_before_and_255_after_the_boot(caplog: pytest.LogCaptureFixture) -> None:
    assert run(raising(LookupError("mine")), []) == 3
    assert run(raising(LookupError("mine")), [], booted=True) == 255
    assert caplog.text.count("LookupError: mine") == 2


def test_system_exit_passes_after_the_hook() -> None:
    notes: list[str] = []
    with pytest.raises(SystemExit) as caught:
        run(raising(SystemExit(9)), notes)
    assert caught.value.code == 9
    assert notes[-1] == "worker_exit"


def test_a_hook_that_raises_changes_no_status(caplog: pytest.LogCaptureFixture) -> None:
    def worker_exit(server: Any, worker: Any) -> None:
        raise LookupError("in the hook")

    assert run(lambda: None, [], worker_exit=worker_exit) == 0
    assert "Exception in the hook worker_exit" in caplog.text
