"""Spool: a body in memory, or in a file without a name; SpoolRoom: what all bodies of a worker may take."""

import io
import os
from pathlib import Path

import pytest
from gunicorn.drivers import spool as module
from gunicorn.drivers.spool import Spool, SpoolRoom
from gunicorn.http.errors import ContentTooLarge, SpoolFull


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_IN_MEMORY", 100)
    monkeypatch.setattr(module, "MEMORY", 150)


@pytest.mark.parametrize("size", [0, 1, 100])
def test_a_small_body_stays_in_memory(size: int) -> None:
    room = SpoolRoom()
    spool = Spool(room)
    spool.write(b"x" * size)
    assert room.memory == 150 - size
    file = spool.rewind()
    assert isinstance(file, io.BytesIO)
    assert spool.size == size
    assert file.read() == b"x" * size
    spool.close()
    assert file.closed
    assert room.memory == 150


def test_without_a_room_it_stays_in_memory() -> None:
    spool = Spool()
    for _ in range(3):
        spool.write(b"x" * 100)
    assert spool.rewind().read() == b"x" * 300
    spool.close()


def test_a_large_body_goes_to_an_unlinked_file(tmp_path: Path) -> None:
    room = SpoolRoom(str(tmp_path))
    spool = Spool(room)
    parts = [b"a" * 100, b"b", b"c" * 1000]
    for part in parts:
        spool.write(part)
    assert room.memory == 150
    file = spool.rewind()
    status = os.fstat(file.fileno())
    assert status.st_nlink == 0
    assert status.st_dev == os.stat(tmp_path).st_dev
    assert os.listdir(tmp_path) == []
    assert spool.size == sum(map(len, parts))
    assert file.read() == b"".join(parts)
    spool.close()
    assert file.closed


def test_small_bodies_go_to_files_when_there_is_no_memory_left_for_them() -> None:
    room = SpoolRoom()
    first, second, third = Spool(room), Spool(room), Spool(room)
    for spool in (first, second, third):
        spool.write(b"x" * 60)
    assert isinstance(first.rewind(), io.BytesIO)
    assert not isinstance(third.rewind(), io.BytesIO)
    for spool in (first, second, third):
        spool.close()
    assert (room.memory, room.disk) == (150, 1 << 62)


def test_rewind_starts_at_the_beginning_again() -> None:
    spool = Spool()
    spool.write(b"abc")
    assert spool.rewind().read(2) == b"ab"
    assert spool.rewind().read() == b"abc"
    spool.close()


def test_a_body_over_the_limit_is_too_large() -> None:
    room = SpoolRoom(disk=200)
    room.check(None)
    room.check(200)
    with pytest.raises(ContentTooLarge, match="a body of 201 bytes is over the limit of 200"):
        room.check(201)
    spool = Spool(room)
    spool.write(b"x" * 200)
    with pytest.raises(ContentTooLarge, match="a body is over the limit of 200 bytes"):
        spool.write(b"x")
    spool.close()
    assert room.disk == 200


def test_the_limit_is_for_all_bodies_together() -> None:
    room = SpoolRoom(disk=300)
    first, second = Spool(room), Spool(room)
    first.write(b"x" * 200)
    with pytest.raises(SpoolFull, match="no room"):
        second.write(b"x" * 101)
    second.close()
    first.close()
    third = Spool(room)
    third.write(b"x" * 300)
    third.close()
    assert room.disk == 300


def test_what_memory_takes_is_no_matter_of_the_limit() -> None:
    room = SpoolRoom(disk=10)
    room.check(100)
    spool = Spool(room)
    spool.write(b"x" * 100)
    assert spool.rewind().read() == b"x" * 100
    spool.close()


def test_a_directory_that_cannot_be_written_to_is_named() -> None:
    spool = Spool(SpoolRoom("/no/such/directory"))
    with pytest.raises(SpoolFull, match="cannot be written to /no/such/directory: No such file or directory"):
        spool.write(b"x" * 101)
    spool.close()
