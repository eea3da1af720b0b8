"""The stash on disk."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from gunicorn.dirty.stash import StashClient
from gunicorn.dirty.stash_snapshot import Claim, load, save
from gunicorn.dirty.stash_store import Bounds, StashStore
from gunicorn_dirty_protocol import decode, encode


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


def table_in(path: Path) -> dict[Any, Any]:
    """What the file has of table "t"."""
    store = StashStore()
    load(store, str(path), 0.0)
    return {key: decode(value) for key, value in store.items("t", None, 0.0)} if "t" in store.tables else {}


def test_a_claim_is_that_of_one_process_until_it_ends(tmp_path: Path) -> None:
    path = str(tmp_path / "stash")
    program = (
        "import sys; from gunicorn.dirty.stash_snapshot import Claim\n"
        "claim = Claim(sys.argv[1]); print(claim.take(), claim.held, claim.holder(), flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", program, path]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == f"True True {other.pid}\n"
        claim = Claim(path)
        assert not claim.take()
        assert not claim.held
        assert claim.holder() == str(other.pid)
        other.stdin.close()
        other.wait()
        assert claim.take()
        assert claim.holder() == str(os.getpid())
        claim.close()
        assert not claim.held


def test_of_two_pools_the_first_writes_the_file_until_it_ends(start: Any, wait_for: Any, tmp_path: Path) -> None:
    path = tmp_path / "stash"
    options = ("--workers", "1", "--stash-file", str(path), "--stash-interval", "0.1")
    one = start(*options).ready()
    client = StashClient(one.path, 20)
    client.put("t", "of", "one")
    wait_for(lambda: path.exists() and table_in(path) == {"of": "one"}, "the first one writes")
    two = start(*options).ready()
    assert f"is written by another pool (pid {one.pid})" in two.log
    other = StashClient(two.path, 20)
    assert other.get("t", "of") == "one"
    other.put("t", "of", "two")
    client.put("t", "more", 1)
    wait_for(lambda: table_in(path) == {"of": "one", "more": 1}, "the first one still writes")
    client.put("t", "last", 1)
    client.close()
    assert one.stop() == 0
    wait_for(lambda: table_in(path) == {"of": "two"}, "the second one has taken over")
    assert "is written by this pool from now on" in two.log
    other.close()


def test_a_writer_that_is_told_to_end_or_killed_loses_nothing(start: Any, wait_for: Any, tmp_path: Path) -> None:
    """As systemd does with all processes of a unit."""
    path = tmp_path / "stash"
    pool = start("--workers", "1", "--stash-file", str(path), "--stash-interval", "0.1").ready()
    client = StashClient(pool.path, 20)
    client.update("t", {str(number): "x" * 500 for number in range(20_000)})  # takes a while

    def written(value: Any) -> bool:
        return path.exists() and table_in(path).get("round") == value

    def signal_writer(value: Any, number: int) -> None:
        parts = wait_for(lambda: list(tmp_path.glob("*.part")) or written(value), "a child writes, or has written")
        if parts is not True:
            try:
                os.kill(int(parts[0].name.split(".")[1]), number)
            except ProcessLookupError:
                pass  # it was quicker

    for number in (signal.SIGTERM, signal.SIGKILL):
        client.put("t", "round", int(number))
        signal_writer(number, number)
        wait_for(lambda number=number: written(number), "it is written")
    client.put("t", "round", "last")
    signal_writer("last", signal.SIGKILL)
    pool.process.send_signal(signal.SIGTERM)
    client.close()
    assert pool.process.wait(20) == 0
    assert table_in(path)["round"] == "last"
    assert sorted(os.listdir(tmp_path)) == ["stash", "stash.lock"]


def test_what_could_not_be_written_is_tried_again(start: Any, wait_for: Any, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    pool = start("--workers", "1", "--stash-file", str(folder / "stash"), "--stash-interval", "0.1").ready()
    shutil.rmtree(folder)
    client = StashClient(pool.path, 20)
    client.put("t", "k", 1)
    wait_for(lambda: "cannot be written" in pool.log, "it is said")
    folder.mkdir()
    wait_for((folder / "stash").exists, "it is written")
    client.close()
    assert pool.stop() == 0
    assert table_in(folder / "stash") == {"k": 1}
