"""The stash on disk."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from gunicorn.dirty.stash import StashClient
from gunicorn.dirty.stash_snapshot import load, save
from gunicorn.dirty.stash_store import Bounds, StashStore
from gunicorn_dirty_protocol import encode


def test_everything_comes_back_but_what_has_ended(tmp_path: Path) -> None:
    store, path = StashStore(), str(tmp_path / "stash")
    store.ensure("empty")
    store.ensure("small", Bounds(5, None, True))
    store.put("small", "k", encode([1]), 100.0)
    store.put("t", 7, encode(None), 100.0, ttl=1000)
    store.put("t", b"x", encode("gone"), 100.0, ttl=0.001)
    save(store, path, 100.0)
    wait_until = time.monotonic() + 0.01
    while time.monotonic() < wait_until:
        time.sleep(0.001)
    other = StashStore()
    load(other, path, 5.0)
    assert list(other.tables) == ["empty", "small", "t"]
    assert other.tables["small"].bounds == Bounds(5, None, True)
    assert other.items("small", None, 5.0) == [("k", encode([1]))]
    assert other.items("t", None, 5.0) == [(7, encode(None))]
    assert other.items("t", None, 1005.0) == []
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["stash"]


def test_what_is_damaged_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    store, path = StashStore(), tmp_path / "stash"
    for number in range(5):
        store.put("t", number, encode(number), 0.0)
    save(store, str(path), 0.0)
    whole = path.read_bytes()
    for damaged in (b"", b"nonsense", whole[:-1], whole[: len(whole) // 2], whole[:40], b"\xff" + whole[1:]):
        path.write_bytes(damaged)
        other = StashStore()
        with pytest.raises(ValueError, match=r"damaged|cut|no snapshot"):
            load(other, str(path), 0.0)
        assert other.tables == {}


def test_a_pool_that_is_killed_or_stopped_finds_its_tables_again(start: Any, wait_for: Any, tmp_path: Path) -> None:
    path = tmp_path / "stash"
    options = ("--workers", "1", "--stash-file", str(path), "--stash-interval", "0.1")
    pool = start(*options).ready()
    client = StashClient(pool.path, 20)
    client.put("t", "k", 1)
    wait_for(path.exists, "it is written")
    pool.process.kill()
    pool.process.wait()
    client.close()
    pool = start(*options).ready()
    client = StashClient(pool.path, 20)
    assert client.get("t", "k") == 1
    client.put("t", "k", 2)
    assert pool.stop() == 0
    client.close()
    path.write_bytes(path.read_bytes())
    pool = start(*options).ready()
    client = StashClient(pool.path, 20)
    assert client.get("t", "k") == 2
    pool.stop()
    client.close()
    path.write_bytes(b"damaged")
    pool = start(*options).ready()
    client = StashClient(pool.path, 20)
    assert client.tables() == []
    assert "begins empty" in pool.log
    assert Path(f"{path}.unreadable").read_bytes() == b"damaged"
    client.close()
