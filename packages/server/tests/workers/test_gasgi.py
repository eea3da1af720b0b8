"""The asgi worker under a real master: signals, heartbeat, lifespan, limits, logs."""

import http.client
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from gunicorn.workers import gasgi

needs_uvloop = pytest.mark.skipif(find_spec("uvloop") is None, reason="uvloop is not installed")
Serve = Callable[..., Any]
Eventually = Callable[..., Any]

APP = """
import asyncio, os, time
from pathlib import Path

HERE = Path(__file__).parent
held = []


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        scope["state"]["pid"] = os.getpid()
        await send({"type": "lifespan.startup.complete"})
        (HERE / f"started-{os.getpid()}").touch()
        await receive()
        (HERE / f"stopped-{os.getpid()}").touch()
        await send({"type": "lifespan.shutdown.complete"})
        return
    path = scope["path"]
    if path == "/slow":
        (HERE / "slow-started").touch()
        while not (HERE / "slow-release").exists():
            await asyncio.sleep(0.005)
    elif path == "/hang":
        (HERE / "hang-started").touch()
        time.sleep(600)
    elif path == "/forever":
        try:
            (HERE / "forever-started").touch()
            await asyncio.Event().wait()
        finally:
            (HERE / "forever-cancelled").touch()
    elif path == "/loop":
        text = type(asyncio.get_running_loop()).__module__.split(".")[0]
    elif path == "/stuck":
        (HERE / "stuck-started").touch()
        await asyncio.Event().wait()
    elif path == "/leave":
        asyncio.ensure_future(linger())
        held.append(await asyncio.open_connection("127.0.0.1", scope["server"][1]))
    elif path == "/orphan":
        asyncio.ensure_future(fail())
    body = (text if path == "/loop" else str(scope["state"]["pid"])).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-served", b"asgi")]})
    await send({"type": "http.response.body", "body": body})


async def fail():
    raise ValueError("nobody awaits this")


async def linger():
    try:
        await asyncio.Event().wait()
    finally:
        (HERE / "linger-ended").touch()


async def no_lifespan(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


async def failing(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


async def never_ready(scope, receive, send):
    (HERE / "starting").touch()
    await asyncio.Event().wait()


not_callable = 5
"""


@pytest.fixture
def asgi(serve: Serve, short_path: Path) -> Serve:
    (short_path / "asgi_app.py").write_text(APP)

    def start(*args: str, app: str = "asgi_app:app", **env: str) -> Any:
        return serve("-k", "asgi", "--chdir", str(short_path), *args, app=app, **env)

    return start


@pytest.fixture
def get() -> Iterator[Callable[[Any, str], http.client.HTTPConnection]]:
    """Sends a request to a server and returns the connection, whose answer may still be to come."""
    connections: list[http.client.HTTPConnection] = []

    def send(server: Any, path: str) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        connections.append(connection)
        connection.request("GET", path)
        return connection

    yield send
    for connection in connections:
        connection.close()


def test_serves_from_a_worker_with_its_lifespan(asgi: Serve, eventually: Eventually, short_path: Path) -> None:
    server = asgi("-w", "2")
    pids = server.wait_for_children(2)
    eventually(lambda: len(list(short_path.glob("started-*"))) == 2, "start of both workers")
    assert int(server.get("/")) in pids
    server.send(signal.SIGTERM)
    assert server.wait() == 0
    assert {int(path.name[8:]) for path in short_path.glob("stopped-*")} == pids
    assert "ERROR" not in server.output
    assert "WARNING" not in server.output


@pytest.mark.parametrize(
    ("kind", "module"),
    [
        ("asyncio", "asyncio"),
        pytest.param("uvloop", "uvloop", marks=needs_uvloop),
        pytest.param("auto", "uvloop", marks=needs_uvloop),
    ],
)
def test_asgi_loop(asgi: Serve, kind: str, module: str) -> None:
    assert asgi("--asgi-loop", kind).get("/loop") == module


@pytest.mark.parametrize("kind", ["asyncio", pytest.param("uvloop", marks=needs_uvloop)])
def test_term_lets_requests_finish(asgi: Serve, get: Any, eventually: Eventually, short_path: Path, kind: str) -> None:
    server = asgi("--asgi-loop", kind)
    client = get(server, "/slow")
    eventually((short_path / "slow-started").exists, "start of the request")
    idle = get(server, "/")
    idle.getresponse().read()
    server.send(signal.SIGTERM)
    assert idle.sock.recv(1) == b""  # closed: the worker drains
    (short_path / "slow-release").touch()
    answer = client.getresponse()
    assert (answer.status, answer.getheader("connection")) == (200, "close")
    assert server.wait() == 0
    assert list(short_path.glob("stopped-*"))


def test_the_graceful_timeout_cancels_what_does_not_end(
    asgi: Serve, get: Any, eventually: Eventually, short_path: Path
) -> None:
    server = asgi("--graceful-timeout", "1")
    get(server, "/forever")
    eventually((short_path / "forever-started").exists, "start of the request")
    server.send(signal.SIGTERM)
    assert server.wait() == 0
    assert (short_path / "forever-cancelled").exists()
    assert "1 requests did not end within the graceful timeout" in server.output


@pytest.mark.parametrize("kind", ["asyncio", pytest.param("uvloop", marks=needs_uvloop)])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGQUIT])
def test_int_and_quit_end_a_worker_at_once_and_its_tasks_clean_up(
    asgi: Serve, get: Any, eventually: Eventually, short_path: Path, signum: signal.Signals, kind: str
) -> None:
    server = asgi("--graceful-timeout", "60", "--asgi-loop", kind)
    get(server, "/forever")
    eventually((short_path / "forever-started").exists, "start of the request")
    server.send(signum)
    assert server.wait() == 0
    assert (short_path / "forever-cancelled").exists()
    assert "Traceback" not in server.output
    assert "never" not in server.output


def test_a_worker_whose_loop_is_blocked_is_replaced(
    asgi: Serve, get: Any, eventually: Eventually, short_path: Path
) -> None:
    server = asgi("--timeout", "1")
    [pid] = server.wait_for_children(1)
    get(server, "/hang")
    eventually((short_path / "hang-started").exists, "start of the request")
    server.wait_for_children(1, without={pid})
    assert int(eventually(server.try_get, "answer")) != pid
    assert "WORKER TIMEOUT" in server.output


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGQUIT])
def test_int_and_quit_end_a_worker_whose_loop_is_blocked(
    asgi: Serve, get: Any, eventually: Eventually, short_path: Path, signum: signal.Signals
) -> None:
    server = asgi("--graceful-timeout", "60")
    get(server, "/hang")
    eventually((short_path / "hang-started").exists, "start of the request")
    server.send(signum)
    assert server.wait() == 0
    assert server.group() == []


def test_a_request_over_the_timeout_is_logged_and_the_worker_replaced(
    asgi: Serve, get: Any, eventually: Eventually, short_path: Path
) -> None:
    server = asgi("--timeout", "1")
    [pid] = server.wait_for_children(1)
    get(server, "/stuck")
    eventually((short_path / "stuck-started").exists, "start of the request")
    server.wait_for_children(1, without={pid})
    assert int(eventually(server.try_get, "answer")) != pid
    assert "A request runs for over 1 seconds, GET /stuck; replacing the worker." in server.output
    assert 'asgi_app.py", line' in server.output
    assert "WORKER TIMEOUT" not in server.output


def test_what_the_application_leaves_behind_is_ended_without_a_word(
    asgi: Serve, short_path: Path, eventually: Eventually
) -> None:
    server = asgi(PYTHONWARNINGS="always::ResourceWarning")
    server.get("/leave")
    server.send(signal.SIGTERM)
    assert server.wait() == 0
    assert (short_path / "linger-ended").exists()
    assert "ResourceWarning" not in server.output
    assert "never" not in server.output


def test_tls(asgi: Serve, tls_files: Any) -> None:
    server = asgi("--certfile", tls_files.combined)
    [(port,)] = [server.wait_for(r"Listening at: https://127\.0\.0\.1:(\d+)")]
    [pid] = server.wait_for_children(1)
    connection = http.client.HTTPSConnection("localhost", int(port), timeout=20, context=tls_files.context())
    connection.request("GET", "/")
    assert int(connection.getresponse().read()) == pid
    connection.close()


def test_a_waiting_request_is_not_a_hanging_worker(
    asgi: Serve, get: Any, eventually: Eventually, short_path: Path
) -> None:
    server = asgi("--timeout", "30", "--max-requests", "3")
    [pid] = server.wait_for_children(1)
    client = get(server, "/slow")
    eventually((short_path / "slow-started").exists, "start of the request")
    beats = {server.get("/") for _ in range(2)}
    (short_path / "slow-release").touch()
    assert client.getresponse().read() == str(pid).encode()
    assert beats == {str(pid)}
    assert "TIMEOUT" not in server.output


def test_max_requests_replaces_the_worker_without_losing_a_request(asgi: Serve, get: Any) -> None:
    server = asgi("--max-requests", "20")
    [first] = server.wait_for_children(1)
    pids = [int(server.get("/")) for _ in range(60)]
    assert len(pids) == 60
    assert len(set(pids)) >= 3
    assert pids.count(first) >= 20
    assert "Autorestarting worker after 20 requests." in server.output


def test_max_requests_loses_nothing_under_load(asgi: Serve) -> None:
    """Clients that use their connections all the time, over several replacements."""
    server = asgi("-w", "2", "--max-requests", "150", "--max-requests-jitter", "50")
    server.wait_for_children(2)
    port, failures, pids = server.port, [], set()

    def use(count: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        for _ in range(count):
            try:
                connection.request("GET", "/")  # connects again after Connection: close
                pids.add(connection.getresponse().read())
            except Exception as error:
                failures.append(error)
                connection.close()
        connection.close()

    threads = [threading.Thread(target=use, args=(300,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(pids) > 4
    assert "Autorestarting worker" in server.output


def test_a_failed_startup_ends_the_master_with_the_reason(asgi: Serve) -> None:
    server = asgi(app="asgi_app:failing")
    assert server.wait() == 3
    assert "ASGI lifespan: the application's startup failed: no database" in server.output
    assert "Worker failed to boot" in server.output


@pytest.mark.parametrize(("mode", "served"), [("auto", True), ("off", True), ("on", False)])
def test_an_application_without_lifespan(asgi: Serve, mode: str, served: bool) -> None:
    server = asgi("--asgi-lifespan", mode, app="asgi_app:no_lifespan")
    if served:
        assert server.get("/") == "ok"
        assert "lifespan" not in server.output
        assert "ERROR" not in server.output
    else:
        assert server.wait() == 3
        assert "ASGI lifespan: the application raised an exception" in server.output


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGQUIT])
def test_a_worker_can_be_stopped_while_its_application_starts(
    asgi: Serve, eventually: Eventually, short_path: Path, signum: signal.Signals
) -> None:
    server = asgi("--asgi-lifespan", "on", app="asgi_app:never_ready")
    eventually((short_path / "starting").exists, "start of the application")
    server.send(signum)
    assert server.wait() == 0
    assert server.group() == []


def test_workers_end_when_the_master_is_killed(asgi: Serve, eventually: Eventually) -> None:
    server = asgi("-w", "2")
    server.wait_for_children(2)
    server.get("/")
    os.kill(server.pid, signal.SIGKILL)
    server.process.wait()
    eventually(lambda: not server.group(), "end of the workers")


def test_the_access_log(asgi: Serve, short_path: Path) -> None:
    log = short_path / "access.log"
    form = '%(h)s "%(r)s" %(s)s %(b)s %(U)s %(q)s %({x-served}o)s %({host}i)s'
    server = asgi("--access-logfile", str(log), "--access-logformat", form)
    pid = server.get("/a%20b?c=d")
    server.send(signal.SIGTERM)
    server.wait()
    assert log.read_text() == (
        f'127.0.0.1 "GET /a%20b?c=d HTTP/1.1" 200 {len(pid)} /a b c=d asgi 127.0.0.1:{server.port}\n'
    )


def test_usr1_reopens_the_logs(asgi: Serve, eventually: Eventually, short_path: Path) -> None:
    log = short_path / "access.log"
    server = asgi("--access-logfile", str(log))
    server.get("/")
    eventually(lambda: log.read_text().count("\n") == 1, "first line")
    log.rename(short_path / "old.log")
    server.send(signal.SIGUSR1)

    def arrived() -> bool:
        server.get("/")
        return log.exists() and log.read_text().count("\n") > 0

    eventually(arrived, "line in the new file")


def test_hooks(asgi: Serve, short_path: Path) -> None:
    (short_path / "gunicorn.conf.py").write_text(
        "def pre_request(worker, req):\n    worker.log.info('pre %s %s', req.method, req.path)\n"
        "def post_request(worker, req, environ, resp):\n"
        "    worker.log.info('post %s %s %s', environ['PATH_INFO'], resp.status, resp.sent)\n"
    )
    server = asgi()
    pid = server.get("/x")
    server.wait_for(f"pre GET /x(?s:.*)post /x 200 OK {len(pid)}")


def test_what_nobody_awaits_reaches_the_error_log(asgi: Serve) -> None:
    server = asgi()
    server.get("/orphan")
    server.get("/")
    server.wait_for("ERROR.*Task exception was never retrieved(?s:.*)ValueError: nobody awaits this")


def test_worker_connections_bound_what_one_worker_holds(asgi: Serve, get: Any) -> None:
    server = asgi("--worker-connections", "2", "--keep-alive", "60")
    first, second, third = (get(server, "/") for _ in range(3))
    assert first.getresponse().read() == second.getresponse().read()
    third.sock.settimeout(0.2)
    with pytest.raises(TimeoutError):
        third.sock.recv(1)
    third.sock.settimeout(20)
    first.close()
    assert third.getresponse().status == 200


def test_unix_sockets(asgi: Serve, short_path: Path) -> None:
    path = str(short_path / "web.sock")
    server = asgi("-b", f"unix:{path}")
    server.wait_for(f"Listening at: .*unix:{path}")
    [pid] = server.wait_for_children(1)
    assert int(server.get("/", address=path)) == pid


def test_an_application_that_cannot_be_one(asgi: Serve) -> None:
    server = asgi(app="asgi_app:not_callable")
    assert server.wait() != 0
    assert "callable" in server.output


def test_uvloop_that_is_asked_for_and_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with pytest.raises(ImportError, match=r"pip install gunicorn-server\[uvloop\]"):
        gasgi.new_event_loop("uvloop")
    loop = gasgi.new_event_loop("auto")
    assert type(loop).__module__.startswith("asyncio.")
    loop.close()


def test_closed_clients_leave_no_descriptors(asgi: Serve, eventually: Eventually) -> None:
    server = asgi()
    [pid] = server.wait_for_children(1)
    server.get("/")
    before = len(os.listdir(f"/proc/{pid}/fd"))
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.sendall(b"GET / HT")
    eventually(lambda: len(os.listdir(f"/proc/{pid}/fd")) <= before, "closing of the descriptors")
