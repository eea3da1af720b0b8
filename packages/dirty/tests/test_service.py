"""The service in a small host of its own, which does what the server's master does: selector, children, ticks."""

from __future__ import annotations

import json
import logging
import os
import selectors
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from gunicorn.dirty.client import DirtyClient
from gunicorn.dirty.errors import DirtyConnectionError
from gunicorn.dirty.protocol import BinaryProtocol
from gunicorn.dirty.service import SOCKET_VARIABLE, DirtyService

APP = "sampleapps:Sample"
NOBODY = 65534


def make_cfg(**values: Any) -> Any:
    cfg = {setting["name"]: setting["default"] for setting in DirtyService.settings}
    cfg.update(proc_name="test", user=os.geteuid(), group=os.getegid())
    cfg.update(values)
    return SimpleNamespace(**cfg)


class Host:
    """A master."""

    def __init__(self, cfg: Any) -> None:
        self.cfg = cfg
        self.log = logging.getLogger("test.dirty.service")
        self.pid = os.getpid()
        self.introspection = None
        self.selector = selectors.DefaultSelector()
        self.service = DirtyService()
        self.pids: list[int] = []

    def register(self, fileobj: Any, events: int, callback: Callable[[int], None]) -> None:
        self.selector.register(fileobj, events, callback)

    def modify(self, fileobj: Any, events: int) -> None:
        self.selector.modify(fileobj, events, self.selector.get_key(fileobj).data)

    def unregister(self, fileobj: Any) -> None:
        self.selector.unregister(fileobj)

    def spawn(self, main: Callable[[], int | None], title: str) -> int:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                self.selector.close()
                code = main() or 0
            finally:
                os._exit(code)
        self.pids.append(pid)
        return pid

    def turn(self) -> None:
        """One turn of the master's loop."""
        for key, ready in self.selector.select(0.01):
            key.data(ready)
        for pid in list(self.pids):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                self.pids.remove(pid)
                assert self.service.child_exited(pid, status)
        self.service.tick(time.monotonic())

    def until(self, condition: Callable[[], Any], what: str, deadline: float = 60) -> Any:
        end = time.monotonic() + deadline
        while True:
            self.turn()
            value = condition()
            if value:
                return value
            assert time.monotonic() < end, f"waited in vain: {what}"

    def end(self) -> None:
        self.service.stop(False)
        self.until(lambda: self.service.stopped, "it stops")
        self.service.close()
        self.selector.close()


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Host]]:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.delenv(SOCKET_VARIABLE, raising=False)
    hosts: list[Host] = []

    def make(**values: Any) -> Host:
        made = Host(make_cfg(**values))
        hosts.append(made)
        made.service.start(made)
        return made

    yield make
    for made in hosts:
        made.end()


def started(host: Callable[..., Host], **values: Any) -> Host:
    made = host(**{"dirty_apps": [APP], "dirty_workers": 1, **values})
    made.until(lambda: made.service.snapshot()["state"] == "ready", "the pool is ready")
    return made


def call(made: Host, action: str, *args: Any) -> Any:
    """A call from a process of its own, so that the host's loop can turn meanwhile."""
    path = made.service.snapshot()["socket"]
    client = DirtyClient(path, 20)
    try:
        return client.execute(APP, action, *args)
    finally:
        client.close()


def test_it_starts_a_pool_in_a_private_directory_and_leaves_nothing(host: Callable[..., Host]) -> None:
    made = started(host)
    path = made.service.snapshot()["socket"]
    assert os.environ[SOCKET_VARIABLE] == path
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert call(made, "echo", 5) == 5
    json.dumps(made.service.snapshot())
    begun = time.monotonic()
    made.service.stop(True)
    made.until(lambda: made.service.stopped, "it stops")
    assert time.monotonic() - begun < 1
    made.service.close()
    assert not os.path.exists(os.path.dirname(path))
    assert SOCKET_VARIABLE not in os.environ


def test_a_graceful_stop_may_take_as_long_as_the_setting_says(host: Callable[..., Host]) -> None:
    assert host().service.patience == 0
    assert started(host, dirty_graceful_timeout=100).service.patience > 100


def test_without_apps_or_workers_it_does_nothing(host: Callable[..., Host], caplog: pytest.LogCaptureFixture) -> None:
    made = host(dirty_apps=[APP])
    assert made.service.snapshot() == {"pid": None, "socket": None, "state": "off", "restarts": 0}
    assert made.service.stopped
    assert "--dirty-workers" in caplog.text
    host(dirty_workers=2)
    assert "--dirty-app" in caplog.text
    assert SOCKET_VARIABLE not in os.environ


def test_a_killed_arbiter_is_started_again_on_the_same_path(host: Callable[..., Host]) -> None:
    made = started(host)
    first = made.service.snapshot()
    client = DirtyClient(first["socket"], 20)
    assert client.execute(APP, "echo", 1) == 1
    for _ in range(2):
        os.kill(made.service.snapshot()["pid"], signal.SIGKILL)
        made.until(lambda: made.service.snapshot()["state"] == "down", "its death is noticed")
        made.until(lambda: made.service.snapshot()["state"] == "ready", "another one is ready")
        assert client.execute(APP, "echo", 2) == 2  # an idle connection to the dead one is no obstacle
    last = made.service.snapshot()
    assert last["socket"] == first["socket"]
    assert last["pid"] != first["pid"]
    assert last["restarts"] == 2
    client.close()


def test_calls_wait_in_the_backlog_while_there_is_no_arbiter(host: Callable[..., Host]) -> None:
    import threading

    made = started(host)
    os.kill(made.service.snapshot()["pid"], signal.SIGKILL)
    made.until(lambda: made.service.snapshot()["pid"] is None, "its death is noticed")
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(call(made, "echo", 3)))
    thread.start()
    made.until(lambda: results, "the call is answered")
    thread.join()
    assert results == [3]


def test_a_reload_takes_over_the_new_configuration(host: Callable[..., Host]) -> None:
    made = started(host)
    first = call(made, "pid")
    made.cfg = make_cfg(dirty_apps=[APP, "sampleapps:Limited:1"], dirty_workers=2, dirty_threads=2)
    pid = made.service.snapshot()["pid"]
    made.service.reload(made)
    client = DirtyClient(made.service.snapshot()["socket"], 20)

    def changed() -> bool:
        made.turn()
        try:
            return bool(client.execute("sampleapps:Limited", "pid"))
        except Exception:
            return False

    made.until(changed, "the new app is there")
    made.until(lambda: call(made, "pid") != first, "the workers are new")
    assert made.service.snapshot()["pid"] == pid
    made.cfg = make_cfg(dirty_apps=["sampleapps"], dirty_workers=2)
    made.service.reload(made)
    assert client.execute("sampleapps:Limited", "pid")
    client.close()


def test_a_reload_may_bring_the_first_pool(host: Callable[..., Host]) -> None:
    made = host()
    assert made.service.snapshot()["state"] == "off"
    made.cfg = make_cfg(dirty_apps=[APP], dirty_workers=1)
    made.service.reload(made)
    made.until(lambda: made.service.snapshot()["state"] == "ready", "the pool is ready")
    assert call(made, "echo", 1) == 1


def test_hooks_are_called_with_what_they_are_promised(host: Callable[..., Host], tmp_path: Path) -> None:
    def note(name: str) -> Callable[..., None]:
        def hook(*args: Any) -> None:
            with open(tmp_path / name, "a") as file:
                file.write(f"{os.getpid()} {[type(arg).__name__ for arg in args]} {args[-1].pid}\n")

        return hook

    names = ["on_dirty_starting", "dirty_post_fork", "dirty_worker_init", "dirty_worker_exit"]
    made = started(host, **{name: note(name) for name in names})
    arbiter, worker = made.service.snapshot()["pid"], call(made, "pid")
    made.service.stop(True)
    made.until(lambda: made.service.stopped, "it stops")
    text = {name: (tmp_path / name).read_text() for name in names}
    assert text == {
        "on_dirty_starting": f"{arbiter} ['DirtyArbiter'] {arbiter}\n",
        "dirty_post_fork": f"{worker} ['DirtyArbiter', 'DirtyWorker'] {worker}\n",
        "dirty_worker_init": f"{worker} ['DirtyWorker'] {worker}\n",
        "dirty_worker_exit": f"{arbiter} ['DirtyArbiter', 'WorkerProcess'] {worker}\n",
    }


def test_another_child_of_the_master_gives_back_what_it_inherited(host: Callable[..., Host]) -> None:
    made = started(host)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            path = made.service.snapshot()["socket"]
            made.service.forked()
            links = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_open(fd)]
            inodes = {line.split()[6] for line in Path("/proc/self/net/unix").read_text().splitlines() if path in line}
            assert not [link for link in links if link[8:-1] in inodes]
            assert os.path.exists(path)
            assert os.environ[SOCKET_VARIABLE] == path
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


def _is_open(fd: str) -> bool:
    try:
        os.readlink(f"/proc/self/fd/{fd}")
    except FileNotFoundError:
        return False
    return True


def test_a_pool_goes_with_its_master_busy_or_not(tmp_path: Path, alive: Callable[[int], bool], wait_for: Any) -> None:
    """A master that is killed: nothing of the pool runs two seconds later, and the socket is gone."""
    program = tmp_path / "master.py"
    program.write_text(
        f"""
import importlib.util, os, sys, threading
sys.path.insert(0, {str(Path(__file__).parent)!r})
spec = importlib.util.spec_from_file_location("host", {__file__!r})
module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)
host = module.Host(module.make_cfg(dirty_apps=[{APP!r}], dirty_workers=2))
host.service.start(host)
host.until(lambda: host.service.snapshot()["state"] == "ready", "ready")
path = host.service.snapshot()["socket"]
from gunicorn.dirty.client import DirtyClient
client = DirtyClient(path)
threading.Thread(target=client.execute, args=({APP!r}, "spin_with_lock"), daemon=True).start()
from gunicorn.dirty.protocol import BinaryProtocol
import socket
def status():
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        sock.sendall(BinaryProtocol.encode_status(1))
        return BinaryProtocol.read_message(sock)["result"]
host.until(lambda: any(s["busy"] for w in status()["workers"] for s in w["slots"]), "busy")
print(path, host.service.pid, *[w["pid"] for w in status()["workers"]], flush=True)
host.until(lambda: False, "the end", 60)
"""
    )
    master = subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True)
    assert master.stdout is not None
    path, *pids = master.stdout.readline().split()
    assert len(pids) == 3
    master.kill()
    master.wait()
    master.stdout.close()
    wait_for(lambda: not any(alive(int(pid)) for pid in pids), "the pool is gone", 2)
    wait_for(lambda: not os.path.exists(os.path.dirname(path)), "its files are gone", 2)
    with pytest.raises(DirtyConnectionError):
        DirtyClient(path).execute(APP, "echo", 1)


def test_only_the_master_may_manage(host: Callable[..., Host]) -> None:
    made = started(host)
    path = made.service.snapshot()["socket"]
    program = (
        "import socket, sys; from gunicorn.dirty.protocol import BinaryProtocol as P\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "s.sendall(P.encode_manage(1, 1, 1)); print(P.read_message(s))\n"
        "s.sendall(P.encode_status(2)); print(P.read_message(s)['type']); s.close()"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    refusal, status = done.stdout.splitlines()
    assert "only the server's master" in refusal
    assert status == "response"
    with socket.socket(socket.AF_UNIX) as sock:  # this process is the master
        sock.settimeout(20)
        sock.connect(path)
        sock.sendall(BinaryProtocol.encode_manage(1, 1, 1))
        assert BinaryProtocol.read_message(sock)["result"]["spawned"] == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_started_by_root_it_runs_as_the_servers_user(host: Callable[..., Host]) -> None:
    assert Mock.__module__ in sys.modules  # an app that is loaded here, since this user's files may be root's alone
    made = started(host, dirty_apps=["unittest.mock:Mock"], user=NOBODY, group=NOBODY)
    found = made.service.snapshot()
    owner = os.stat(found["socket"])
    assert (owner.st_uid, owner.st_gid) == (NOBODY, NOBODY)
    assert os.stat(os.path.dirname(found["socket"])).st_uid == NOBODY
    children = Path(f"/proc/{found['pid']}/task/{found['pid']}/children").read_text().split()
    assert children
    for pid in (found["pid"], *children):
        status = Path(f"/proc/{pid}/status").read_text()
        uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
        assert uids == [str(NOBODY)] * 4


def test_two_instances_do_not_touch_each_other(host: Callable[..., Host]) -> None:
    one, two = started(host), started(host)
    assert one.service.snapshot()["socket"] != two.service.snapshot()["socket"]
    one.service.stop(True)
    one.until(lambda: one.service.stopped, "it stops")
    one.service.close()
    assert call(two, "echo", 1) == 1


def test_the_master_loads_neither_asyncio_nor_the_app() -> None:
    program = (
        "import sys, gunicorn.dirty.service as s; s.DirtyService();"
        "print([m for m in ('asyncio', 'concurrent.futures', 'gunicorn.dirty.client') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
