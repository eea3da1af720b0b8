"""Apps that the pools of these tests load (they run with this folder as their directory)."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from gunicorn.dirty import DirtyApp, batched, current_call, stash
from gunicorn.dirty.errors import DirtyTimeoutError


class Sample(DirtyApp):
    """Every kind of action."""

    def init(self) -> None:
        self.closed_streams = 0
        self.cancelled = 0
        self.calls: list[Any] = []

    def echo(self, value: Any = None) -> Any:
        return value

    def pid(self) -> int:
        return os.getpid()

    def join(self, *args: str, sep: str = "") -> str:
        return sep.join(args)

    def boom(self) -> None:
        raise ValueError("boom \udce4")

    def textless(self) -> None:
        class TextlessError(Exception):
            def __str__(self) -> str:
                raise RuntimeError("no text")

        raise TextlessError

    def fork_and_return(self) -> int:
        """Both processes come back from here."""
        return os.fork()

    def refuse(self) -> None:
        raise DirtyTimeoutError("of the app's own", 1.5)

    def talk_out_of_turn(self) -> None:
        """Sends what is no frame where its answer is expected."""
        import gc

        from gunicorn.dirty.slot import Slot

        (slot,) = [found for found in gc.get_objects() if isinstance(found, Slot)]
        slot._sock.sendall(b"no frame" * 4)

    def unsendable(self) -> object:
        return object()

    def leave(self) -> None:
        raise SystemExit(7)

    def sleep(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    def about(self) -> dict[str, Any]:
        call = current_call()
        names = ("request_id", "app_path", "action", "traceparent", "idempotency_key", "remaining", "cancelled")
        return {name: getattr(call, name) for name in names}

    async def aabout(self) -> list[Any]:
        await asyncio.sleep(0)
        return [current_call().action, await asyncio.to_thread(lambda: current_call().action)]

    def until_cancelled(self, path: str) -> None:
        """Notices that nobody wants it any more, and says so in a file."""
        call = current_call()
        while not call.wait(0.01):
            pass
        with open(path, "w") as file:
            file.write(str(call.request_id))
        call.raise_if_cancelled()

    def die_once(self, path: str) -> list[str]:
        """Kills its worker unless it has been called before; returns the idempotency keys of both calls."""
        with open(path, "a") as file:
            file.write(f"{current_call().idempotency_key}\n")
        with open(path) as file:
            lines = file.read().split()
        if len(lines) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return lines

    def thread_name(self) -> str:
        return threading.current_thread().name

    def wait_for_file(self, path: str) -> str:
        while not os.path.exists(path):
            time.sleep(0.01)
        return path

    def remember(self, value: Any) -> None:
        self.calls.append(value)

    def remembered(self) -> list[Any]:
        return self.calls

    def spin_with_lock(self) -> None:
        """Never gives up the interpreter's lock: one C call that takes for ever."""
        sum(range(10**12))

    def count(self, to: int) -> Iterator[int]:
        yield from range(to)

    def forever(self, size: int = 10) -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * size
        finally:
            self.closed_streams += 1

    def stuck_stream(self) -> Iterator[int]:
        yield 1
        time.sleep(3600)

    def break_off(self) -> Iterator[int]:
        yield 1
        raise ValueError("in the middle")

    def streams_closed(self) -> int:
        return self.closed_streams

    async def aecho(self, value: Any) -> Any:
        await asyncio.sleep(0)
        return value

    async def aboom(self) -> None:
        raise ValueError("async boom")

    async def asleep(self, seconds: float) -> float:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return seconds

    def was_cancelled(self) -> int:
        return self.cancelled

    async def acount(self, to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number

    async def aforever(self, size: int = 10) -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * size
        finally:
            self.closed_streams += 1

    async def aname(self) -> str:
        return threading.current_thread().name

    async def ablobs(self, count: int, size: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b"x" * size


class Many(Sample):
    """Its calls run as tasks."""

    concurrency = 6

    def init(self) -> None:
        super().init()
        self.met = 0
        self.all_met: asyncio.Event | None = None

    async def meet(self, number: int) -> int:
        """Returns when `number` calls are here at a time."""
        if self.all_met is None:
            self.all_met = asyncio.Event()
        self.met += 1
        if self.met == number:
            self.all_met.set()
        await self.all_met.wait()
        return number

    async def unwilling(self) -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                pass


class Directing:
    """Has a `__call__` of its own, which gives coroutines without being one."""

    concurrency = 2

    def __call__(self, action: str, *args: Any) -> Any:
        async def run() -> str:
            return f"{action} {args}"

        return run()


class Fresh(DirtyApp):
    start_method = "spawn"

    def command(self) -> list[str]:
        return sys.orig_argv

    def echo(self, value: Any) -> Any:
        return value


class Odd(DirtyApp):
    start_method = "teleport"


class Batching(DirtyApp):
    concurrency = 6

    @batched(max_size=6, max_wait=20)
    def doubled(self, numbers: list[int]) -> list[list[int]]:
        return [[2 * number, len(numbers)] for number in numbers]

    @batched(max_size=6, max_wait=20)
    async def adoubled(self, numbers: list[int]) -> list[list[int]]:
        return [[2 * number, len(numbers)] for number in numbers]


class Counting(DirtyApp):
    """Uses the stash from actions."""

    stashes = ("counts", "made")

    def read(self, table: str, key: str) -> Any:
        return stash.get(table, key)

    def read_while_stopped(self, table: str, key: str) -> Any:
        """What is there, and what a read finds while the arbiter is stopped."""
        value = stash.get(table, key)
        os.kill(os.getppid(), signal.SIGSTOP)
        try:
            return [value, stash.StashClient(timeout=10).get(table, key)]
        finally:
            os.kill(os.getppid(), signal.SIGCONT)

    def rewrite(self, table: str, key: str, times: int) -> int:
        """How often a read did not find what was just written."""
        wrong = 0
        for number in range(times):
            stash.put(table, key, number)
            wrong += stash.get(table, key) != number
        return wrong

    def count(self, times: int) -> int:
        for _ in range(times):
            value = stash.incr("counts", "n")
        return int(value)

    async def acount(self) -> Any:
        return await stash.AsyncStash().incr("counts", "n")


class Limited(DirtyApp):
    workers = 1

    def pid(self) -> int:
        return os.getpid()


class Telling(DirtyApp):
    """Its import (below) and its life leave notes in the file that TELLING_FILE names."""

    workers = 2

    def pid(self) -> int:
        return os.getpid()


if "TELLING_FILE" in os.environ:
    with open(os.environ["TELLING_FILE"], "a") as note:
        note.write(f"{os.getpid()}\n")


class Slow(DirtyApp):
    """Loads when the file that SLOW_FILE names exists."""

    def init(self) -> None:
        while not os.path.exists(os.environ["SLOW_FILE"]):
            time.sleep(0.01)

    def pid(self) -> int:
        return os.getpid()


class Broken(DirtyApp):
    """Loads only when the file that BROKEN_FILE names exists."""

    def init(self) -> None:
        if not os.path.exists(os.environ["BROKEN_FILE"]):
            raise RuntimeError("expected failure of init")

    def pid(self) -> int:
        return os.getpid()


class Closing(DirtyApp):
    """Writes to the file that CLOSING_FILE names when it is closed."""

    def pid(self) -> int:
        return os.getpid()

    def close(self) -> None:
        with open(os.environ["CLOSING_FILE"], "a") as file:
            file.write(f"{os.getpid()}\n")


class Unspeakable(DirtyApp):
    """Does not load, with a reason that UTF-8 cannot carry."""

    def init(self) -> None:
        raise ValueError("expected failure of init \udce4")


class Leaving(DirtyApp):
    def init(self) -> None:
        sys.exit("expected failure of init: no licence")
