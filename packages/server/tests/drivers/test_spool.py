"""Spool: a body in memory, or in a file without a name."""

import io
import os
from pathlib import Path

import pytest
from gunicorn.drivers.spool import MOST_IN_MEMORY, Spool


@pytest.mark.parametrize("size", [0, 1, MOST_IN_MEMORY])
def test_a_small_body_stays_in_memory(size: int) -> None:
    spool = Spool()
    spool.write(b"x" * size)
    file = spool.rewind()
    assert isinstance(file, io.BytesIO)
    assert spool.size == size
    assert file.read() == b"x" * size
    spool.close()
    assert file.closed


def test_a_large_body_goes_to_an_unlinked_file(tmp_path: Path) -> None:
    spool = Spool()
    parts = [b"a" * MOST_IN_MEMORY, b"b", b"c" * 1000]
    for part in parts:
        spool.write(part, str(tmp_path))
    file = spool.rewind()
    status = os.fstat(file.fileno())
    assert status.st_nlink == 0
    assert status.st_dev == os.stat(tmp_path).st_dev
    assert os.listdir(tmp_path) == []
    assert spool.size == sum(map(len, parts))
    assert file.read() == b"".join(parts)
    spool.close()
    assert file.closed


def test_rewind_starts_at_the_beginning_again() -> None:
    spool = Spool()
    spool.write(b"abc")
    assert spool.rewind().read(2) == b"ab"
    assert spool.rewind().read() == b"abc"
    spool.close()
