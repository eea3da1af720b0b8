"""A signal for all processes of a server at once, as service managers send it: what runs is finished, nothing is left.

`KillMode=control-group`, systemd's usual one, sends SIGTERM so; docs/dirty.md has a unit.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from integration.conftest import Server

APP = """
import os
import time

from gunicorn.dirty import DirtyApp, get_dirty_client


class Work(DirtyApp):
    def wait(self, go):
        open(go + ".runs", "w").close()
        while not os.path.exists(go):
            time.sleep(0.01)
        return "done"

    def stream(self, go):
        yield "first "
        yield self.wait(go)


def web(environ, start_response):
    client, path = get_dirty_client(), environ["PATH_INFO"]
    if path == "/":
        body = [b"ready"]
    elif path == "/stream":
        body = (item.encode() for item in client.stream("grouped:Work", "stream", os.path.abspath("go-stream")))
    else:
        body = [client.execute("grouped:Work", "wait", os.path.abspath("go-call")).encode()]
    start_response("200 OK", [])
    return body
"""


@pytest.mark.parametrize("worker", ["sync", "gthread", "gevent"])
def test_term_to_every_process_at_once(
    serve: Callable[..., Server], eventually: Callable[..., Any], directory: Path, worker: str
) -> None:
    (directory / "grouped.py").write_text(APP)
    pool = ("--dirty-app", "grouped:Work", "--dirty-workers", "2", "--dirty-threads", "2")
    server = serve(*pool, "--worker-class", worker, "--workers", "2", "--threads", "2", "--bind", "127.0.0.1:0",
                   "grouped:web")  # fmt: skip
    server.ready()
    server.wait_for("Dirty pool is ready")
    replies: dict[str, Any] = {}

    def ask(path: str) -> None:
        replies[path] = server.ask(path)

    threads = [threading.Thread(target=ask, args=(path,)) for path in ("/call", "/stream")]
    for thread in threads:
        thread.start()
    for name in ("go-call.runs", "go-stream.runs"):
        eventually((directory / name).exists, "both calls run")

    for pid in server.tree():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    server.wait_for("Handling signal: term")
    for name in ("go-call", "go-stream"):
        (directory / name).touch()
    for thread in threads:
        thread.join(30)
    assert replies == {"/call": (200, b"done"), "/stream": (200, b"first done")}
    assert server.wait() == 0
    server.assert_nothing_left()
