"""The asyncio client: one connection for many calls, streams with backpressure, cancellation, loops and forks."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from gunicorn.dirty import get_dirty_client_async
from gunicorn.dirty.client import DirtyClient
from gunicorn.dirty.errors import (
    DirtyAppError,
    DirtyConnectionError,
    DirtyError,
    DirtyProtocolError,
    DirtyTimeoutError,
)

APP = "sampleapps:Sample"


def run(main: Callable[[], Awaitable[Any]], loop: str = "asyncio") -> Any:
    """Run in a fresh loop of either kind."""

    async def whole() -> Any:
        return await asyncio.wait_for(main(), 60)

    if loop == "uvloop":
        uvloop = pytest.importorskip("uvloop")
        made = uvloop.new_event_loop()
        try:
            return made.run_until_complete(whole())
        finally:
            made.close()
    return asyncio.run(whole())


loops = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


async def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


async def idle(pool: Any) -> None:
    await asyncio.get_running_loop().run_in_executor(None, pool.idle)


@loops
def test_many_calls_share_one_connection(shared: Any, loop: str) -> None:
    async def main() -> None:
        client = DirtyClient(shared.path, 20)
        before = shared.status()["connections"]
        results = await asyncio.gather(*(client.execute_async(APP, "echo", [n, "x" * (n * 997)]) for n in range(100)))
        assert [result[0] for result in results] == list(range(100))
        assert [len(result[1]) for result in results] == [n * 997 for n in range(100)]
        assert shared.status()["connections"] == before + 1
        await client.close_async()

    run(main, loop)


@loops
def test_streams_of_both_kinds(shared: Any, loop: str) -> None:
    async def main() -> None:
        client = DirtyClient(shared.path, 20)
        for action in ("count", "acount"):
            assert [item async for item in client.stream_async(APP, action, 1000)] == list(range(1000))
        assert [item async for item in client.stream_async(APP, "echo", 5)] == [5]
        with pytest.raises(DirtyAppError, match="in the middle"):
            async for _ in client.stream_async(APP, "break_off"):
                pass
        await client.close_async()

    run(main, loop)


@loops
def test_streams_and_calls_side_by_side(shared: Any, loop: str) -> None:
    async def main() -> None:
        client = DirtyClient(shared.path, 20)

        async def total() -> int:
            return sum([item async for item in client.stream_async(APP, "acount", 500)])

        async def call(number: int) -> Any:
            return await client.execute_async(APP, "aecho", number)

        results = await asyncio.gather(*(total() if n % 2 else call(n) for n in range(12)))
        assert results == [sum(range(500)) if n % 2 else n for n in range(12)]
        await client.close_async()

    run(main, loop)


@loops
def test_cancelling_the_task_cancels_the_call_and_leaves_the_others(shared: Any, loop: str) -> None:
    async def main() -> None:
        client = DirtyClient(shared.path, 20)
        hung = asyncio.ensure_future(client.execute_async(APP, "asleep", 3600))
        other = asyncio.ensure_future(client.execute_async(APP, "asleep", 0.3))
        await until(lambda: len(shared.busy()) == 2)
        hung.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hung
        assert await other == 0.3
        await idle(shared)
        await client.close_async()

    run(main, loop)


def test_a_timeout_ends_the_call_and_frees_the_pool(shared: Any) -> None:
    async def main() -> None:
        client = DirtyClient(shared.path, 0.2)
        with pytest.raises(DirtyTimeoutError, match="asleep of"):
            await client.execute_async(APP, "asleep", 3600)
        await idle(shared)
        assert await client.execute_async(APP, "echo", 1) == 1
        with pytest.raises(DirtyTimeoutError, match="gave nothing"):
            async for _ in client.stream_async(APP, "asleep", 3600):
                pass
        await idle(shared)
        await client.close_async()

    run(main)


@loops
def test_a_slow_consumer_pauses_its_generator_only(shared: Any, loop: str) -> None:
    async def main() -> None:
        client = DirtyClient(shared.path, 20)
        items = client.stream_async(APP, "aforever", 50_000)
        await items.__anext__()
        for _ in range(50):
            assert await client.execute_async(APP, "echo", 1) == 1
        stream: Any = items
        await asyncio.sleep(0)
        assert len(stream._connection._ready) <= 200  # and not the gigabytes that it could have produced
        await stream.aclose()
        await idle(shared)
        await client.close_async()

    run(main, loop)


@loops
@pytest.mark.parametrize("how", ["break", "drop", "cancel"])
def test_an_abandoned_stream_frees_everything(shared: Any, loop: str, how: str) -> None:
    async def main() -> None:
        client = DirtyClient(shared.path, 20)
        before = shared.status()["connections"]

        async def consume() -> None:
            async for _ in client.stream_async(APP, "aforever"):
                if how == "break":
                    break

        if how == "cancel":
            task = asyncio.ensure_future(consume())
            await until(lambda: shared.status()["connections"] > before)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        elif how == "drop":
            items = client.stream_async(APP, "aforever")
            await items.__anext__()
            del items
            gc.collect()
        else:
            await consume()
        await idle(shared)
        assert shared.status()["connections"] == before
        await client.close_async()

    run(main, loop)


def test_executing_a_stream_says_what_to_call(shared: Any) -> None:
    async def main() -> None:
        client = DirtyClient(shared.path, 20)
        with pytest.raises(DirtyError, match=r"call stream_async\(\)"):
            await client.execute_async(APP, "forever")
        await idle(shared)
        assert await client.execute_async(APP, "echo", 1) == 1
        await client.close_async()

    run(main)


def test_a_client_serves_one_loop_after_the_other(shared: Any) -> None:
    client = DirtyClient(shared.path, 20)

    async def main() -> None:
        assert await client.execute_async(APP, "echo", 1) == 1
        assert [item async for item in client.stream_async(APP, "count", 2)] == [0, 1]
        await client.close_async()

    for _ in range(3):
        run(main)


def test_a_forked_child_has_connections_of_its_own(shared: Any) -> None:
    client = DirtyClient(shared.path, 20)

    async def calls(name: str) -> None:
        for number in range(10):
            assert await client.execute_async(APP, "echo", [name, number]) == [name, number]

    async def main() -> None:
        await calls("before")
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                asyncio.events._set_running_loop(None)
                loop = asyncio.new_event_loop()
                loop.run_until_complete(calls("child"))
                code = 0
            finally:
                os._exit(code)
        await calls("parent")
        _, status = await asyncio.get_running_loop().run_in_executor(None, os.waitpid, pid, 0)
        assert status == 0
        await client.close_async()

    run(main)


def test_no_pool_and_a_pool_that_dies(start: Any, short_dir: str) -> None:
    pool = start("--workers", "1").ready()

    async def main() -> None:
        with pytest.raises(DirtyConnectionError, match="no dirty pool answers"):
            await DirtyClient(os.path.join(short_dir, "nobody")).execute_async(APP, "echo", 1)
        client = DirtyClient(pool.path, 20)
        with pytest.raises(DirtyProtocolError, match="arguments of echo"):
            await client.execute_async(APP, "echo", object())
        call = asyncio.ensure_future(client.execute_async(APP, "asleep", 3600))
        items = client.stream_async(APP, "stuck_stream")

        async def first() -> Any:
            return await items.__anext__()

        await until(lambda: len(pool.busy()) == 1)
        pending = asyncio.ensure_future(first())
        pool.process.kill()
        with pytest.raises(DirtyConnectionError, match="broke"):
            await call
        with pytest.raises(DirtyConnectionError, match=r"broke|no dirty pool"):
            await pending
        await client.close_async()

    run(main)


def test_the_environment_names_the_pool(shared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUNICORN_DIRTY_SOCKET", shared.path)

    async def main() -> None:
        client = await get_dirty_client_async()
        assert await client.execute_async(APP, "echo", 1) == 1
        await client.close_async()

    run(main)


def test_cancellation_by_anyio(shared: Any) -> None:
    anyio = pytest.importorskip("anyio")

    async def main() -> None:
        client = DirtyClient(shared.path, 20)
        with anyio.move_on_after(0.2) as scope:
            await client.execute_async(APP, "asleep", 3600)
        assert scope.cancelled_caught
        await idle(shared)
        await client.close_async()

    run(main)


def test_a_call_marked_idempotent_is_repeated(shared: Any, short_dir: str) -> None:
    async def main() -> None:
        client = shared.client(None).using(idempotent=True)
        keys = await client.execute_async(APP, "die_once", os.path.join(short_dir, "keys"), timeout=20)
        assert len(keys) == 2
        assert keys[0] == keys[1]
        with pytest.raises(DirtyTimeoutError, match=r"more than 0\.2 seconds"):
            await client.execute_async(APP, "asleep", 3600, timeout=0.2)
        with pytest.raises(DirtyTimeoutError, match=r"more than 0\.2 seconds"):
            async for _ in client.stream_async(APP, "aforever", timeout=0.2):
                pass
        await client.close_async()

    asyncio.run(main())
    shared.ready()
