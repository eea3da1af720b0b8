"""The dirty pool in a real server: what web workers get of it, and what is left when things die."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gunicorn.dirty.client import DirtyClient
from gunicorn.dirty.errors import DirtyConnectionError

if TYPE_CHECKING:
    from integration.conftest import Server

WEB = """
import json
import os
import time

from gunicorn.dirty import DirtyApp, current_call, get_dirty_client, overload_wsgi, stash

APP = "pool_and_web:Work"


class Work(DirtyApp):
    stashes = ("visits",)

    def pids(self):
        return [os.getpid(), os.getppid()]

    def wait_for(self, path):
        while not os.path.exists(path) and not current_call().wait(0.01):
            pass
        return path

    def hang(self):
        time.sleep(3600)

    def visits(self):
        return stash.get("visits", "n", 0)


def web(environ, start_response):
    path = environ["PATH_INFO"]
    client = get_dirty_client()
    if path == "/visit":
        result = [stash.incr("visits", "n"), client.execute(APP, "visits")]
    elif path == "/pids":
        result = client.using(idempotent=True).execute(APP, "pids", timeout=20)
    elif path == "/hang":
        client.execute(APP, "hang")
    elif path == "/wait":
        result = client.execute(APP, "wait_for", environ["QUERY_STRING"])
    else:
        result = None
    body = json.dumps(result).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


app = overload_wsgi(web, retry_after=3)
"""


def options(directory: Path, *more: str) -> tuple[str, ...]:
    (directory / "pool_and_web.py").write_text(WEB)
    pool = ("--dirty-app", "pool_and_web:Work", "--pythonpath", str(directory))
    return (*pool, "--worker-class", "gthread", "--threads", "4", *more, "pool_and_web:app")


def socket_of(server: Server) -> str:
    (path,) = (server.directory / "tmp").glob("gunicorn-dirty-*/pool.sock")
    return str(path)


def test_web_workers_share_the_stash_with_the_pool(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve(*options(tmp_path, "--workers", "2", "--dirty-workers", "2"))
    seen = [server.ready("/visit").json]
    seen += [server.ask("/visit").json for _ in range(9)]
    assert [first for first, _ in seen] == list(range(1, 11))
    assert all(first == second for first, second in seen)


def test_a_full_queue_is_503_with_retry_after(
    serve: Callable[..., Server], eventually: Callable[..., Any], tmp_path: Path
) -> None:
    server = serve(*options(tmp_path, "--dirty-workers", "1", "--dirty-queue-size", "1"))
    server.ready("/pids")
    go = tmp_path / "go"
    waiting = [threading.Thread(target=server.ask, args=(f"/wait?{go}",)) for _ in range(2)]
    for thread in waiting:
        thread.start()

    def refused() -> Any:
        with server.connect() as connection:
            connection.request("GET", f"/wait?{go}")
            response = connection.getresponse()
            response.read()
            return response.status, response.getheader("Retry-After")

    try:
        eventually(lambda: b'"queued": 1' in status(server), "one runs and one waits")
        assert refused() == (503, "3")
    finally:
        go.touch()
        for thread in waiting:
            thread.join()
    assert server.ask(f"/wait?{go}").json == str(go)


def status(server: Server) -> bytes:
    done = server.control_client("show dirty", "-j")
    return json.dumps(json.loads(done.stdout)).encode() if done.returncode == 0 else b""


def test_the_arbiters_crash_loses_running_calls_only_and_at_once(
    serve: Callable[..., Server], eventually: Callable[..., Any], tmp_path: Path
) -> None:
    server = serve(*options(tmp_path, "--dirty-workers", "1", "--dirty-threads", "2"))
    worker, arbiter = server.ready("/pids").json
    assert server.ask("/visit").json == [1, 1]  # the worker now knows this entry of the stash
    path = socket_of(server)
    client = DirtyClient(path, 60)
    outcomes: list[Any] = []

    def hang() -> None:
        try:
            client.execute("pool_and_web:Work", "hang")
        except DirtyConnectionError as exc:
            outcomes.append(exc)

    thread = threading.Thread(target=hang)
    thread.start()
    eventually(lambda: b'"busy": true' in status(server), "a call runs")
    os.kill(arbiter, signal.SIGKILL)
    thread.join(20)
    assert len(outcomes) == 1
    again = server.ask("/pids").json  # repeated, since it is marked idempotent
    assert again[1] != arbiter
    assert again[0] != worker
    assert socket_of(server) == path
    assert client.execute("pool_and_web:Work", "visits") == 0
    assert server.ask("/visit").json == [1, 1]
    client.close()
    eventually(lambda: worker not in server.tree(), "the worker of the dead arbiter is gone")


def test_two_servers_of_one_app_never_touch_each_other(
    serve: Callable[..., Server], eventually: Callable[..., Any], tmp_path: Path
) -> None:
    """In one directory, with one name: only the addresses and control sockets are their own, as they have to be."""
    one = serve(*options(tmp_path, "--dirty-workers", "1"))
    first = one.ready("/pids").json
    (path,) = (one.directory / "tmp").glob("gunicorn-dirty-*/pool.sock")
    other = serve(*options(tmp_path, "--dirty-workers", "1", "--control-socket", "d"))
    second = other.ready("/pids").json
    assert not set(first) & set(second)
    assert [server.ask("/visit").json[0] for server in (one, other)] == [1, 1], "each has a stash of its own"
    # One is upset, dies and stops in every way; nothing of it reaches the other.
    other.send(signal.SIGHUP)
    eventually(lambda: other.ask("/pids").json[0] != second[0], "its pool has reloaded")
    os.kill(second[1], signal.SIGKILL)
    eventually(lambda: other.ask("/pids").json[1] != second[1], "it has another arbiter")
    other.send(signal.SIGTERM)
    assert other.wait() == 0
    other.wait_until_gone()
    assert path.exists()
    assert one.ask("/pids").json == first
    assert one.ask("/visit").json[0] == 2
    third = serve(*options(tmp_path, "--dirty-workers", "1", "--control-socket", "d"))
    third.ready("/pids")
    third.send(signal.SIGKILL)
    third.wait()
    third.wait_until_gone()
    assert one.ask("/pids").json == first
    (third.directory / "d").unlink()  # which nobody was left to remove


def test_nothing_that_forks_has_a_thread(
    serve: Callable[..., Server], eventually: Callable[..., Any], tmp_path: Path
) -> None:
    server = serve(*options(tmp_path, "--dirty-workers", "1", "--dirty-threads", "3"))
    worker, arbiter = server.ready("/pids").json
    assert server.control_client("show all").returncode == 0
    assert server.control_client(f"dirty stacks {worker}").returncode == 0
    assert server.control_client("dirty add").returncode == 0
    eventually(lambda: status(server).count(b'"state": "ready"') == 3, "pool and two workers are ready")
    threads = [len(os.listdir(f"/proc/{pid}/task")) for pid in (server.pid, arbiter, worker)]
    assert threads[:2] == [1, 1]
    assert threads[2] >= 4, "the worker has its slots"


def test_kill_9_of_the_master_leaves_nothing_of_a_busy_pool(
    serve: Callable[..., Server], eventually: Callable[..., Any], tmp_path: Path
) -> None:
    server = serve(*options(tmp_path, "--dirty-workers", "2"))
    server.clean = False  # the web worker logs that its call has failed
    pids = server.ready("/pids").json
    thread = threading.Thread(target=server.try_to_ask, args=("/hang",))
    thread.start()
    eventually(lambda: b'"busy": true' in status(server), "a call runs")
    server.send(signal.SIGKILL)
    server.wait()
    eventually(lambda: not set(pids) & set(server.tree()), "the pool is gone", 2)
    server.wait_until_gone()
    thread.join()
