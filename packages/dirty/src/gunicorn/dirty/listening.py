"""The pool's unix socket: bound privately, handed from arbiter to arbiter, unlinked by whoever owns it at the end.

Called by the service (in the master, which keeps the socket open so that its path and backlog outlive an arbiter) and
by `python -m gunicorn.dirty`.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
import tempfile

from .errors import DirtyConnectionError

__all__ = ["Listener", "peer_credentials"]

_MAX_PATH = 107  # bytes of sun_path without the closing zero (unix(7))
_BACKLOG = 1024
_UCRED = struct.Struct("3i")


class Listener:
    """A bound, listening socket and the files that come with it.

    :ivar path: where clients connect
    """

    def __init__(self, sock: socket.socket, path: str, directory: str | None) -> None:
        self.sock = sock
        self.path = path
        self._directory = directory
        self._identity = _identity(path)

    @classmethod
    def private(cls, owner: tuple[int, int] | None = None) -> Listener:
        """Bind in a new directory that only this user (or `owner`, uid and gid, when we are root) can enter.

        :raises OSError: no directory can be made or bound in
        """
        directory = tempfile.mkdtemp(prefix="gunicorn-dirty-")  # mode 0700
        try:
            return cls._bind(os.path.join(directory, "pool.sock"), directory, owner)
        except BaseException:
            os.rmdir(directory)
            raise

    @classmethod
    def at(cls, path: str) -> Listener:
        """Bind at `path`; a socket that nobody listens on any more is replaced.

        :raises DirtyConnectionError: a living pool listens there, or the path is too long or taken by another file
        :raises OSError: binding failed
        """
        path = os.path.abspath(path)
        try:
            taken = stat.S_ISSOCK(os.lstat(path).st_mode)
        except FileNotFoundError:
            return cls._bind(path, None, None)
        if not taken:
            raise DirtyConnectionError(f"{path} exists and is no socket; give another path", path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)
                return cls._bind(path, None, None)
            except OSError as exc:
                raise DirtyConnectionError(f"{path} is taken and does not answer ({exc}); remove it", path) from exc
        raise DirtyConnectionError(f"another pool listens on {path}; stop it or give another path", path)

    @classmethod
    def _bind(cls, path: str, directory: str | None, owner: tuple[int, int] | None) -> Listener:
        if len(os.fsencode(path)) > _MAX_PATH:
            raise DirtyConnectionError(
                f"the socket path {path} is longer than {_MAX_PATH} bytes, which unix sockets cannot have; "
                "set TMPDIR or give a shorter path",
                path,
            )
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            mask = os.umask(0o177)
            try:
                sock.bind(path)
            except OSError as exc:
                raise OSError(exc.errno, f"cannot listen on {path}: {exc.strerror}") from exc
            finally:
                os.umask(mask)
            if owner is not None and os.geteuid() == 0:
                os.chown(path, *owner)
                if directory is not None:
                    os.chown(directory, *owner)
            sock.listen(_BACKLOG)
            sock.setblocking(False)
            return cls(sock, path, directory)
        except BaseException:
            sock.close()
            raise

    def close(self) -> None:
        """Close this process's descriptor; the files stay."""
        self.sock.close()

    def unlink(self) -> None:
        """Remove the files, if the path is still this socket. Never raises."""
        try:
            if _identity(self.path) == self._identity:
                os.unlink(self.path)
            if self._directory is not None:
                os.rmdir(self._directory)
        except OSError:
            pass


def _identity(path: str) -> tuple[int, int, int]:
    # An inode's number is given to the next file as soon as it is free; the time tells them apart.
    status = os.lstat(path)
    return status.st_dev, status.st_ino, status.st_mtime_ns


def peer_credentials(sock: socket.socket) -> tuple[int, int] | None:
    """Pid and uid of the process that connected; None where the system does not tell (the directory's mode guards
    then)."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    pid, uid, _gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, option, _UCRED.size))
    return pid, uid
