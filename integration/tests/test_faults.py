"""Processes of a real server are killed or hang under load: it returns to serving alone and leaves nothing."""

from __future__ import annotations

import importlib.metadata
import json
import os
import resource
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from integration.conftest import Load, Server

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS = ("gunicorn-server", "gunicorn-dirty", "gunicorn-dirty-protocol", "gunicorn-control", "gunicornc")
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


def http_worker(server: Server) -> int:
    return int(server.ready("/").text)


def dirty_worker(server: Server) -> int:
    return int(server.ready("/dirty/add").json["pid"])


def dirty_arbiter(server: Server) -> int:
    return int(server.ready("/dirty/add").json["parent"])


@pytest.mark.parametrize("victim", [http_worker, dirty_worker, dirty_arbiter])
def test_kill_9_of_a_process_leads_back_to_serving(
    serve: Callable[..., Server],
    load: type[Load],
    eventually: Callable[..., Any],
    worker: tuple[str, ...],
    victim: Callable[[Server], int],
) -> None:
    server = serve("--workers", "2", *POOL, *worker)
    pid = victim(server)
    eventually(lambda: len(server.tree()) == 6, "master, 2 HTTP workers, the pool's arbiter, 2 dirty workers")
    with load(server.address, "/dirty/add") as clients:
        clients.wait_for(10)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: pid not in server.tree(), "its death")
        eventually(lambda: len(server.tree()) == 6, "all of them again")
        eventually(lambda: quiet(clients), "requests that all go well")
    assert dirty_worker(server) != pid
    assert http_worker(server) != pid
    assert server.process.poll() is None


def quiet(clients: Load) -> bool:
    """Whether the next 30 answers are all good."""
    before = len(clients.bad)
    clients.wait_for(30)
    return len(clients.bad) == before


def test_a_hung_worker_is_replaced(serve: Callable[..., Server], eventually: Callable[..., Any]) -> None:
    server = serve("--timeout", "1", *WORKERS["sync"])
    hung = http_worker(server)
    hanging = server.connect()
    try:
        hanging.request("GET", "/hang")
        eventually(lambda: hung not in server.tree(), "the end of the worker that hangs")
        assert http_worker(server) != hung
    finally:
        hanging.close()
    assert "WORKER TIMEOUT" in server.output


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_kill_9_of_the_master_leaves_no_process(
    serve: Callable[..., Server],
    directory: Path,
    eventually: Callable[..., Any],
    worker: tuple[str, ...],
    busy: bool,
) -> None:
    server = serve("--workers", "2", *POOL, *worker)
    server.ready("/dirty/add")
    eventually(lambda: len(server.tree()) == 6, "master, 2 HTTP workers, the pool's arbiter, 2 dirty workers")
    threads = []
    try:
        for path, name in (("/dirty/wait", "wait.started"), ("/slow", "slow.started")) if busy else ():
            threads.append(threading.Thread(target=server.try_to_ask, args=(path,)))
            threads[-1].start()
            eventually((directory / name).exists, f"the request {path} runs")
        server.send(signal.SIGKILL)
        server.wait()
        server.wait_until_gone(10)
    finally:
        for name in ("wait.release", "slow.release"):
            (directory / name).touch()
        for thread in threads:
            thread.join()
    left = server.files_left()
    assert left in ([], ["c"]), "only the master could remove its control socket; the next one replaces it"

    again = serve(*POOL, *worker)
    assert again.ready("/dirty/add").json["result"] == 42
    assert again.control_client("show stats").returncode == 0


# max_requests ---------------------------------------------------------------------------------------------------------


def test_a_single_worker_at_max_requests_serves_until_its_replacement_does(
    serve: Callable[..., Server], directory: Path, eventually: Callable[..., Any], worker: tuple[str, ...]
) -> None:
    """Loading takes as long as the test wants: nobody waits for it."""
    (directory / "loading.py").write_text(
        "import os, time\n"
        "with open('loads', 'a') as file:\n"
        "    file.write('x')\n"
        "while os.path.getsize('loads') == 2 and not os.path.exists('load'):\n"
        "    time.sleep(0.01)\n"
        f"from {worker[-1].partition(':')[0]} import app\n"
    )
    server = serve("--max-requests", "60", *worker[:-1], "loading:app")
    first = http_worker(server)
    pids = [int(server.ask().text) for _ in range(56)]
    eventually(lambda: (directory / "loads").read_text() == "xx", "the replacement's begin")
    pids += [int(server.ask().text) for _ in range(2)]
    assert set(pids) == {first}
    (directory / "load").touch()
    server.wait_for(rf"Autorestarting worker after 59 requests \(pid:{first}\)")
    eventually(lambda: int(server.ask().text) != first, "the replacement's service")


@pytest.mark.parametrize("worker", ["gthread", "gevent", "asgi"], indirect=True)
def test_a_worker_that_drains_is_replaced_before_its_last_requests_end(
    serve: Callable[..., Server], directory: Path, eventually: Callable[..., Any], worker: tuple[str, ...]
) -> None:
    server = serve("--max-requests", "3", *worker)
    first = http_worker(server)
    slow = threading.Thread(target=server.try_to_ask, args=("/slow",))
    slow.start()
    try:
        eventually((directory / "slow.started").exists, "the slow request")
        assert [int(server.ask().text) for _ in range(2)] == [first] * 2
        eventually(lambda: int(server.ask().text) != first, "the replacement's service")
        assert first in server.children()
    finally:
        (directory / "slow.release").touch()
        slow.join()
    eventually(lambda: first not in server.children(), "the old worker's end")


def test_worker_abort_is_called_for_a_request_over_timeout(
    serve: Callable[..., Server], directory: Path, eventually: Callable[..., Any], worker: tuple[str, ...]
) -> None:
    (directory / "conf.py").write_text(
        "def worker_abort(worker):\n    with open('aborted', 'a') as file:\n        file.write(f'{worker.pid}\\n')\n"
    )
    server = serve("--config", "conf.py", "--timeout", "2", *worker)
    first = http_worker(server)
    slow = threading.Thread(target=server.try_to_ask, args=("/slow",))
    slow.start()
    try:
        eventually(lambda: (reply := server.try_to_ask()) and int(reply.text) != first, "another worker")
    finally:
        (directory / "slow.release").touch()
        slow.join()
    assert (directory / "aborted").read_text() == f"{first}\n"


# Descriptors ----------------------------------------------------------------------------------------------------------


def test_a_worker_without_descriptors_says_so_once_and_recovers(
    serve: Callable[..., Server], eventually: Callable[..., Any], worker: tuple[str, ...]
) -> None:
    server = serve("--keep-alive", "60", *worker)
    pid = http_worker(server)
    used = len(os.listdir(f"/proc/{pid}/fd"))
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 6, hard))
    clients = [socket.create_connection(("127.0.0.1", int(server.address))) for _ in range(30)]
    try:
        for client in clients:
            client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        server.wait_for("Cannot accept connections for now, they wait: .*Too many open files; raise the limit")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
        for client in clients:
            client.settimeout(30)
            assert client.recv(12) == b"HTTP/1.1 200"
    finally:
        for client in clients:
            client.close()
    assert server.output.count("Cannot accept") == 1


# Where the code comes from ------------------------------------------------------------------------------------------


def ours() -> set[str]:
    """The files of our distributions as they are installed, from wheels."""
    found = set()
    for name in DISTRIBUTIONS:
        for file in importlib.metadata.files(name) or ():
            found.add(os.path.realpath(str(file.locate())))
    return found


def test_every_module_of_a_server_is_ours(serve: Callable[..., Server], directory: Path) -> None:
    names = {name.lower() for one in importlib.metadata.distributions() if (name := one.metadata["Name"])}
    assert "gunicorn" not in names, "never share an environment with the other distribution of this name"
    (directory / "conf.py").write_text(
        "import json, sys\n"
        "def when_ready(server):\n"
        "    found = {name: getattr(module, '__file__', None) for name, module in sys.modules.items()\n"
        "             if name.partition('.')[0].startswith('gunicorn')}\n"
        "    with open('master.json', 'w') as file:\n"
        "        json.dump(found, file)\n"
    )
    server = serve("--config", "conf.py", *POOL, *WORKERS["gthread"])
    http = server.ready("/modules").json
    dirty = server.ready("/dirty/modules").json
    master = json.loads((directory / "master.json").read_text())

    assert "gunicorn.arbiter" in master
    assert "gunicorn.dirty.service" in master
    assert "gunicorn.control.service" in master
    assert "gunicorn.workers.gthread" in http
    assert "gunicorn.dirty.app" in dirty
    installed = ours()
    for name, file in {**master, **http, **dirty}.items():
        if file is not None:  # None: a namespace package
            real = os.path.realpath(file)
            assert real in installed or Path(real).is_relative_to(ROOT / "packages"), (name, file)
        else:
            assert name == "gunicorn", name


def test_the_master_has_not_imported_the_applications(serve: Callable[..., Server], directory: Path) -> None:
    (directory / "conf.py").write_text(
        "import sys\n"
        "def when_ready(server):\n"
        "    with open('master', 'w') as file:\n"
        "        file.write(' '.join(sys.modules))\n"
    )
    server = serve("--config", "conf.py", *POOL, *WORKERS["gthread"])
    server.ready("/dirty/add")
    loaded = (directory / "master").read_text().split()
    assert not {"house_wsgi", "house_tasks", "asyncio", "concurrent.futures"} & set(loaded)
