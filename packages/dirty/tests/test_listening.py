"""The pool's socket: private, owned, and never taken from a living pool."""

from __future__ import annotations

import os
import socket
import stat

import pytest
from gunicorn.dirty.errors import DirtyConnectionError
from gunicorn.dirty.listening import Listener, peer_credentials


def test_a_private_socket_comes_and_goes_with_its_directory() -> None:
    listener = Listener.private()
    directory = os.path.dirname(listener.path)
    assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(listener.path).st_mode) == 0o600
    listener.close()
    listener.unlink()
    assert not os.path.exists(directory)
    listener.unlink()


def test_a_stale_socket_is_replaced_and_a_living_one_is_not(short_dir: str) -> None:
    path = os.path.join(short_dir, "s")
    first = Listener.at(path)
    with pytest.raises(DirtyConnectionError, match="another pool listens"):
        Listener.at(path)
    first.close()
    second = Listener.at(path)
    first.unlink()
    assert os.path.exists(path), "an old owner removed the new owner's socket"
    second.close()
    second.unlink()
    assert not os.path.exists(path)


def test_another_file_is_never_touched(short_dir: str) -> None:
    path = os.path.join(short_dir, "file")
    with open(path, "w") as file:
        file.write("precious")
    with pytest.raises(DirtyConnectionError, match="no socket"):
        Listener.at(path)
    with open(path) as file:
        assert file.read() == "precious"


def test_a_path_that_is_too_long_says_so(short_dir: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DirtyConnectionError, match="longer than 107 bytes"):
        Listener.at(os.path.join(short_dir, "x" * 120))
    deep = os.path.join(short_dir, "y" * 100)
    os.mkdir(deep)
    monkeypatch.setattr("tempfile.tempdir", deep)
    with pytest.raises(DirtyConnectionError, match="TMPDIR"):
        Listener.private()
    assert os.listdir(deep) == []


def test_the_umask_is_left_as_it_was(short_dir: str) -> None:
    before = os.umask(0o022)
    try:
        listener = Listener.at(os.path.join(short_dir, "s"))
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
    listener.close()
    listener.unlink()


@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="the system does not tell")
def test_credentials_are_those_of_the_peer() -> None:
    left, right = socket.socketpair()
    with left, right:
        assert peer_credentials(left) == (os.getpid(), os.geteuid())
