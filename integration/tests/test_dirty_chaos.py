"""A pool in which everything dies, hangs, stalls and vanishes, for a bounded time: each call is answered once, with its
own result or with a typed error, and nothing is left over: no process, descriptor, socket or memory."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gunicorn.dirty.client import DirtyClient
from gunicorn.dirty.errors import (
    DirtyConnectionError,
    DirtyError,
    DirtyNoWorkersAvailableError,
    DirtyTimeoutError,
    DirtyWorkerError,
)
from gunicorn.dirty.protocol import BinaryProtocol

if TYPE_CHECKING:
    from integration.conftest import Server

SECONDS = 6.0
CLIENTS = 3
TASKS = 6  # of the asyncio client, over one connection
SIZES = (0, 10, 100_000, 700_000, 1_500_000)  # bytes of an argument; the last is laid into shared memory
TYPED = {DirtyConnectionError, DirtyNoWorkersAvailableError, DirtyTimeoutError, DirtyWorkerError}
MEMORY = 48 * 1024 * 1024  # bytes that a process may have more in the end: buffers that it keeps, and the allocator's
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

    def pour(self):
        while True:
            yield b"z" * 100_000

    async def aecho(self, value):
        return value


def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


class Caller:
    """A client of its own thread: asks without end, and checks what it gets."""

    def __init__(self, path: str, seed: int, over: threading.Event) -> None:
        self.client = DirtyClient(path)
        self.random = random.Random(seed)
        self.seed = seed
        self.over = over
        self.number = 0
        self.right = 0
        self.errors: set[type[DirtyError]] = set()
        self.wrong: list[Any] = []
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while not self.over.is_set():
            try:
                self.one(self.mark())
            except DirtyError as exc:
                self.errors.add(type(exc))
                self.over.wait(0.01)
            except BaseException as exc:
                self.wrong.append(exc)
                return
        self.client.close()

    def mark(self) -> list[int]:
        """What no other call has."""
        self.number += 1
        return [self.seed, self.number]

    def value(self, mark: list[int]) -> list[Any]:
        return [mark, bytes((self.seed, mark[1] % 256)) * (self.random.choice(SIZES) // 2)]

    def check(self, asked: Any, answer: Any) -> None:
        if answer != asked:
            self.wrong.append((asked[0], answer[0] if isinstance(answer, list) else answer))
        self.right += 1

    def one(self, mark: list[int]) -> None:
        kind = self.random.random()
        if kind < 0.02:
            self.client.execute(APP, "hang", timeout=0.2)
            raise AssertionError("a call that hangs has an answer")
        if kind < 0.2:
            stop = self.random.randrange(30)
            with self.client.stream(APP, "count", mark, 20, timeout=10) as items:
                index = -1
                for index, item in enumerate(items):
                    if item != [mark, index]:
                        self.wrong.append((mark, index, item))
                    if index == stop:  # leaves it half way
                        break
                else:
                    self.check(19, index)
        else:
            value = self.value(mark)
            self.check(value, self.client.execute(APP, "echo", value, timeout=10))


class AsyncCaller(Caller):
    """The same with tasks that share a connection."""

    def run(self) -> None:
        asyncio.run(self.gather())

    async def gather(self) -> None:
        await asyncio.gather(*(self.task() for _ in range(TASKS)))
        await self.client.close_async()

    async def task(self) -> None:
        while not self.over.is_set():
            value = self.value(self.mark())
            kind = self.random.random()
            try:
                if kind < 0.1:  # gives up at once, so that the answer comes when nobody waits for it
                    await asyncio.wait_for(self.client.execute_async(APP, "echo", value), 0.001)
                elif kind < 0.6:
                    self.check(value, await self.client.execute_async(APP, "aecho", value, timeout=10))
                else:
                    self.check(value, await self.client.execute_async(APP, "echo", value, timeout=10))
            except asyncio.TimeoutError:
                pass
            except DirtyError as exc:
                self.errors.add(type(exc))
                await asyncio.sleep(0.01)
            except BaseException as exc:
                self.wrong.append(exc)
                return


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


def stall(path: str, over: threading.Event) -> None:
    """Clients that ask for far more than they read, and stay; when it is over, they go without reading."""
    frame = BinaryProtocol.encode_request(1, APP, "pour")
    while not over.is_set():
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(5)
            try:
                sock.connect(path)
                sock.sendall(frame)
                sock.recv(1000)
            except OSError:
                pass
            over.wait(1.0)


def test_every_call_is_answered_once_whatever_dies(
    serve: Callable[..., Server], eventually: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "chaos_app.py").write_text(CODE)
    pool = ("--dirty-app", APP, "--dirty-workers", "2", "--dirty-threads", "3", "--dirty-cancel-grace", "0.1")
    server = serve(*pool, "--pythonpath", str(tmp_path), "chaos_app:app")
    server.ready("/")
    (path,) = map(str, (server.directory / "tmp").glob("gunicorn-dirty-*/pool.sock"))
    client = DirtyClient(path, 60)
    before = calm(server, client, eventually)
    files = set(server.files_left())
    chance = random.Random(27)
    over = threading.Event()
    callers: list[Caller] = [Caller(path, seed, over) for seed in range(CLIENTS)]
    callers.append(AsyncCaller(path, CLIENTS, over))
    stalled = threading.Thread(target=stall, args=(path, over))
    stalled.start()
    try:
        kills = havoc(server, path, chance, over)
    finally:
        over.set()
        for thread in (stalled, *(caller.thread for caller in callers)):
            thread.join(60)
    assert not any(caller.thread.is_alive() for caller in callers), "a call has no answer"
    assert [wrong for caller in callers for wrong in caller.wrong] == []
    assert set().union(*(caller.errors for caller in callers)) <= TYPED
    assert kills > 2
    assert all(caller.right > 10 for caller in callers)

    def as_before() -> bool:
        """Processes, and of master and arbiter the descriptors, are what they were."""
        now = calm(server, client, eventually)
        assert [there - here < MEMORY for here, there in zip(before.memory, now.memory, strict=True)] == [True, True]
        return now[:2] == before[:2]

    eventually(as_before, f"all is as it was: {before}")
    assert set(server.files_left()) == files
    client.close()


def havoc(server: Server, path: str, chance: random.Random, over: threading.Event) -> int:
    """Kill workers and, in the first half, arbiters, and be clients that vanish, for some seconds: the last arbiter has
    been through enough to show what it keeps. Returns the number of kills."""
    end = time.monotonic() + SECONDS
    kills = 0
    while time.monotonic() < end:
        over.wait(0.3)
        vanish(path, chance)
        tree = server.tree()
        arbiters = [pid for pid, one in tree.items() if one.parent == server.pid and is_arbiter(tree, pid)]
        workers = [pid for pid, one in tree.items() if one.parent in arbiters]
        first_half = time.monotonic() < end - SECONDS / 2
        victims = arbiters if chance.random() < 0.3 and first_half else workers
        if victims:
            kills += 1
            try:
                os.kill(chance.choice(sorted(victims)), signal.SIGKILL)
            except ProcessLookupError:
                pass
    return kills


def is_arbiter(tree: Any, pid: int) -> bool:
    return any(one.parent == pid for one in tree.values())


class State(NamedTuple):
    """What there is while nothing runs: number of processes; of master and arbiter the open descriptors and memory."""

    processes: int
    descriptors: tuple[int, int]
    memory: tuple[int, int]  # bytes


def calm(server: Server, client: DirtyClient, eventually: Callable[..., Any]) -> State:
    """Wait until the pool is complete and has nothing to do; the client then has one connection."""

    def complete() -> bool:
        shown = server.control_client("show dirty", "-j")
        data = json.loads(shown.stdout) if shown.returncode == 0 else {}
        return [one["state"] for one in data.get("workers", ())] == ["ready", "ready"] and not data["queued"]

    eventually(complete, "the pool is complete")
    arbiter = eventually(lambda: answered(client), "the pool serves")
    return State(len(server.tree()), (fds(server.pid), fds(arbiter)), (memory(server.pid), memory(arbiter)))


def answered(client: DirtyClient) -> int:
    try:
        return int(client.execute(APP, "parent"))
    except DirtyError:
        return 0


def fds(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def memory(pid: int) -> int:
    """Bytes of memory that are the process's own (proc(5), VmRSS without what files and shared memory make of it)."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(lines["RssAnon"].split()[0]) * 1024
