"""Concurrent calls as one call with lists, in threads and in asyncio; and through a pool."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from gunicorn.dirty.batching import batched
from gunicorn.dirty.errors import DirtyAppError


class App:
    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    @batched(max_size=3, max_wait=30)
    def add(self, left: list[int], right: list[int]) -> list[Any]:
        self.batches.append(list(left))
        return [ValueError("seven") if a + b == 7 else a + b for a, b in zip(left, right, strict=True)]

    @batched(max_size=3, max_wait=0.02)
    async def aadd(self, left: list[int], right: list[int]) -> list[Any]:
        self.batches.append(list(left))
        return [ValueError("seven") if a + b == 7 else a + b for a, b in zip(left, right, strict=True)]

    @batched(max_size=2, max_wait=0.01)
    def short(self, values: list[int]) -> list[int]:
        return values[1:]

    @batched(max_size=1, max_wait=0.01)
    def forgetful(self, values: list[int]) -> Any:
        return None

    @batched(max_size=2, max_wait=0.01)
    async def ashort(self, values: list[int]) -> list[int]:
        return values[1:]


def together(function: Any, calls: list[tuple[Any, ...]]) -> list[Any]:
    outcomes: dict[int, Any] = {}

    def run(index: int) -> None:
        try:
            outcomes[index] = function(*calls[index])
        except Exception as exc:
            outcomes[index] = exc

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return [outcomes[index] for index in range(len(calls))]


def test_threads_share_a_batch_and_each_gets_its_own_result() -> None:
    app = App()
    outcomes = together(app.add, [(1, 1), (2, 2), (3, 4), (4, 4), (5, 5), (6, 6)])
    assert outcomes[:2] == [2, 4]
    assert outcomes[3:] == [8, 10, 12]
    assert isinstance(outcomes[2], ValueError)
    assert [len(batch) for batch in app.batches] == [3, 3]
    assert App().batches == []


def test_a_batch_does_not_wait_for_ever() -> None:
    assert isinstance(together(App().short, [(1,)])[0], DirtyAppError)  # it ran alone, and gave no result


def test_a_result_that_is_no_list_is_named() -> None:
    with pytest.raises(DirtyAppError, match="forgetful gave NoneType, not a list of results for its 1 calls"):
        App().forgetful(1)


def test_asyncio() -> None:
    async def main() -> None:
        app = App()
        outcomes = await asyncio.gather(*(app.aadd(n, n) for n in range(4)), app.aadd(3, 4), return_exceptions=True)
        assert outcomes[:4] == [0, 2, 4, 6]
        assert isinstance(outcomes[4], ValueError)
        assert [len(batch) for batch in app.batches] == [3, 2]
        gone = asyncio.create_task(app.aadd(1, 1))
        await asyncio.sleep(0)
        gone.cancel()
        assert await app.aadd(5, 5) == 10
        assert app.batches[-1] == [5]
        with pytest.raises(DirtyAppError, match="0 results for a batch of 1"):
            await app.ashort(1)

    asyncio.run(main())


def test_arguments_must_match() -> None:
    outcomes = together(App().short, [(1,), (1, 2)])
    assert any(isinstance(outcome, TypeError) for outcome in outcomes)
    with pytest.raises(ValueError, match="max_size"):
        batched(max_size=0)


@pytest.mark.parametrize("action", ["doubled", "adoubled"])
def test_through_a_pool(start: Any, calls: Any, action: str) -> None:
    pool = start("--workers", "1", app="Batching").ready()
    client = pool.client()
    for number in range(6):
        calls.start(lambda number=number: client.execute("sampleapps:Batching", action, number))
    assert sorted(result[0] for result in calls.join()) == [0, 2, 4, 6, 8, 10]
    assert {result[1] for result in calls.outcomes} == {6}
