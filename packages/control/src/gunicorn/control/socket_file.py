"""A listening unix socket and the file that names it: opened without taking it from a living server, closed without
taking it from a successor. Called by ``service.py``; ``probe`` also by ``address.py``, for ``gunicornc``.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterator

from gunicorn.control.errors import PathTooLongError, SocketFileError, SocketInUseError

__all__ = ["MAX_PATH_LENGTH", "DirectoryBusyError", "SocketFile", "check_length", "probe"]

MAX_PATH_LENGTH = 107
"""Bytes that fit into the kernel's ``sun_path`` beside the closing zero (unix(7))."""


class DirectoryBusyError(SocketFileError):
    """Another process is opening a socket in the same directory at this moment; trying again soon will do."""


def check_length(path: str) -> None:
    """Raise PathTooLongError for a path that cannot name a unix socket."""
    length = len(os.fsencode(path))
    if length > MAX_PATH_LENGTH:
        raise PathTooLongError(
            f"the path of the control socket has {length} bytes, and a unix socket's path at most {MAX_PATH_LENGTH}: "
            f"{path!r}; choose a shorter one with --control-socket"
        )


def probe(path: str) -> bool:
    """Return whether a living process listens at the unix socket ``path``; never blocks.

    :raises FileNotFoundError: there is no file.
    :raises OSError: the file cannot be connected to, by permissions for example, so that it is not known.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        try:
            sock.connect(path)
        except ConnectionRefusedError:
            return False
        except BlockingIOError:  # its backlog is full: busy, hence alive
            return True
        except OSError as exc:
            if exc.errno == errno.EPROTOTYPE:  # a datagram socket, which somebody has open
                return True
            raise
    return True


class SocketFile:
    """An open, listening unix socket. Made by :meth:`open`."""

    def __init__(self, path: str, sock: socket.socket, mode: int) -> None:
        self.path = path
        self.sock = sock
        self.mode = mode
        self._identity = _identity(path)

    @classmethod
    def open(cls, path: str, mode: int, backlog: int = 64) -> SocketFile:
        """Bind ``path`` with the permissions ``mode`` and listen, non-blocking.

        A socket that nobody listens at is replaced, any other file is left alone.

        :raises PathTooLongError: the path exceeds the kernel's limit.
        :raises SocketInUseError: a living process listens there.
        :raises DirectoryBusyError: another process is doing the same in this directory.
        :raises SocketFileError: something that is no socket lies there, or the system refuses.
        """
        check_length(path)
        try:
            with _locked(os.path.dirname(path) or "."):
                _make_room(path)
                return cls(path, _listen(path, mode, backlog), mode)
        except OSError as exc:
            raise SocketFileError(f"cannot open {path!r}: {exc.strerror or exc}") from exc

    @property
    def intact(self) -> bool:
        """Whether the file at the path is still this socket's."""
        return _identity(self.path) == self._identity

    def unlink(self) -> None:
        """Remove the file, if it is still this socket's."""
        if self.intact:
            try:
                os.unlink(self.path)
            except OSError:  # the directory is gone or no longer ours: nothing that could be done here
                pass

    def close(self) -> None:
        """Remove the file, if it is still this socket's, and stop listening.

        In this order: as long as the socket listens no other server takes the path.
        """
        self.unlink()
        self.sock.close()


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextlib.contextmanager
def _locked(directory: str) -> Iterator[None]:
    """Hold the directory's advisory lock.

    Without it two servers that start at once could both find the same stale socket, and the slower one would remove the
    socket that the faster one has just made. The lock is on the directory, so it leaves no file, and it is never waited
    for, since this runs in the master.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise DirectoryBusyError(f"another process holds the lock of {directory!r}") from exc
        except OSError:  # a file system without locks of directories (NFS): the window is microseconds, go on
            pass
        yield
    finally:
        os.close(descriptor)


def _make_room(path: str) -> None:
    try:
        kind = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise SocketFileError(
            f"{path!r} exists and is no socket; remove it, or choose another path with --control-socket"
        )
    try:
        alive = probe(path)
    except FileNotFoundError:
        return
    except PermissionError:  # another user's: not known to be dead, so not ours to remove
        alive = True
    if alive:
        raise SocketInUseError(
            f"another process listens at {path!r}; give each server its own path with --control-socket"
        )
    os.unlink(path)


def _listen(path: str, mode: int, backlog: int) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        # The file must never have wider permissions than asked for, not even until a chmod. The master has one thread.
        umask = os.umask(0o777 & ~mode)
        try:
            sock.bind(path)
        finally:
            os.umask(umask)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock
