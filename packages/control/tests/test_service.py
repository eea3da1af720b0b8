"""The service in a master's life: start, reload, children, stop; and sockets that cannot be opened."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gunicorn.control import service as module
from gunicorn.control.service import ControlService
from gunicorn.control.socket_file import SocketFile


@pytest.fixture
def service(host: Any) -> Iterator[ControlService]:
    service = ControlService()
    yield service
    service.close()
    assert host.watched == 0


@pytest.fixture
def path(directory: str) -> str:
    return f"{directory}/c.ctl"


def test_start_to_close(host: Any, directory: str, path: str, service: ControlService, connect: Any) -> None:
    service.start(host)
    assert host.log.texts("info") == [f"Control socket listening at {path}"]
    assert service.snapshot() == {"socket": path, "connections": 0}
    client = connect(path)
    assert client.call("shutdown", "quick")["data"] == {"status": "shutting_down", "mode": "quick"}
    assert host.introspection.done == [("shutdown", False)]
    assert service.snapshot() == {"socket": path, "connections": 1}
    assert not service.child_exited(1, 0)
    service.stop(True)
    assert service.stopped
    assert os.listdir(directory) == []
    service.close()
    assert client.closed()
    assert service.snapshot() == {"socket": None, "connections": 0}


def test_disabled(host: Any, directory: str, service: ControlService) -> None:
    host.cfg.control_socket_disable = True
    service.start(host)
    assert (os.listdir(directory), host.log.lines, service.tick(time.monotonic())) == ([], [], None)
    service.stop(True)
    assert service.stopped


def test_a_reply_under_way_delays_the_stop_unless_it_hurries(host: Any, path: str, service: Any, connect: Any) -> None:
    host.introspection.settings = {"key": "x" * (8 << 20)}
    service.start(host)
    client = connect(path)
    client.ask("show config")
    host.run(lambda: host.watched == 2)
    host.settle()
    service.stop(True)
    assert not service.stopped
    assert client.reply()["status"] == "ok"
    host.run(lambda: service.stopped)
    client.ask("show config")
    host.settle()
    assert not service.stopped
    service.stop(False)
    assert service.stopped


def test_trouble_is_said_once_and_does_not_raise(host: Any, directory: str, path: str, service: ControlService) -> None:
    with open(path, "w"):
        pass
    service.start(host)
    service.tick(time.monotonic() + 100)
    (warning,) = host.log.texts("warning")
    assert warning.startswith(f"No control socket: '{path}' exists and is no socket; remove it")
    assert warning.endswith(" The server runs without it.")
    assert service.snapshot()["socket"] is None
    os.unlink(path)
    service.reload(host)
    assert service.snapshot()["socket"] == path


def test_a_path_that_is_too_long(host: Any, service: ControlService) -> None:
    host.cfg.control_socket = f"/tmp/{'x' * 120}.ctl"
    service.start(host)
    (warning,) = host.log.texts("warning")
    assert "has 129 bytes, and a unix socket's path at most 107" in warning


def test_a_socket_in_use_is_taken_over_when_its_server_has_gone(host: Any, path: str, service: ControlService) -> None:
    other = SocketFile.open(path, 0o600)
    service.start(host)
    due = service.tick(time.monotonic())
    assert due is not None
    assert 0 < due - time.monotonic() <= module.RETRY_INTERVAL
    assert service.tick(due) is not None
    (warning,) = host.log.texts("warning")
    assert warning.endswith(". The server runs without it, and tries again every 5 seconds.")
    assert other.intact
    other.close()
    service.tick(time.monotonic() + module.RETRY_INTERVAL + 1)
    assert service.snapshot()["socket"] == path
    assert host.log.texts("info") == [f"Control socket listening at {path}"]


def test_a_locked_directory_is_tried_again_soon(host: Any, directory: str, path: str, service: ControlService) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        service.start(host)
        due = service.tick(time.monotonic())
        assert due is not None
        assert due - time.monotonic() <= module.LOCK_RETRY_INTERVAL
        assert host.log.lines == []
        for _ in range(module.LOCK_RETRIES + 1):
            due = service.tick(due or 0.0)
        assert len(host.log.texts("warning")) == 1
        assert due is not None
    finally:
        os.close(descriptor)
    service.tick(due)
    assert service.snapshot()["socket"] == path


def test_two_servers_with_the_default_each_have_their_own(
    host: Any, directory: str, service: ControlService, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", directory)
    host.cfg.control_socket = "gunicorn.ctl"
    first = ControlService()
    first.start(host)
    service.start(host)
    sockets = [first.snapshot()["socket"], service.snapshot()["socket"]]
    assert sockets == [f"{directory}/gunicorn.ctl", f"{directory}/gunicorn-{os.getpid()}.ctl"]
    assert host.log.texts("warning") == []
    for path in sockets:
        assert connect(path).call("help")["status"] == "ok"
    first.close()
    assert os.listdir(directory) == [f"gunicorn-{os.getpid()}.ctl"]


def test_reload_follows_the_settings(
    host: Any, directory: str, path: str, service: ControlService, connect: Any
) -> None:
    service.start(host)
    client = connect(path)
    assert client.call("help")["status"] == "ok"
    service.reload(host)
    assert len(host.log.texts("info")) == 1  # nothing has changed, nothing happens

    host.cfg.control_socket = "other.ctl"
    service.reload(host)
    assert os.listdir(directory) == ["other.ctl"]
    assert client.call("help")["status"] == "ok"  # who reloads over the socket stays connected

    host.cfg.control_socket_mode = 0o666
    service.reload(host)
    assert os.stat(f"{directory}/other.ctl").st_mode & 0o777 == 0o666

    host.cfg.control_socket_disable = True
    service.reload(host)
    assert os.listdir(directory) == []
    host.cfg.control_socket_disable = False
    service.reload(host)
    assert os.listdir(directory) == ["other.ctl"]


def test_reload_makes_a_removed_file_again(host: Any, path: str, service: ControlService, connect: Any) -> None:
    service.start(host)
    os.unlink(path)
    service.reload(host)
    assert connect(path).call("help")["status"] == "ok"


def test_ticks_close_what_stalls(host: Any, path: str, service: ControlService, connect: Callable[[str], Any]) -> None:
    service.start(host)
    now = time.monotonic()
    due = service.tick(now)
    assert due == now + module.TICK_INTERVAL
    client = connect(path)
    client.send(b"\x00")
    host.settle()
    service.tick(time.monotonic() + 11)
    assert client.closed()


def test_a_child_of_the_master_lets_go(host: Any, path: str, service: ControlService, connect: Any) -> None:
    service.start(host)
    client = connect(path)
    assert client.call("help")["status"] == "ok"
    child = os.fork()
    if not child:
        service.forked()
        service.close()  # even so: the file is the master's
        os._exit(0 if service.snapshot()["socket"] is None else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert client.call("help")["status"] == "ok"
    assert connect(path).call("help")["status"] == "ok"


def serve_in_child(path: str) -> int:
    """Fork a process that listens at ``path`` until it is killed; returns when it does."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            file = SocketFile.open(path, 0o600)
            os.write(writer, b"x")
            signal.pause()
            file.close()
        finally:
            os._exit(1)
    os.close(writer)
    assert os.read(reader, 1) == b"x"
    os.close(reader)
    return child


def test_the_socket_of_a_killed_server_is_replaced(host: Any, path: str, service: ControlService, connect: Any) -> None:
    child = serve_in_child(path)
    try:
        service.start(host)
        assert "another process listens" in host.log.texts("warning")[0]
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert os.path.exists(path)
    due = service.tick(time.monotonic())
    service.tick(due or 0.0)
    assert connect(path).call("help")["status"] == "ok"


@pytest.mark.skipif(os.geteuid() != 0, reason="takes another user's part")
def test_another_user_may_look_and_not_touch(host: Any, directory: str, path: str, service: ControlService) -> None:
    os.chmod(directory, 0o755)
    host.cfg.control_socket_mode = 0o666
    service.start(host)
    script = (
        "import os, sys, json\n"
        "from gunicorn.control import ControlClient, CommandFailedError\n"
        "os.setuid(65534)\n"
        "with ControlClient(sys.argv[1]) as client:\n"
        "    print(client.call('show workers')['count'])\n"
        "    try:\n"
        "        client.call('shutdown')\n"
        "    except CommandFailedError as exc:\n"
        "        print(exc)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE, text=True) as child:
        host.run(lambda: child.poll() is not None)
        assert child.stdout is not None
        lines = child.stdout.read().splitlines()
    assert lines[0] == "3"
    assert lines[1].startswith("'shutdown' changes the server, and you (uid 65534) may only look; give it as uid 0")
    assert host.introspection.done == []


def test_the_service_loads_neither_threads_nor_event_loops() -> None:
    script = (
        "import sys, gunicorn.control.service\n"
        "bad = {'asyncio', 'concurrent.futures', 'threading', 'gunicorn.dirty', 'gunicorn.arbiter'}\n"
        "bad &= set(sys.modules)\n"
        "sys.exit(repr(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_of_the_socket_module_is_left_open(host: Any, path: str, service: ControlService) -> None:
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    service.start(host)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        host.run(lambda: service.snapshot()["connections"] == 1)
        service.close()
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) == before
