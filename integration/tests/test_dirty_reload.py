"""HUP and the dirty pool: its hooks, numbers, logs, environment and apps are those of the new configuration."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from gunicorn.dirty.client import DirtyClient
from gunicorn.dirty.errors import DirtyAppNotFoundError, DirtyConnectionError
from gunicorn.dirty.stash import StashClient

if TYPE_CHECKING:
    from integration.conftest import Server

NOBODY = 65534
APP = """
import os

from gunicorn.dirty import DirtyApp

SEEN = []


class Work(DirtyApp):
    def report(self):
        return [os.getpid(), os.environ.get("RELEASE"), os.getcwd(), *SEEN]


class Late(Work):
    pass


def web(environ, start_response):
    start_response("200 OK", [("Content-Length", "0")])
    return []
"""
CONFIG = """
import reloading_work

raw_env = ["RELEASE={name}"]
errorlog = "errors-{name}.log"
chdir = {directory!r}
dirty_apps = {apps!r}
dirty_workers = {workers}
dirty_threads = {threads}
dirty_timeout = {timeout}
dirty_stash_file = "stash-{name}"


def dirty_post_fork(arbiter, worker):
    reloading_work.SEEN[:] = ["fork {name}", arbiter.cfg.dirty_timeout]


def dirty_worker_init(worker):
    reloading_work.SEEN.extend(["init {name}", worker.cfg.dirty_timeout, worker.cfg.dirty_threads])


def dirty_worker_exit(arbiter, worker):
    arbiter.log.warning("exit {name} of %d", worker.pid)
"""
WORK, LATE = "reloading_work:Work", "reloading_work:Late"


def configure(directory: Path, name: str, apps: list[str], workers: int, threads: int, timeout: int) -> Path:
    folder = directory / name
    folder.mkdir(exist_ok=True)
    path = directory / "gunicorn.conf.py"
    values = {"apps": apps, "workers": workers, "threads": threads, "timeout": timeout, "directory": str(folder)}
    path.write_text(CONFIG.format(name=name, **values))
    return path


@pytest.fixture
def pool_of(directory: Path) -> Any:
    """The path of the pool's socket, once there is one."""

    def find(eventually: Callable[..., Any]) -> str:
        return str(eventually(lambda: next((directory / "tmp").glob("gunicorn-dirty-*/pool.sock"), None), "the pool"))

    return find


def test_a_reload_brings_hooks_logs_and_numbers_to_the_pool(
    serve: Callable[..., Server], eventually: Callable[..., Any], pool_of: Any, directory: Path
) -> None:
    (directory / "reloading_work.py").write_text(APP)
    conf = configure(directory, "one", [WORK], 1, 1, 31)
    server = serve("--config", str(conf), "--bind", "127.0.0.1:0", "reloading_work:web", PYTHONPATH=str(directory))
    path = pool_of(eventually)
    client, stash = DirtyClient(path, 30), StashClient(path, 30)
    first, *seen = client.execute(WORK, "report")
    assert seen == ["one", str(directory / "one"), "fork one", 31, "init one", 31, 1]
    stash.put("kept", "k", 1)

    configure(directory, "two", [WORK, LATE], 2, 3, 32)
    server.send(signal.SIGHUP)

    def renewed() -> Any:
        pid, *seen = client.execute(WORK, "report")
        return pid != first and seen

    expected = ["two", str(directory / "two"), "fork two", 32, "init two", 32, 3]
    assert eventually(renewed, "a worker of the new configuration") == expected
    late = eventually(lambda: _try(lambda: client.execute(LATE, "report")), "the new app")
    assert late[1:] == expected
    assert stash.get("kept", "k") == 1  # the arbiter is the same one
    log = directory / "two" / "errors-two.log"
    # The old worker ends as it was told to, with the new hook, which is called in the arbiter.
    eventually(lambda: f"exit two of {first}" in log.read_text(), "the new hook and the new log")
    pid = client.execute(WORK, "report")[0]
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: f"(pid {pid}) ended with signal 9" in log.read_text(), "the arbiter's line in the new log")
    eventually((directory / "two" / "stash-two").exists, "the stash's new file")

    # A configuration that cannot be loaded leaves the pool as it is.
    conf.write_text("dirty_threads = 0\n")
    server.send(signal.SIGHUP)
    eventually(lambda: "Reload failed" in log.read_text(), "the refusal")
    assert client.execute(WORK, "report")[1:] == expected

    # No pool any more: what runs ends, what comes is refused, the stash is there for old web workers.
    configure(directory, "three", [], 0, 1, 33)
    server.send(signal.SIGHUP)

    def gone() -> bool:
        try:
            client.execute(WORK, "report")
        except DirtyAppNotFoundError:
            return True
        return False

    eventually(gone, "the end of the apps")
    assert stash.get("kept", "k") == 1
    client.close()
    stash.close()


def _try(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except (DirtyAppNotFoundError, DirtyConnectionError):
        return None
