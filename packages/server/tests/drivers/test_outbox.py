"""outbox: what a peer did not take at once."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gunicorn.drivers.errors import FileBecameShorterError
from gunicorn.drivers.outbox import Outbox, rest_of
from gunicorn.drivers.sendfile import FileRange


@pytest.mark.parametrize("sent", range(10))
def test_rest_of(sent: int) -> None:
    assert b"".join(rest_of([b"abc", b"", b"defg", b"hi"], sent)) == b"abcdefghi"[sent:]
    assert bool(rest_of([b"abc", b"", b"defg", b"hi"], sent)) == (sent < 9)


def test_nothing_is_copied_of_the_rest() -> None:
    block = b"x" * 1000
    first, second = rest_of([b"abc", block, b"hi"], 13)
    assert isinstance(first, memoryview)
    assert first.obj is block
    assert second == b"hi"


def test_data_and_then_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    ours, theirs = socket.socketpair()
    with ours, theirs, path.open("rb") as file:
        outbox = Outbox(memoryview(b"head "), FileRange(file.fileno(), 2, 5))
        while outbox.write(ours, ours.send):
            pass
        outbox.close()
        assert theirs.recv(100) == b"head 23456"


def test_a_file_that_became_shorter(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    ours, theirs = socket.socketpair()
    with ours, theirs, path.open("rb") as file:
        outbox = Outbox(memoryview(b""), FileRange(file.fileno(), 0, 10))
        os.truncate(path, 0)
        with pytest.raises(FileBecameShorterError):
            outbox.write(ours, ours.send)
        outbox.close()


def test_data_goes_through_the_channels_own_way_to_send() -> None:
    taken: list[bytes] = []

    def send(data: Any) -> int:
        taken.append(bytes(data[:2]))
        return len(taken[-1])

    outbox = Outbox(memoryview(b"hello"))
    write: Callable[..., int] = outbox.write
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert [write(ours, send) for _ in range(4)] == [2, 2, 1, 0]
    assert b"".join(taken) == b"hello"
