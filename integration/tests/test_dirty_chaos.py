"""A pool in which everything dies, hangs and vanishes, for a bounded time: each call is answered once, with its own
result or with a typed error, and nothing is left over."""

from __future__ import annotations

import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gunicorn.dirty.client import DirtyClient
from gunicorn.dirty.errors import DirtyError
from gunicorn.dirty.protocol import BinaryProtocol

if TYPE_CHECKING:
    from integration.conftest import Server

SECONDS = 6.0
CLIENTS = 4
APP = "chaos_app:Chaos"
CODE = """
import os
import time

from gunicorn.dirty import DirtyApp


class Chaos(DirtyApp):
    def echo(self, value):
        return value

    def parent(self):
        return os.getppid()

    def hang(self):
        time.sleep(3600)

    def count(self, mark, number):
        for index in range(number):
            yield [mark, index]


def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


class Caller:
    """One client: asks without end, and checks what it gets."""

    def __init__(self, path: str, seed: int, over: threading.Event) -> None:
        self.client = DirtyClient(path)
        self.random = random.Random(seed)
        self.seed = seed
        self.over = over
        self.right = 0
        self.errors: dict[str, int] = {}
        self.wrong: list[Any] = []
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        number = 0
        while not self.over.is_set():
            number += 1
            try:
                self.one([self.seed, number])
            except DirtyError as exc:
                self.errors[type(exc).__name__] = self.errors.get(type(exc).__name__, 0) + 1
                self.over.wait(0.01)
            except BaseException as exc:
                self.wrong.append(exc)
                return
        self.client.close()

    def one(self, mark: list[int]) -> None:
        kind = self.random.random()
        if kind < 0.02:
            self.client.execute(APP, "hang", timeout=0.2)
            raise AssertionError("a call that hangs has an answer")
        if kind < 0.2:
            stop = self.random.randrange(30)
            with self.client.stream(APP, "count", mark, 20, timeout=10) as items:
                for index, item in enumerate(items):
                    if item != [mark, index]:
                        self.wrong.append((mark, index, item))
                    if index == stop:  # leaves it half way
                        break
        else:
            value = [mark, b"x" * self.random.choice((0, 10, 100_000, 700_000))]
            answer = self.client.execute(APP, "echo", value, timeout=10)
            if answer != value:
                self.wrong.append((mark, answer[0]))
        self.right += 1


def vanish(path: str, chance: random.Random) -> None:
    """A client that sends some of a request, or all of it, reads nothing and goes."""
    frame = BinaryProtocol.encode_request(1, APP, "echo", (b"y" * 300_000,))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        try:
            sock.connect(path)
            sock.sendall(frame[: chance.choice((3, 20, 1000, 200_000, len(frame)))])
        except OSError:
            pass  # the arbiter is just not there, or went away


def test_every_call_is_answered_once_whatever_dies(
    serve: Callable[..., Server], eventually: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "chaos_app.py").write_text(CODE)
    pool = ("--dirty-app", APP, "--dirty-workers", "2", "--dirty-threads", "2", "--dirty-cancel-grace", "0.1")
    server = serve(*pool, "--pythonpath", str(tmp_path), "chaos_app:app")
    server.ready("/")
    (path,) = map(str, (server.directory / "tmp").glob("gunicorn-dirty-*/pool.sock"))
    master = server.pid
    chance = random.Random(27)
    over = threading.Event()
    callers = [Caller(path, seed, over) for seed in range(CLIENTS)]
    end = time.monotonic() + SECONDS
    kills = 0
    try:
        while time.monotonic() < end:
            over.wait(0.3)
            vanish(path, chance)
            tree = server.tree()
            arbiters = [pid for pid, one in tree.items() if one.parent == master and is_arbiter(tree, pid)]
            workers = [pid for pid, one in tree.items() if one.parent in arbiters]
            victims = arbiters if chance.random() < 0.15 else workers
            if victims:
                kills += 1
                try:
                    os.kill(chance.choice(sorted(victims)), signal.SIGKILL)
                except ProcessLookupError:
                    pass
    finally:
        over.set()
        for caller in callers:
            caller.thread.join(60)
    assert not any(caller.thread.is_alive() for caller in callers), "a call has no answer"
    assert [wrong for caller in callers for wrong in caller.wrong] == []
    assert kills > 2
    assert all(caller.right for caller in callers)
    client = DirtyClient(path, 60)
    calm = client.using(idempotent=True)
    parent = eventually(lambda: works(calm), "the pool serves again")
    eventually(lambda: fds(parent) <= 40, "no descriptor is left over in the arbiter")
    client.close()


def is_arbiter(tree: Any, pid: int) -> bool:
    return any(one.parent == pid for one in tree.values())


def works(client: DirtyClient) -> int:
    try:
        return int(client.execute(APP, "parent"))
    except DirtyError:
        return 0


def fds(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))
