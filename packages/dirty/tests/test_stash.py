"""The stash through a real pool: the module, tables as mappings, asyncio, and from actions."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from gunicorn.dirty import stash
from gunicorn.dirty.errors import (
    DirtyProtocolError,
    DirtyWorkerError,
    StashError,
    StashFullError,
    StashKeyNotFoundError,
)
from gunicorn.dirty.protocol import make_stash_message

COUNTING = "sampleapps:Counting"
Wait = Callable[..., Any]


@pytest.fixture(scope="module")
def pool(pools: Any) -> Iterator[Any]:
    with pools("--workers", "2", "--threads", "2", app=("Sample", "Counting")) as made:
        yield made.ready()


@pytest.fixture(autouse=True)
def clean(pool: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("GUNICORN_DIRTY_SOCKET", pool.path)
    for name in stash.tables():
        stash.clear(name)
    yield
    from gunicorn.dirty.client import close_dirty_client

    close_dirty_client()


def test_apps_have_their_tables_made() -> None:
    assert {"counts", "made"} <= set(stash.tables())


@pytest.mark.parametrize("value", [None, 0, "text", [1, {"k": b"v"}], b"x" * 3_000_000, {"error": "no error"}])
def test_values_come_back_as_they_were_put(value: Any) -> None:
    for _ in range(2):  # the second takes the quick way
        stash.put("t", "k", value)
        assert stash.get("t", "k") == value
    assert stash.pop("t", "k") == value
    assert stash.get("t", "k", "none") == "none"


def test_the_operations() -> None:
    with pytest.raises(StashKeyNotFoundError, match="Key not found: k"):
        stash.get("t", "k")
    stash.put("t", "k", 1)
    assert stash.exists("t")
    assert stash.exists("t", "k")
    assert not stash.exists("t", "z")
    assert stash.incr("t", "k") == 2
    assert stash.incr("t", "f", 0.5) == 0.5
    assert not stash.put_if_absent("t", "k", 5)
    assert stash.compare_and_set("t", "k", 2, None)
    assert stash.compare_and_set("t", "k", None, 3)
    assert stash.update("t", {"a": 1, "b": [2]}) == 2
    assert sorted(stash.keys("t")) == ["a", "b", "f", "k"]
    assert stash.keys("t", "[ab]") == ["a", "b"]
    assert stash.items("t", "b") == [["b", [2]]]
    assert stash.info("t")["size"] == 4
    assert stash.delete("t", "a")
    assert not stash.delete("t", "a")
    assert stash.clear("t")
    assert stash.delete_table("t")
    assert not stash.delete_table("t")
    for key in (5, b"bytes"):
        stash.put("t", key, key)
        assert stash.get("t", key) == key
    with pytest.raises(StashError, match="a key of the stash"):
        stash.put("t", 1.5, 1)
    with pytest.raises(StashError, match="ttl is -1"):
        stash.put("t", "k", 1, ttl=-1)
    with pytest.raises(DirtyProtocolError, match="cannot be put"):
        stash.put("t", "k", object())


def test_entries_end_by_themselves(wait_for: Wait) -> None:
    stash.put("t", "k", 1, ttl=0.1)
    stash.put("t", "long", 1, ttl=1000)
    wait_for(lambda: not stash.exists("t", "k"), "it has ended")
    assert stash.keys("t") == ["long"]


def test_bounds() -> None:
    stash.ensure("full", max_entries=1)
    stash.put("full", "a", 1)
    with pytest.raises(StashFullError, match="max_entries"):
        stash.put("full", "b", 1)
    stash.ensure("full", max_bytes=200, evict=True)
    for number in range(100):
        stash.put("full", str(number), "x" * 20)
    assert stash.info("full")["bytes"] <= 200
    assert stash.exists("full", "99")
    stash.delete_table("full")


def test_a_table_is_like_a_dict() -> None:
    table = stash.table("d")
    assert len(table) == 0
    assert table.get("k") is None
    assert dict(table) == {}
    table["k"] = [1]
    table.update({"a": 1}, b=2)
    assert table["k"] == [1]
    assert "k" in table
    assert sorted(table) == ["a", "b", "k"]
    assert len(table) == 3
    assert dict(table.items()) == {"k": [1], "a": 1, "b": 2}
    assert sorted(table.values("[ab]")) == [1, 2]
    assert table.setdefault("a", 9) == 1
    assert table.setdefault("new", 9) == 9
    assert table.pop("new") == 9
    assert table.pop("new", None) is None
    del table["a"]
    with pytest.raises(KeyError):
        del table["a"]
    with pytest.raises(KeyError):
        table["a"]
    assert table.incr("n", 5) == 5
    table.clear()
    assert not table


def test_counting_from_everywhere_at_once_loses_nothing(pool: Any) -> None:
    client = pool.client()
    threads = [threading.Thread(target=client.execute, args=(COUNTING, "count", 50)) for _ in range(4)]
    threads += [threading.Thread(target=lambda: [stash.incr("counts", "n") for _ in range(50)])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stash.get("counts", "n") == 250
    assert client.execute(COUNTING, "acount") == 251


def test_a_worker_reads_what_it_knows_without_asking(pool: Any) -> None:
    stash.put("known", "k", ["value"])
    found = pool.client().execute(COUNTING, "read_while_stopped", "known", "k", timeout=20)
    assert found == [["value"], ["value"]]


def test_a_worker_never_reads_what_is_older_than_a_write_that_is_done(pool: Any) -> None:
    client = pool.client()
    for number in range(200):
        stash.put("known", "k", number)
        assert client.execute(COUNTING, "read", "known", "k") == number
    stash.delete("known", "k")
    with pytest.raises(StashKeyNotFoundError, match="Key not found: k"):
        client.execute(COUNTING, "read", "known", "k")
    with ThreadPoolExecutor(4) as threads:  # four threads of two workers, each with a key of its own
        wrong = [threads.submit(client.execute, COUNTING, "rewrite", "known", f"k{number}", 200) for number in range(4)]
        assert [one.result(60) for one in wrong] == [0, 0, 0, 0]


def test_a_worker_that_is_killed_while_it_writes_leaves_the_others_right(pool: Any, wait_for: Wait) -> None:
    client = pool.client()
    with ThreadPoolExecutor(4) as threads:  # in four slots of two workers
        calls = [
            threads.submit(client.execute, COUNTING, "rewrite", "known", f"k{number}", 4000) for number in range(4)
        ]
        wait_for(lambda: all(stash.get("known", f"k{number}", 0) > 50 for number in range(4)), "all write")
        os.kill(pool.worker_pids()[0], signal.SIGKILL)
        errors = [call.exception(60) for call in calls]
    assert [type(error) for error in errors if error is not None] == [DirtyWorkerError] * 2
    assert [call.result() for call, error in zip(calls, errors, strict=True) if error is None] == [0, 0]
    assert client.execute(COUNTING, "rewrite", "known", "k", 50, timeout=30) == 0


def test_watching() -> None:
    with stash.watch("w", "u:*") as changes:
        stash.put("w", "other", 1)
        stash.put("w", "u:1", {"a": 1})
        stash.delete("w", "u:1")
        stash.put("w", "u:2", 1, ttl=0.05)
        assert next(changes) == ("put", "u:1", {"a": 1})
        assert next(changes) == ("delete", "u:1", None)
        assert next(changes).op == "put"
        assert next(changes) == ("expire", "u:2", None)
        stash.clear("w")
        assert next(changes).op == "clear"


def test_a_watcher_that_does_not_read_is_told_and_holds_nothing_up() -> None:
    with stash.watch("w") as changes:
        for number in range(100):
            stash.put("w", str(number), b"x" * 50_000)
        with pytest.raises(StashError, match="faster than they are read"):
            for _ in changes:
                pass
    stash.put("w", "k", 1)
    assert stash.get("w", "k") == 1


def test_asyncio(pool: Any) -> None:
    async def main() -> None:
        table = stash.AsyncStash(pool.path, 20)
        assert await table.get("a", "k", 5) == 5
        with pytest.raises(StashKeyNotFoundError):
            await table.get("a", "k")
        await table.put("a", "k", [1])
        assert await table.get("a", "k") == [1]
        changes = await table.watch("a")
        await asyncio.gather(*(table.incr("a", "n") for _ in range(20)))
        assert await table.get("a", "n") == 20
        assert [(await anext(changes)).value for _ in range(3)] == [1, 2, 3]
        await changes.aclose()  # type: ignore[attr-defined]
        await table.close()

    asyncio.run(main())


def test_version_1_speaks_to_it_as_ever(pool: Any) -> None:
    assert pool.ask(make_stash_message(1, 1, "v1", "k", {"a": None}))["result"] is True
    assert pool.ask(make_stash_message(2, 2, "v1", "k"))["result"] == {"a": None}
    error = pool.ask(make_stash_message(3, 2, "v1", "x"))["error"]
    assert (error["error_type"], error["message"]) == ("StashKeyNotFoundError", "Key not found: x")
    assert pool.ask(make_stash_message(4, 6, "v2"))["error"]["message"] == "Table not found: v2"
    assert pool.ask(make_stash_message(5, 6, "v1"))["result"]["size"] == 1
    assert "v1" in pool.ask(make_stash_message(6, 9, ""))["result"]
    assert "no operation 99" in pool.ask(make_stash_message(7, 99, ""))["error"]["message"]
    assert pool.ask({"type": "stash", "id": 8, "table": "t"})["error"]["error_type"] == "DirtyProtocolError"
