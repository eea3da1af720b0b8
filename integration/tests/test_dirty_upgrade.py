"""USR2 with a dirty pool: for a while two masters serve, each with a pool of its own, and calls succeed through both;
then one of them goes, with its pool, and the other has all."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from integration.conftest import Load, Server

WEB = """
import json
import os

from gunicorn.dirty import DirtyApp, current_call, get_dirty_client, stash


class Work(DirtyApp):
    def who(self):
        return [os.getpid(), os.getppid()]

    def wait_for(self, path):
        while not os.path.exists(path) and not current_call().wait(0.01):
            pass
        return [os.getpid(), os.getppid()]


def app(environ, start_response):
    client = get_dirty_client()
    if environ["PATH_INFO"] == "/wait":
        with open("waiting", "w") as file:
            file.write(str(os.getppid()))
        worker, arbiter = client.execute("upgraded:Work", "wait_for", "go")
    else:
        client = client.using(idempotent=environ["PATH_INFO"] == "/again")
        worker, arbiter = client.execute("upgraded:Work", "who")
    result = {"master": os.getppid(), "arbiter": arbiter, "worker": worker, "socket": client.socket_path,
              "count": stash.incr("counts", "n")}
    body = json.dumps(result).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


class Upgrade:
    """A server with a pool that has been told to upgrade, when both masters serve.

    :ivar before: what the old one said before
    :ivar new: pid of the new master
    """

    def __init__(self, serve: Callable[..., Server], eventually: Callable[..., Any], directory: Path) -> None:
        (directory / "upgraded.py").write_text(WEB)
        pool = ("--dirty-app", "upgraded:Work", "--dirty-workers", "1", "--dirty-threads", "4")
        self.server = serve(*pool, "--worker-class", "gthread", "--threads", "3", "--pid", "pid", "upgraded:app")
        self.before = self.server.ready("/who").json
        assert self.before["master"] == self.server.pid
        self.old = set(self.server.tree())
        assert len(self.old) == 4, "master, HTTP worker, arbiter, dirty worker"
        self.server.send(signal.SIGUSR2)
        self.new = int(self.server.wait_for(r"A new master is started: (\d+)")[1])
        eventually(lambda: len(self.server.tree()) == 8, "both of them are complete")


def masters(replies: list[str]) -> dict[int, set[tuple[int, str]]]:
    """Arbiters and sockets of the replies, by the master that they came through."""
    found: dict[int, set[tuple[int, str]]] = {}
    for reply in map(json.loads, replies):
        found.setdefault(reply["master"], set()).add((reply["arbiter"], reply["socket"]))
    return found


def a_call_of(
    server: Server, master: int, directory: Path, outcomes: list[Any], eventually: Callable[..., Any]
) -> threading.Thread:
    """A request that this master's worker got and whose call runs until the file `go` is there."""
    waiting, go = directory / "waiting", directory / "go"
    while True:
        thread = threading.Thread(target=lambda: outcomes.append(server.ask("/wait").json))
        thread.start()
        eventually(lambda: waiting.exists() and waiting.read_text(), "a call waits")
        if int(waiting.read_text()) == master:
            return thread
        go.touch()  # the kernel gave it to the other one
        thread.join()
        go.unlink()
        waiting.unlink()
        outcomes.clear()


def test_both_pools_work_until_the_old_one_goes(
    serve: Callable[..., Server], load: type[Load], eventually: Callable[..., Any], directory: Path
) -> None:
    upgrade = Upgrade(serve, eventually, directory)
    server, old, new = upgrade.server, upgrade.server.pid, upgrade.new
    waiting: list[Any] = []
    with load(server.address, "/who") as clients:
        eventually(lambda: set(masters(clients.good)) == {old, new}, "answers through both")
        thread = a_call_of(server, old, directory, waiting, eventually)
        server.send(signal.SIGTERM)
        server.wait_for("Handling signal: term")
        clients.wait_for(20, lambda text: json.loads(text)["master"] == new)
        assert set(server.tree()) >= {old, upgrade.before["arbiter"], upgrade.before["worker"]}
        (directory / "go").touch()  # the call that runs in the old pool is done before that pool goes
        thread.join(30)
        assert server.wait() == 0
        eventually(lambda: not upgrade.old & set(server.tree()), "the old master's pool is gone")
        clients.wait_for(20)
    assert clients.bad == []
    (reply,) = waiting
    assert (reply["master"], reply["arbiter"]) == (old, upgrade.before["arbiter"])
    through = masters(clients.good)
    assert [len(pools) for pools in through.values()] == [1, 1]
    ((arbiter, path),) = through[new]
    assert (arbiter, path) != (upgrade.before["arbiter"], upgrade.before["socket"])
    assert os.path.exists(path)
    assert not os.path.exists(upgrade.before["socket"])
    # The new one is whole: its pool comes back on its own path, and it can be upgraded in turn.
    os.kill(arbiter, signal.SIGKILL)
    again = eventually(lambda: server.try_to_ask("/again"), "the new pool serves again").json
    assert (again["socket"], again["arbiter"] != arbiter) == (path, True)
    eventually(lambda: (directory / "pid").read_text() == f"{new}\n", "the new master has the old one's place")
    os.kill(new, signal.SIGTERM)
    server.wait_until_gone()
    assert not [name for name in server.files_left() if "dirty" in name]


def test_the_new_one_may_go_instead(
    serve: Callable[..., Server], load: type[Load], eventually: Callable[..., Any], directory: Path
) -> None:
    upgrade = Upgrade(serve, eventually, directory)
    server, old, new = upgrade.server, upgrade.server.pid, upgrade.new
    with load(server.address, "/who") as clients:
        eventually(lambda: set(masters(clients.good)) == {old, new}, "answers through both")
        os.kill(new, signal.SIGTERM)
        eventually(lambda: set(server.tree()) == upgrade.old, "only the old one is left, as it was")
        clients.wait_for(20)
    assert clients.bad == []
    ((_, path),) = masters(clients.good)[new]
    assert not os.path.exists(path)
    assert masters(clients.good)[old] == {(upgrade.before["arbiter"], upgrade.before["socket"])}


def test_kill_9_of_the_old_master_leaves_the_new_ones_pool_alone(
    serve: Callable[..., Server], eventually: Callable[..., Any], directory: Path
) -> None:
    upgrade = Upgrade(serve, eventually, directory)
    server = upgrade.server
    server.clean = False
    server.send(signal.SIGKILL)
    server.wait()
    eventually(lambda: not upgrade.old & set(server.tree()), "nothing of the old one is left")
    reply = eventually(lambda: server.try_to_ask("/who"), "the new one serves").json
    assert reply["master"] == upgrade.new
    assert reply["arbiter"] != upgrade.before["arbiter"]
    os.kill(upgrade.new, signal.SIGTERM)
    server.wait_until_gone()
    assert not [name for name in server.files_left() if "dirty" in name]
