"""Where the dirty pool's processes log, and what their hooks know: like the server's, however they are started."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from gunicorn.dirty.client import DirtyClient

if TYPE_CHECKING:
    from integration.conftest import Server

APP = """
import os

from gunicorn.dirty import DirtyApp

LOG = None


class Work(DirtyApp):
    def say(self, text):
        LOG.warning("%s", text)
        return os.getpid()


def web(environ, start_response):
    start_response("200 OK", [("Content-Length", "0")])
    return []
"""
CONFIG = """
import logging_work

raw_env = ["COLOUR=red"]
log_json = True
loglevel = "warning"
errorlog = "errors.log"


def dirty_worker_init(worker):
    cfg = worker.cfg
    logging_work.LOG = worker.log
    worker.log.info("too small for the log level")
    worker.log.warning("init %s %s %s %s", cfg.env, cfg.dirty_threads, cfg.is_ssl, cfg.address[0][0])
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_dirty_workers_log_where_the_server_does_and_know_its_settings(
    serve: Callable[..., Server], eventually: Callable[..., Any], directory: Path, method: str
) -> None:
    (directory / "logging_work.py").write_text(APP)
    (directory / "gunicorn.conf.py").write_text(CONFIG)
    pool = ("--dirty-app", "logging_work:Work", "--dirty-workers", "1", "--dirty-threads", "2")
    server = serve(*pool, "--dirty-start-method", method, "--bind", "127.0.0.1:0", "logging_work:web")

    def lines(name: str) -> list[dict[str, Any]]:
        path = directory / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def said(name: str, text: str) -> dict[str, Any] | None:
        return next((line for line in lines(name) if text in line["message"]), None)

    line = eventually(lambda: said("errors.log", "init "), "the hook's line in the log file")
    assert line["message"] == "init {'COLOUR': 'red'} 2 False 127.0.0.1"
    assert (line["level"], line["logger"]) == ("warning", "gunicorn.error")
    assert not said("errors.log", "too small")
    (path,) = (server.directory / "tmp").glob("gunicorn-dirty-*/pool.sock")
    client = DirtyClient(str(path), 30)
    pid = client.execute("logging_work:Work", "say", "here I am")
    assert line["pid"] == pid
    spoken = said("errors.log", "here I am")
    assert spoken is not None
    assert spoken["pid"] == pid
    command = Path(f"/proc/{pid}/cmdline").read_bytes()
    assert command.startswith(b"gunicorn: dirty-worker [logging_work:web]")

    # A rotation: master, arbiter and worker go on in a new file.
    (directory / "errors.log").rename(directory / "errors.log.1")
    server.send(signal.SIGUSR1)

    def moved() -> bool:
        client.execute("logging_work:Work", "say", "still here")
        return said("errors.log", "still here") is not None

    eventually(moved, "the worker writes to the new file")
    os.kill(pid, signal.SIGKILL)
    death = eventually(lambda: said("errors.log", f"(pid {pid}) ended with signal 9"), "the arbiter's line")
    assert death["pid"] != pid
    assert eventually(lambda: said("errors.log", "init "), "the next worker")["pid"] != pid
    client.close()
    assert "Warning" not in server.output
