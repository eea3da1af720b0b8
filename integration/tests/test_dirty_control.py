"""An operator finds a dirty call that hangs, looks at what it does and ends it: gunicornc, master, pool and worker."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gunicorn.dirty.client import DirtyClient
from gunicorn.dirty.errors import DirtyCancelledError, DirtyError

if TYPE_CHECKING:
    from integration.conftest import Server

APP = """
from gunicorn.dirty import DirtyApp, current_call


class Work(DirtyApp):
    def quick(self):
        return 1

    def hang_here(self):
        while not current_call().wait(60):
            pass


def web(environ, start_response):
    start_response("200 OK", [("Content-Length", "0")])
    return []
"""


def test_a_call_that_hangs_is_found_seen_and_ended(
    serve: Callable[..., Server], eventually: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "hanging.py").write_text(APP)
    server = serve("--pythonpath", str(tmp_path), "--dirty-app", "hanging:Work", "--dirty-workers", "1", "hanging:web")
    server.ready()

    def ask(command: str) -> str:
        done = server.control_client(command)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def busy() -> list[tuple[int, dict[str, Any]]]:
        workers = json.loads(server.control_client("show dirty", "-j").stdout)["workers"]
        return [(worker["pid"], slot) for worker in workers for slot in worker["slots"] if slot["busy"]]

    (path,) = (server.directory / "tmp").glob("gunicorn-dirty-*/pool.sock")
    client = DirtyClient(str(path), 60)
    assert client.execute("hanging:Work", "quick") == 1
    outcomes: list[Any] = []

    def hang() -> None:
        try:
            outcomes.append(client.execute("hanging:Work", "hang_here"))
        except DirtyError as exc:
            outcomes.append(exc)

    thread = threading.Thread(target=hang, daemon=True)  # it ends with the pool, at the latest
    thread.start()
    try:
        ((pid, slot),) = eventually(busy, "the call runs")
        shown = ask("show dirty")
        assert f"#{slot['call']} hanging:Work.hang_here" in shown
        assert "99% WITHIN" in shown
        stacks = ask(f"dirty stacks {pid}")
        assert f"dirty worker {pid}" in stacks
        assert ", in hang_here" in stacks
        assert ask(f"dirty cancel {slot['call']}").split() == ["success", "yes", "cancelled", str(slot["call"])]
        thread.join(30)
    finally:
        client.close()
    (outcome,) = outcomes
    assert isinstance(outcome, DirtyCancelledError)
    eventually(lambda: not busy(), "its slot is free")
    again = server.control_client(f"dirty cancel {slot['call']}")
    assert (again.returncode, "no call has the id" in again.stderr) == (1, True)
    nobody = server.control_client("dirty stacks 1")
    assert (nobody.returncode, "1 is the pid of no dirty worker" in nobody.stderr) == (1, True)
