"""The tables as a pure module: against a model, and by examples."""

from __future__ import annotations

from typing import Any

import pytest
from gunicorn.dirty.errors import StashError, StashFullError, StashKeyNotFoundError, StashTableNotFoundError
from gunicorn.dirty.stash_store import Bounds, Change, StashStore
from gunicorn_dirty_protocol import decode, encode
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

ONE, TWO = encode(1), encode(2)


def test_misses_have_the_texts_of_version_1() -> None:
    store = StashStore()
    with pytest.raises(StashKeyNotFoundError, match=r"^Key not found: k$"):
        store.get("t", "k", 0)
    with pytest.raises(StashTableNotFoundError, match=r"^Table not found: t$"):
        store.info("t", 0)
    store.ensure("t")
    with pytest.raises(KeyError):
        store.pop("t", "k", 0)
    assert not store.delete("t", "k", 0)
    assert store.items("nope", None, 0) == []
    store.clear("nope")
    assert not store.drop("nope")
    assert store.drop("t")


def test_entries_end() -> None:
    store = StashStore()
    store.put("t", "k", ONE, 10.0, ttl=5)
    store.put("t", "later", ONE, 10.0, ttl=50)
    assert store.next_end() == 15.0
    assert store.exists("t", "k", 14.9)
    assert not store.exists("t", "k", 15.0)
    store.put("t", "k", ONE, 20.0, ttl=5)
    store.put("t", "k", TWO, 21.0)
    store.expire(30.0)
    assert store.get("t", "k", 1000.0) == TWO
    assert store.info("t", 1000.0)["size"] == 1


def test_ends_that_are_moved_again_and_again_do_not_pile_up() -> None:
    store = StashStore()
    for number in range(20_000):
        store.put("t", number % 3, ONE, float(number), ttl=1e6)
    assert len(store._ends) < 3000
    store.expire(2e6)
    assert store.info("t", 2e6)["size"] == 0


def test_numbers_are_counted_and_keep_their_end() -> None:
    store = StashStore()
    assert decode(store.incr("t", "n", 2, 0.0)) == 2
    assert decode(store.incr("t", "n", -0.5, 0.0, ttl=10)) == 1.5
    assert decode(store.incr("t", "n", 1, 5.0)) == 2.5
    assert not store.exists("t", "n", 10.0)
    store.put("t", "s", encode("text"), 0.0)
    with pytest.raises(StashError, match="of type str"):
        store.incr("t", "s", 1, 0.0)


def test_conditions() -> None:
    store = StashStore()
    assert store.put_if_absent("t", "k", ONE, 0.0)
    assert not store.put_if_absent("t", "k", TWO, 0.0)
    assert not store.compare_and_set("t", "k", TWO, TWO, 0.0)
    assert not store.compare_and_set("t", "k", None, TWO, 0.0)
    assert store.compare_and_set("t", "k", encode(1.0), TWO, 0.0)  # as Python compares
    assert store.get("t", "k", 0.0) == TWO
    assert store.compare_and_set("t", "new", None, ONE, 0.0)
    assert not store.compare_and_set("t", "missing", ONE, ONE, 0.0)


def test_a_bounded_table_refuses_what_does_not_fit() -> None:
    store = StashStore()
    store.ensure("t", Bounds(max_entries=2))
    store.update("t", [("a", ONE), ("b", ONE)], 0.0)
    with pytest.raises(StashFullError, match="max_entries is 2"):
        store.put("t", "c", ONE, 0.0)
    with pytest.raises(StashFullError):
        store.update("t", [("a", TWO), ("c", ONE)], 0.0)
    assert store.get("t", "a", 0.0) == ONE  # nothing of it was done
    store.update("t", [("a", TWO), ("b", TWO)], 0.0)
    store.ensure("t", Bounds(max_bytes=100))
    with pytest.raises(StashFullError, match="max_bytes is 100"):
        store.put("t", "a", b"x" * 100, 0.0)
    assert store.info("t", 0.0)["bytes"] <= 100
    assert store.info("t", 0.0)["max_entries"] is None


SIZES = [("abc", 3), ("é€", 5), ("\U0001f600", 4), ("", 0), (b"\xff\x00", 2), (10**15, 8), (256**20 - 1, 20)]


@pytest.mark.parametrize(("key", "size"), SIZES)
def test_keys_count_with_their_bytes(key: Any, size: int) -> None:
    store = StashStore()
    store.put("t", key, b"value", 0.0)
    assert store.info("t", 0.0)["bytes"] == 5 + 16 + size
    store.ensure("t", Bounds(max_bytes=5 + 16 + size))
    store.put("t", key, b"VALUE", 0.0)
    with pytest.raises(StashFullError):
        store.put("t", key, b"longer", 0.0)
    store.delete("t", key, 0.0)
    assert store.info("t", 0.0)["bytes"] == 0


def test_room_made_by_ends_is_used() -> None:
    store = StashStore()
    store.ensure("t", Bounds(max_entries=1))
    store.put("t", "a", ONE, 0.0, ttl=1)
    store.put("t", "b", ONE, 2.0)
    assert store.items("t", None, 2.0) == [("b", ONE)]


def test_a_table_that_evicts_lets_go_what_was_used_longest_ago() -> None:
    changes: list[Change] = []
    store = StashStore(changes.append)
    store.ensure("t", Bounds(max_entries=2, evict=True)).watched = True
    store.put("t", "a", ONE, 0.0)
    store.put("t", "b", ONE, 0.0)
    store.get("t", "a", 0.0)
    store.put("t", "c", ONE, 0.0)
    assert [key for key, _ in store.items("t", None, 0.0)] == ["a", "c"]
    assert [(change.op, change.key) for change in changes] == [("put", "a"), ("put", "b"), ("evict", "b"), ("put", "c")]
    store.ensure("t", Bounds(max_bytes=50, evict=True))
    assert len(store.items("t", None, 0.0)) == 1
    with pytest.raises(StashFullError):
        store.put("t", "huge", b"x" * 100, 0.0)
    store.put("t", "c", b"x" * 30, 0.0)
    assert store.get("t", "c", 0.0) == b"x" * 30


def test_what_is_watched_is_told() -> None:
    changes: list[Change] = []
    store = StashStore(changes.append)
    store.ensure("t").watched = True
    store.put("other", "k", ONE, 0.0)
    store.put("t", "k", ONE, 0.0, ttl=1)
    store.expire(1.0)
    store.put("t", 5, TWO, 2.0)
    store.pop("t", 5, 2.0)
    store.put("t", b"x", TWO, 2.0)
    store.clear("t")
    store.clear("t")
    assert [change[1:] for change in changes] == [
        ("put", "k", ONE), ("expire", "k", None), ("put", 5, TWO), ("delete", 5, None), ("put", b"x", TWO),
        ("clear", None, None),
    ]  # fmt: skip


def test_globs_match_keys_as_text() -> None:
    store = StashStore()
    for key in ("user:1", "user:2", 12, b"user:b"):
        store.put("t", key, ONE, 0.0)
    assert [key for key, _ in store.items("t", "user:*", 0.0)] == ["user:1", "user:2", b"user:b"]
    assert [key for key, _ in store.items("t", "1?", 0.0)] == [12]


class StoreModel(RuleBasedStateMachine):
    """The store, and a dict of (value, end) beside it."""

    keys = st.sampled_from(["a", "b", 1, b"c"])
    ttls = st.none() | st.integers(1, 4)

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.store = StashStore()
        self.model: dict[Any, tuple[Any, float | None]] = {}

    def alive(self) -> dict[Any, Any]:
        return {key: value for key, (value, end) in self.model.items() if end is None or end > self.now}

    def end(self, ttl: int | None) -> float | None:
        return None if ttl is None else self.now + ttl

    @rule(key=keys, value=st.integers(0, 3), ttl=ttls)
    def put(self, key: Any, value: int, ttl: int | None) -> None:
        self.store.put("t", key, encode(value), self.now, ttl)
        self.model[key] = (value, self.end(ttl))

    @rule(key=keys, ttl=ttls)
    def incr(self, key: Any, ttl: int | None) -> None:
        value = self.alive().get(key, 0) + 1
        end = self.end(ttl) if ttl is not None else self.model[key][1] if key in self.alive() else None
        assert decode(self.store.incr("t", key, 1, self.now, ttl)) == value
        self.model[key] = (value, end)

    @rule(key=keys, value=st.integers(0, 3), ttl=ttls)
    def put_if_absent(self, key: Any, value: int, ttl: int | None) -> None:
        absent = key not in self.alive()
        assert self.store.put_if_absent("t", key, encode(value), self.now, ttl) == absent
        if absent:
            self.model[key] = (value, self.end(ttl))

    @rule(key=keys)
    def delete(self, key: Any) -> None:
        assert self.store.delete("t", key, self.now) == (key in self.alive())
        self.model.pop(key, None)

    @rule(seconds=st.integers(1, 3))
    def pass_time(self, seconds: int) -> None:
        self.now += seconds
        self.store.expire(self.now)

    @rule()
    def clear(self) -> None:
        self.store.clear("t")
        self.model.clear()

    @invariant()
    def agree(self) -> None:
        assert {key: decode(value) for key, value in self.store.items("t", None, self.now)} == self.alive()

    @invariant()
    def sizes_agree(self) -> None:
        if self.store.tables:
            entries = self.store.tables["t"].entries
            sizes = (len(e.value) + 16 + (8 if isinstance(key, int) else len(key)) for key, e in entries.items())
            assert self.store.tables["t"].size == sum(sizes)


TestStoreModel = StoreModel.TestCase
TestStoreModel.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
