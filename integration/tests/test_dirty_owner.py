"""A server that root starts for another user: the pool is that user's, its socket too, and nobody else may call."""

from __future__ import annotations

import os
import signal
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from gunicorn.dirty.client import DirtyClient

if TYPE_CHECKING:
    from integration.conftest import Server

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

OWNER, GROUP, STRANGER = 65534, 65534, 65533
APP = """
import json
import os
import threading

from gunicorn.dirty import DirtyApp, get_dirty_client, stash

HOOK = None


def ids():
    return [os.getresuid(), os.getresgid(), os.getgroups()]


class Work(DirtyApp):
    def who(self):
        stash.incr("counts", "n")
        return [os.getpid(), os.getppid(), ids()]

    def report(self):
        return [os.getpid(), HOOK, len([thread for thread in threading.enumerate() if "slot" in thread.name])]


def web(environ, start_response):
    client = get_dirty_client().using(idempotent=True)
    body = json.dumps([ids(), client.execute("owned:Work", "who"), stash.get("counts", "n")]).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
# The interpreter's own files may lie where only root can read: what is needed later is loaded before.
CONFIG = """
import asyncio, encodings.idna, json, multiprocessing, random, subprocess
import gunicorn.dirty.arbiter, gunicorn.dirty.client, gunicorn.dirty.stash
import gunicorn.workers.sync
import owned
"""


def ids(pid: int) -> tuple[set[str], set[str], list[str]]:
    """Real, effective, saved and file system user of a process; the same of its group; supplementary groups."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return set(lines["Uid"].split()), set(lines["Gid"].split()), lines["Groups"].split()


def connects_as(uid: int, path: str) -> str:
    """What becomes of a connection of another user: "closed", "open" or the error."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(20)
                sock.connect(path)
                sock.sendall(bytes.fromhex("47440111000000000000000000000005"))  # STATUS
                os.write(writer, b"open" if sock.recv(16) else b"closed")
        except BaseException as exc:
            os.write(writer, b"closed" if isinstance(exc, ConnectionError) else type(exc).__name__.encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    with open(reader) as file:
        return file.read()


def test_the_pool_is_of_the_user_that_the_server_becomes(
    serve: Callable[..., Server], eventually: Callable[..., Any], directory: Path
) -> None:
    (directory / "owned.py").write_text(APP)
    (directory / "gunicorn.conf.py").write_text(CONFIG)
    (directory / "tmp").mkdir()
    for path in (directory, directory / "tmp"):
        path.chmod(0o711)  # the user goes through them
    user = ("--user", str(OWNER), "--group", str(GROUP))
    server = serve(*user, "--dirty-app", "owned:Work", "--dirty-workers", "2", "owned:web")
    everything = [[OWNER] * 3, [GROUP] * 3, [GROUP]]
    web, (worker, arbiter, theirs), count = server.ready().json
    assert web[:2] == everything[:2]
    assert (theirs, count) == (everything, 1)
    assert ids(server.pid)[0] == {"0"}
    for pid in (worker, arbiter):
        assert ids(pid) == ({str(OWNER)}, {str(GROUP)}, [str(GROUP)])

    (path,) = (server.directory / "tmp").glob("gunicorn-dirty-*/pool.sock")
    of_socket, of_directory = path.stat(), path.parent.stat()
    assert (of_socket.st_uid, of_socket.st_gid) == (of_directory.st_uid, of_directory.st_gid) == (OWNER, GROUP)
    assert (stat.S_IMODE(of_socket.st_mode), stat.S_IMODE(of_directory.st_mode)) == (0o600, 0o700)

    # Root and the owner may call. A stranger cannot come near; and were the files open, the arbiter would not talk.
    client = DirtyClient(str(path), 20)
    assert client.execute("owned:Work", "who")[2] == everything
    client.close()
    assert connects_as(OWNER, str(path)) == "open"
    assert connects_as(STRANGER, str(path)) == "PermissionError"
    path.parent.chmod(0o777)
    path.chmod(0o666)
    assert connects_as(STRANGER, str(path)) == "closed"
    server.wait_for(f"refused a connection of uid {STRANGER}")
    path.chmod(0o600)
    path.parent.chmod(0o700)

    # The next arbiter is of that user too, and a reload's workers.
    os.kill(arbiter, signal.SIGKILL)
    _, (_, again, theirs), _ = eventually(server.try_to_ask, "it serves again").json
    assert (again != arbiter, theirs) == (True, everything)
    assert ids(again)[0] == {str(OWNER)}
    server.send(signal.SIGHUP)
    eventually(lambda: "reloads its workers" in server.output, "the pool reloads")
    assert server.ready().json[1][2] == everything


def test_a_pool_that_its_user_cannot_reach_is_told(serve: Callable[..., Server], directory: Path) -> None:
    (directory / "owned.py").write_text(APP)
    (directory / "gunicorn.conf.py").write_text(CONFIG)
    directory.chmod(0o711)
    user = ("--user", str(OWNER), "--group", str(GROUP))
    server = serve(*user, "--dirty-app", "owned:Work", "--dirty-workers", "1", "owned:web")
    server.wait_for(rf"the dirty pool's socket .* cannot be reached by its user \(uid {OWNER}\)")


def test_a_configuration_that_the_pools_user_cannot_read_leaves_it_its_hooks(
    serve: Callable[..., Server], eventually: Callable[..., Any], directory: Path
) -> None:
    (directory / "owned.py").write_text(APP)
    conf = directory / "gunicorn.conf.py"
    conf.write_text(CONFIG + "def dirty_worker_init(worker):\n    owned.HOOK = 'first'\n")
    (directory / "tmp").mkdir()
    for path in (directory, directory / "tmp"):
        path.chmod(0o711)
    user = ("--user", str(OWNER), "--group", str(GROUP))
    server = serve(*user, "--dirty-app", "owned:Work", "owned:web", GUNICORN_CMD_ARGS="--dirty-workers=1")
    server.ready()
    (path,) = (server.directory / "tmp").glob("gunicorn-dirty-*/pool.sock")
    client = DirtyClient(str(path), 20)
    first = client.execute("owned:Work", "report")
    assert first[1:] == ["first", 1]
    conf.write_text(CONFIG + "dirty_threads = 4\ndef dirty_worker_init(worker):\n    owned.HOOK = 'second'\n")
    conf.chmod(0o600)
    server.send(signal.SIGHUP)
    server.wait_for(
        rf"hooks and logs stay as they are, since its arbiter \(uid {OWNER}\) cannot load .*gunicorn.conf.py"
    )
    eventually(lambda: client.execute("owned:Work", "report")[0] != first[0], "the worker is replaced")
    assert client.execute("owned:Work", "report")[1:] == ["first", 4]  # what can be sent has come
    client.close()
