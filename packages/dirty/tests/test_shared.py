"""Shared memory by itself: what is sealed stays, lengths are checked, and what is given is given back."""

from __future__ import annotations

import os
from typing import Any

import pytest
from gunicorn.dirty.current import CurrentCall
from gunicorn.dirty.errors import DirtyMappingError
from gunicorn.dirty.shared import Mapping, Mappings, Shares, deposit, memory_file
from gunicorn.dirty.wire import response_frame

SIZE = 4 * 1024 * 1024


def test_memory_keeps_its_size_and_is_one_for_all() -> None:
    fd = memory_file(SIZE)
    for size in (0, SIZE * 2):
        with pytest.raises(PermissionError):
            os.ftruncate(fd, size)
    one, other = Mapping(1, fd), Mapping(1, fd)
    os.close(fd)
    assert len(one) == SIZE
    assert one.write([b"abc", bytearray(b"d" * 70_000), memoryview(b"e")]) == 70_004
    assert other.read(70_004) == b"abc" + b"d" * 70_000 + b"e"


@pytest.mark.parametrize("length", [-1, SIZE + 1, 2**63 - 1, -(2**63)])
def test_lengths_beyond_the_mapping_are_refused(length: int) -> None:
    fd = memory_file(SIZE)
    mapping = Mapping(1, fd)
    os.close(fd)
    with pytest.raises(DirtyMappingError):
        mapping.read(length)


def test_a_worker_knows_what_it_was_given_and_nothing_else() -> None:
    mappings = Mappings()
    mappings.add(1, memory_file(SIZE))
    mappings.add(2, memory_file(SIZE))
    assert mappings.get(1, 0) is mappings.get(1, 0)
    with pytest.raises(DirtyMappingError):
        mappings.get(3, 0.01)
    mappings.drop(1)
    mappings.drop(2)
    mappings.drop(3)
    for token in (1, 2):
        with pytest.raises(DirtyMappingError):
            mappings.get(token, 0)
    mappings.add(4, memory_file(SIZE))
    mappings.clear()
    with pytest.raises(DirtyMappingError):
        mappings.get(4, 0)


def test_a_result_without_a_mapping_is_sent() -> None:
    large = response_frame(1, b"x" * SIZE)
    assert deposit(None, large) is large
    assert deposit(CurrentCall(1), large) is large


class Worker:
    def __init__(self) -> None:
        self.had: list[int] = []

    def share(self, token: int, fd: int) -> None:
        assert os.fstat(fd).st_size == SIZE
        self.had.append(token)

    def unshare(self, token: int) -> None:
        self.had.remove(token)


def test_each_connection_has_one_and_all_workers_have_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gunicorn.dirty.shared._MAX_SHARES", 2)
    first, second = Worker(), Worker()
    workers: list[Any] = [first]
    shares = Shares(lambda: workers)
    one, other = object(), object()
    assert shares.give(one, 0) is None
    given = [shares.give(owner, SIZE) for owner in (one, other, one)]
    assert shares.give(object(), SIZE) is None
    tokens = [share[0] for share in given if share is not None]
    assert len(set(tokens)) == 3
    assert sorted(first.had) == sorted(tokens[1:])
    workers.append(second)
    shares.introduce(second)  # type: ignore[arg-type]
    assert sorted(second.had) == sorted(first.had)
    shares.take_back(one)
    shares.take_back(one)
    assert first.had == second.had == [tokens[1]]
    shares.close()


def test_without_memory_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.memfd_create")
    assert Shares(list).give(object(), SIZE) is None
