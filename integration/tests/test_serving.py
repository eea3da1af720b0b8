"""Real servers of every worker class: they serve, reload, scale, drain, stop, call the dirty pool, are looked into.

That nothing of a server is left, no process, socket or temporary file, the fixture `serve` checks after every test.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from integration.conftest import Load, Reply, Server

WORKERS = {
    "sync": ("--worker-class", "sync", "house_wsgi:app"),
    "gthread": ("--worker-class", "gthread", "--threads", "4", "house_wsgi:app"),
    "gevent": ("--worker-class", "gevent", "house_wsgi:app"),
    "asgi": ("--worker-class", "asgi", "house_asgi:app"),
}
POOL = ("--dirty-app", "house_tasks:Tasks", "--dirty-workers", "2")


@pytest.fixture(params=WORKERS)
def worker(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The arguments for one worker class."""
    return WORKERS[request.param]


class Asking:
    """A request that takes its time, on a thread of its own."""

    def __init__(self, server: Server, path: str) -> None:
        self.reply: Reply | None = None
        self.error: BaseException | None = None
        self._server = server
        self._path = path
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Asking:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._thread.join()

    def _run(self) -> None:
        try:
            self.reply = self._server.ask(self._path)
        except Exception as exc:
            self.error = exc


def new_version(directory: Path) -> None:
    """Change the code of the applications."""
    for name in ("house_wsgi.py", "house_asgi.py"):
        source = (directory / name).read_text()
        changed = source.replace('VERSION = "first"', 'VERSION = "the next"')
        assert changed != source
        (directory / name).write_text(changed)


# Serving ------------------------------------------------------------------------------------------------------------


def test_one_connection_serves_many_requests(serve: Callable[..., Server], worker: tuple[str, ...]) -> None:
    server = serve(*worker)
    server.ready()
    with server.connect() as connection:
        pid = int(connection.ask("/").text)
        assert pid in server.children()
        first = connection.sock.getsockname()
        for size in (0, 1, 300_000):
            assert connection.ask("/echo", b"x" * size).body == b"x" * size
        assert connection.ask("/version").text == "first"
        assert connection.sock.getsockname() == first


def test_a_unix_socket(serve: Callable[..., Server], worker: tuple[str, ...], directory: Path) -> None:
    path = directory / "http"
    server = serve("--bind", f"unix:{path}", *worker)
    assert int(server.ready().text) in server.children()
    assert path.is_socket()
    server.send(signal.SIGTERM)
    assert server.wait() == 0
    server.assert_nothing_left()
    assert not path.exists()


# Signals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep_alive", [False, True], ids=["close", "keep-alive"])
def test_a_reload_takes_new_code_and_settings_and_loses_no_request(
    serve: Callable[..., Server],
    load: type[Load],
    worker: tuple[str, ...],
    directory: Path,
    eventually: Callable[..., Any],
    keep_alive: bool,
) -> None:
    config = directory / "conf.py"
    config.write_text("workers = 1\n")
    server = serve("--config", str(config), *worker)
    server.ready()
    old = server.wait_for_children(1)
    with load(server.address, "/version", keep_alive=keep_alive) as clients:
        clients.wait_for(20)
        new_version(directory)
        config.write_text("workers = 2\n")
        server.send(signal.SIGHUP)
        clients.wait_for(20, "the next".__eq__)
        server.wait_for_children(2, without=old)
        gone = time.monotonic()
        clients.wait_for(20)
    assert clients.bad == []
    assert {text for asked, text in clients.answers if asked > gone} == {"the next"}
    assert set(clients.good) == {"first", "the next"}


def test_ttin_and_ttou_change_the_number_of_workers(serve: Callable[..., Server], worker: tuple[str, ...]) -> None:
    server = serve("--workers", "1", *worker)
    server.ready()
    server.wait_for_children(1)
    server.send(signal.SIGTTIN)
    server.wait_for_children(2)
    server.send(signal.SIGTTIN)
    three = server.wait_for_children(3)
    server.send(signal.SIGTTOU)
    assert server.wait_for_children(2) < three
    assert int(server.ready().text) in three


def test_term_lets_a_running_request_finish(
    serve: Callable[..., Server], worker: tuple[str, ...], directory: Path, eventually: Callable[..., Any]
) -> None:
    server = serve(*worker)
    server.ready()
    with Asking(server, "/slow") as slow:
        try:
            eventually((directory / "slow.started").exists, "the request runs")
            server.send(signal.SIGTERM)
            server.wait_for("Handling signal: term")
            assert slow.reply is None
        finally:
            (directory / "slow.release").touch()
    assert slow.error is None
    assert slow.reply is not None
    assert slow.reply.text == "finished"
    assert server.wait() == 0


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGQUIT])
def test_int_and_quit_do_not_wait_for_a_running_request(
    serve: Callable[..., Server],
    worker: tuple[str, ...],
    directory: Path,
    eventually: Callable[..., Any],
    signum: signal.Signals,
) -> None:
    server = serve("--graceful-timeout", "600", *worker)
    server.ready()
    with Asking(server, "/slow") as slow:
        eventually((directory / "slow.started").exists, "the request runs")
        server.send(signum)
        assert server.wait() == 0
        server.assert_nothing_left()
    assert slow.reply is None or slow.reply.status == 500


# The dirty pool -----------------------------------------------------------------------------------------------------


def test_a_request_calls_the_pool(serve: Callable[..., Server], worker: tuple[str, ...]) -> None:
    server = serve(*POOL, *worker)
    server.ready()
    answer = server.ask("/dirty/add").json
    assert answer["result"] == 42
    tree = server.tree()
    assert tree[answer["parent"]].parent == server.pid, "the pool's arbiter is a child of the master"
    assert answer["pid"] in tree
    assert int(server.ask("/").text) != answer["pid"]


def test_a_request_streams_from_the_pool(
    serve: Callable[..., Server], worker: tuple[str, ...], directory: Path
) -> None:
    server = serve(*POOL, *worker)
    server.ready("/dirty/add")
    with server.connect() as connection:
        connection.request("GET", "/dirty/count")
        response = connection.getresponse()
        assert response.readline() == b"0\n"  # comes while the generator still waits for the next line
        (directory / "count.release").touch()
        assert response.read() == b"1\n2\n3\n4\n"


def test_term_lets_a_running_call_finish(
    serve: Callable[..., Server], worker: tuple[str, ...], directory: Path, eventually: Callable[..., Any]
) -> None:
    server = serve(*POOL, *worker)
    server.ready("/dirty/add")
    with Asking(server, "/dirty/wait") as call:
        try:
            eventually((directory / "wait.started").exists, "the call runs")
            server.send(signal.SIGTERM)
            server.wait_for("Handling signal: term")
        finally:
            (directory / "wait.release").touch()
    assert call.error is None
    assert call.reply is not None
    assert call.reply.json == "waited"
    assert server.wait() == 0


def test_a_reload_keeps_the_pool_reachable(
    serve: Callable[..., Server], load: type[Load], worker: tuple[str, ...]
) -> None:
    server = serve(*POOL, *worker)
    before = server.ready("/dirty/add").json
    with load(server.address, "/dirty/add") as clients:
        clients.wait_for(10)
        server.send(signal.SIGHUP)
        clients.wait_for(10, lambda text: json.loads(text)["pid"] not in (before["pid"], server.pid))
        clients.wait_for(10)
    assert clients.bad == []


# Control ------------------------------------------------------------------------------------------------------------


def test_gunicornc_looks_inside(serve: Callable[..., Server]) -> None:
    server = serve("--workers", "2", *POOL, *WORKERS["gthread"])
    dirty_worker = server.ready("/dirty/add").json

    def shown(command: str) -> Any:
        result = server.control_client(command, "-j")
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    workers = shown("show workers")
    assert workers["count"] == 2
    assert {one["pid"] for one in workers["workers"]} == server.children() - {dirty_worker["parent"]}
    assert sum(one["requests"] for one in workers["workers"]) >= 1
    stats = shown("show stats")
    assert stats["pid"] == server.pid
    assert stats["workers_current"] == stats["workers_target"] == 2
    assert stats["dirty_arbiter_pid"] == dirty_worker["parent"]
    pool = shown("show dirty")
    assert pool["arbiter_pid"] == dirty_worker["parent"]
    assert dirty_worker["pid"] in {one["pid"] for one in pool["workers"]}
    assert pool["worker_count"] == 2

    table = server.control_client("show workers")
    assert table.returncode == 0
    assert all(str(one["pid"]) in table.stdout for one in workers["workers"])
    assert not table.stdout.startswith("{")


@pytest.mark.parametrize("mode", ["graceful", "quick"])
def test_gunicornc_shuts_the_server_down(serve: Callable[..., Server], mode: str) -> None:
    server = serve(*POOL, *WORKERS["sync"])
    server.ready("/dirty/add")
    result = server.control_client(f"shutdown {mode}")
    assert result.returncode == 0, result.stderr
    assert server.wait() == 0
    server.assert_nothing_left()
    assert not os.path.exists(server.control)

    gone = server.control_client("show stats")
    assert gone.returncode != 0
    assert server.control in gone.stderr
