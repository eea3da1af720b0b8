"""Where the control socket lies: the one rule that the server and ``gunicornc`` share.

The setting's default, the bare name ``gunicorn.ctl``, stands for a place that both find without being told: the user's
private runtime directory. Any other path is taken as a path, a relative one from the server's working directory. Why:
docs/decisions/control-socket-path.md.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass

from gunicorn.control.errors import SocketFileError
from gunicorn.control.socket_file import probe

__all__ = ["DEFAULT_NAME", "Found", "default_paths", "discover", "runtime_directories", "server_paths"]

DEFAULT_NAME = "gunicorn.ctl"
"""Default of the setting ``control_socket``."""

_STEM, _SUFFIX = os.path.splitext(DEFAULT_NAME)


def runtime_directories(environ: Mapping[str, str] | None = None) -> list[str]:
    """Return the places for default sockets of this user, best first: ``$XDG_RUNTIME_DIR``, ``~/.gunicorn``, and
    ``/tmp/gunicorn-UID`` for users without a home. They need not exist."""
    environ = os.environ if environ is None else environ
    places = [environ.get("XDG_RUNTIME_DIR", "")]
    home = environ.get("HOME") or os.path.expanduser("~")
    places.append(os.path.join(home, ".gunicorn"))
    places.append(f"/tmp/gunicorn-{os.geteuid()}")  # noqa: S108 - used only when it is ours and private
    return [place for place in places if os.path.isabs(place)]


def server_paths(setting: str, directory: str, pid: int) -> list[str]:
    """Return the paths at which a server may open its control socket, to be tried until one is not in use.

    :param setting: the value of ``control_socket``.
    :param directory: the server's working directory.
    :param pid: the server's process id. Every further server of a user that keeps to the default gets a name with its
        pid, so that none is without a socket and none takes another's.
    :raises SocketFileError: the default is wanted, and no runtime directory can be used; the text has the reasons.
    """
    if setting != DEFAULT_NAME:
        return [os.path.join(directory, setting)]
    return default_paths(pid, runtime_directories())


def default_paths(pid: int, directories: list[str]) -> list[str]:
    """Return the default socket's path and the one with ``pid``, in the first directory that can be used."""
    reasons = []
    for directory in directories:
        try:
            _prepare(directory)
        except OSError as exc:
            reasons.append(f"{directory} ({exc.strerror or exc})")
        else:
            return [os.path.join(directory, name) for name in (DEFAULT_NAME, f"{_STEM}-{pid}{_SUFFIX}")]
    raise SocketFileError(f"no private directory for it: {', '.join(reasons)}; name a path with --control-socket")


def _prepare(directory: str) -> None:
    """Make the directory if it is missing; raise OSError unless it is ours and nobody else can put files into it."""
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        pass
    _check_private(directory)
    if not os.access(directory, os.W_OK | os.X_OK):
        raise OSError("not writable")


def _check_private(directory: str) -> None:
    found = os.lstat(directory)
    if not stat.S_ISDIR(found.st_mode):
        raise OSError("no directory")
    if found.st_uid != os.geteuid():
        raise OSError(f"belongs to uid {found.st_uid}")
    if found.st_mode & 0o022:
        raise OSError("writable by others")


@dataclass(frozen=True)
class Found:
    """What ``discover`` found: sockets of living servers, and every place it looked at."""

    sockets: list[str]
    looked: list[str]


def discover(directories: list[str] | None = None) -> Found:
    """Look for default sockets of this user's servers; connects to each to see which ones live."""
    sockets = []
    looked = []
    for directory in runtime_directories() if directories is None else directories:
        looked.append(os.path.join(directory, DEFAULT_NAME))
        try:
            _check_private(directory)
            names = sorted(os.listdir(directory))
        except OSError:
            continue
        for name in names:
            if name != DEFAULT_NAME and not (name.startswith(f"{_STEM}-") and name.endswith(_SUFFIX)):
                continue
            path = os.path.join(directory, name)
            try:
                alive = probe(path)
            except OSError:
                continue
            if alive:
                sockets.append(path)
    return Found(sockets, looked)
