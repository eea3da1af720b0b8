"""Sockets in the file system: stale ones replaced, living ones left alone, nothing of others removed."""

import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterator

import pytest
from gunicorn.control.errors import PathTooLongError, SocketFileError, SocketInUseError
from gunicorn.control.socket_file import MAX_PATH_LENGTH, DirectoryBusyError, SocketFile, check_length, probe


@pytest.fixture
def path(directory: str) -> str:
    return f"{directory}/c.ctl"


@pytest.fixture
def opened(path: str) -> Iterator[SocketFile]:
    file = SocketFile.open(path, 0o600)
    yield file
    file.close()


def make_stale(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen()


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_the_file_has_the_mode_and_goes_at_the_end(path: str, mode: int) -> None:
    umask = os.umask(0o077)
    try:
        file = SocketFile.open(path, mode)
        assert os.umask(0o077) == 0o077  # it was put back
    finally:
        os.umask(umask)
    assert stat.S_IMODE(os.stat(path).st_mode) == mode
    assert stat.S_ISSOCK(os.stat(path).st_mode)
    assert probe(path)
    assert not file.sock.getblocking()
    file.close()
    assert os.listdir(os.path.dirname(path)) == []


def test_a_living_socket_is_not_replaced(path: str, opened: SocketFile) -> None:
    with pytest.raises(SocketInUseError, match=r"another process listens at .*--control-socket"):
        SocketFile.open(path, 0o600)
    assert opened.intact
    assert probe(path)


def test_a_living_socket_with_a_full_backlog_is_not_replaced(path: str) -> None:
    file = SocketFile.open(path, 0o600, backlog=0)
    waiting = []
    try:
        for _ in range(10):
            sock = socket.socket(socket.AF_UNIX)
            sock.setblocking(False)
            waiting.append(sock)
            try:
                sock.connect(path)
            except BlockingIOError:
                break
        else:
            pytest.fail("the backlog has no end")
        with pytest.raises(SocketInUseError):
            SocketFile.open(path, 0o600)
    finally:
        for sock in waiting:
            sock.close()
        file.close()


def test_a_living_datagram_socket_is_not_replaced(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        with pytest.raises(SocketInUseError):
            SocketFile.open(path, 0o600)
        assert os.path.exists(path)


def test_a_stale_socket_is_replaced(path: str) -> None:
    make_stale(path)
    assert not probe(path)
    file = SocketFile.open(path, 0o600)
    assert probe(path)
    file.close()


def test_a_file_that_is_no_socket_is_left_alone(path: str) -> None:
    with open(path, "w") as file:
        file.write("precious")
    with pytest.raises(SocketFileError, match="is no socket; remove it"):
        SocketFile.open(path, 0o600)
    with open(path) as file:
        assert file.read() == "precious"


def test_the_socket_of_a_successor_is_not_unlinked(path: str) -> None:
    first = SocketFile.open(path, 0o600)
    os.unlink(path)
    assert not first.intact
    second = SocketFile.open(path, 0o600)
    first.close()
    assert second.intact
    assert probe(path)
    second.close()


def test_a_directory_that_went_away_does_not_disturb_the_close(directory: str) -> None:
    inner = f"{directory}/in"
    os.mkdir(inner)
    file = SocketFile.open(f"{inner}/c.ctl", 0o600)
    os.unlink(f"{inner}/c.ctl")
    os.rmdir(inner)
    file.close()
    assert file.sock.fileno() == -1


def test_a_path_that_the_kernel_cannot_hold(directory: str) -> None:
    fits = f"{directory}/{'x' * (MAX_PATH_LENGTH - len(directory) - 1)}"
    assert len(fits) == 107
    check_length(fits)
    SocketFile.open(fits, 0o600).close()
    for long in (fits + "x", f"{fits[:-1]}é"):
        with pytest.raises(PathTooLongError, match="has 108 bytes, and a unix socket's path at most 107"):
            SocketFile.open(long, 0o600)


def test_a_directory_that_is_missing(directory: str) -> None:
    with pytest.raises(SocketFileError, match=r"cannot open .*none/c\.ctl.: No such file or directory"):
        SocketFile.open(f"{directory}/none/c.ctl", 0o600)


def test_the_directory_is_locked_while_a_socket_is_made(path: str, directory: str) -> None:
    make_stale(path)
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(DirectoryBusyError, match="another process holds the lock"):
            SocketFile.open(path, 0o600)
    finally:
        os.close(descriptor)
    SocketFile.open(path, 0o600).close()


def test_a_file_system_without_locks_will_do(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    SocketFile.open(path, 0o600).close()


@pytest.mark.skipif(os.geteuid() != 0, reason="takes another user's part")
def test_a_socket_that_may_not_be_tried_counts_as_living(path: str, opened: SocketFile) -> None:
    os.chmod(os.path.dirname(path), 0o777)
    os.seteuid(65534)
    try:
        with pytest.raises(SocketInUseError):
            SocketFile.open(path, 0o600)
    finally:
        os.seteuid(0)
    assert opened.intact
