"""What workers remember of the stash: never older than a write that is done, whoever reads and writes."""

from __future__ import annotations

import os

from gunicorn.dirty.mirror import COUNTS, Mirror, place_of, shared_counts
from gunicorn.dirty.stash_store import Bounds, StashStore
from hypothesis import given
from hypothesis import strategies as st


class Worker:
    """Reads and writes as StashClient does; the questions are calls of the store. :ivar asked: how many"""

    def __init__(self, store: StashStore) -> None:
        self.store = store
        self.mirror = Mirror(store.counts)
        self.asked = 0

    def get(self, table: str, key: str) -> bytes:
        known = self.mirror.get(table, key)
        if known is not None:
            return known
        before = self.mirror.count(table)
        self.asked += 1
        value = self.store.get(table, key, 0.0)
        self.mirror.keep_read(table, key, value, before)
        return value

    def put(self, table: str, key: str, value: bytes) -> None:
        before = self.mirror.count(table)
        self.asked += 1
        self.store.put(table, key, value, 0.0)
        self.mirror.keep_written(table, key, value, before)


tables, keys = st.sampled_from(["a", "b"]), st.sampled_from(["k", "l", "m"])
steps = st.tuples(st.integers(0, 2), st.sampled_from(["get", "put", "outside", "delete", "clear"]), tables, keys)


@given(st.lists(steps, max_size=60))
def test_reads_are_those_of_the_store(given_steps: list[tuple[int, str, str, str]]) -> None:
    store = StashStore()
    workers = [Worker(store) for _ in range(3)]
    for number, (who, what, table, key) in enumerate(given_steps):
        value = b"%d" % number
        if what == "put":
            workers[who].put(table, key, value)
        elif what == "outside":
            store.put(table, key, value, 0.0)
        elif what == "delete":
            store.delete(table, key, 0.0)
        elif what == "clear":
            store.clear(table)
        elif store.exists(table, key, 0.0):
            assert workers[who].get(table, key) == store.get(table, key, 0.0)
        for worker in workers:
            for name in ("a", "b"):
                for wanted in ("k", "l", "m"):
                    known = worker.mirror.get(name, wanted)
                    assert known is None or known == store.get(name, wanted, 0.0)


def test_what_was_read_or_written_is_not_asked_for_again() -> None:
    store = StashStore()
    worker, other = Worker(store), Worker(store)
    worker.put("t", "k", b"1")
    worker.put("t", "l", b"2")
    assert (worker.get("t", "k"), worker.get("t", "l"), worker.asked) == (b"1", b"2", 2)
    assert (other.get("t", "k"), other.get("t", "k"), other.asked) == (b"1", b"1", 1)
    other.put("t", "l", b"3")
    assert (worker.get("t", "l"), worker.get("t", "l"), worker.asked) == (b"3", b"3", 3)
    assert (other.get("t", "k"), other.get("t", "l"), other.asked) == (b"1", b"3", 2)


def test_an_answer_that_others_have_overtaken_is_not_kept() -> None:
    store = StashStore()
    worker = Worker(store)
    before = worker.mirror.count("t")
    store.put("t", "k", b"mine", 0.0)
    store.put("t", "k", b"later", 0.0)
    worker.mirror.keep_written("t", "k", b"mine", before)
    assert worker.mirror.get("t", "k") is None
    before = worker.mirror.count("t")
    value = store.get("t", "k", 0.0)
    store.put("t", "k", b"latest", 0.0)
    worker.mirror.keep_read("t", "k", value, before)
    assert worker.get("t", "k") == b"latest"


def test_tables_that_change_by_time_or_by_reading_are_not_kept() -> None:
    store = StashStore()
    worker = Worker(store)
    for table in ("ending", "evicting"):
        worker.put(table, "k", b"1")
        assert worker.mirror.get(table, "k") == b"1"
    store.put("ending", "l", b"1", 0.0, ttl=5)
    store.ensure("evicting", Bounds(max_entries=5, evict=True))
    for table in ("ending", "evicting"):
        assert worker.mirror.get(table, "k") is None
        worker.get(table, "k")
        worker.put(table, "k", b"2")
        assert worker.mirror.get(table, "k") is None
        store.drop(table)
        worker.put(table, "k", b"3")
        assert worker.mirror.get(table, "k") == b"3"


def test_what_is_kept_is_bounded() -> None:
    store = StashStore()
    worker = Worker(store)
    worker.put("t", "large", bytes(5000))
    assert worker.mirror.get("t", "large") is None
    for number in range(3000):
        worker.put("t", str(number), b"1")
    for number in range(200):
        worker.put(f"t{number}", "k", b"1")
    kept = worker.mirror._tables
    assert len(kept) <= 64
    assert max(len(table.values) for table in kept.values()) <= 1024


def test_counts_are_shared_with_forked_processes_and_nothing_is_kept_in_them() -> None:
    counts = shared_counts()
    store = StashStore(counts=counts)
    worker = Worker(store)
    worker.put("t", "k", b"1")
    pid = os.fork()
    if pid == 0:
        store.put("t", "k", b"2", 0.0)
        worker.mirror.forked()
        worker.get("t", "k")
        os._exit(worker.mirror.get("t", "k") is not None)
    assert os.waitpid(pid, 0)[1] == 0
    assert (counts[place_of("t")], len(counts)) == (2, COUNTS)
    assert worker.mirror.get("t", "k") is None
