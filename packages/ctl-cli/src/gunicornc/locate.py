"""Which server is meant: from ``-s``, or by looking where servers put their sockets by default."""

from __future__ import annotations

import os

from gunicorn.control.address import DEFAULT_NAME, discover
from gunicorn.control.errors import NothingListensError

__all__ = ["AmbiguousError", "locate"]

START_HINT = """\
A server with one starts by:    gunicorn --control-socket PATH module:app
(PATH can be left out; the server's log says where the socket is. It needs: pip install 'gunicorn-server[control]'.)
Its socket is named by:         gunicornc -s PATH"""


class AmbiguousError(Exception):
    """Several servers run, and none was named."""


def locate(path: str | None) -> str:
    """Return the path of the socket to connect to.

    :param path: the value of ``-s``. The setting's default means the same here as for the server, unless there is
        such a file in the working directory.
    :raises NothingListensError: none was named and none was found.
    :raises AmbiguousError: none was named and several were found.
    """
    if path is not None and (path != DEFAULT_NAME or os.path.exists(path)):
        return path
    found = discover()
    if len(found.sockets) == 1:
        return found.sockets[0]
    if found.sockets:
        listed = "\n".join(f"  gunicornc -s {path}" for path in found.sockets)
        raise AmbiguousError(f"several servers listen; say which one:\n{listed}")
    looked = "\n".join(f"  {place}" for place in found.looked)
    raise NothingListensError(f"no server has a control socket here; looked for\n{looked}\n{START_HINT}")
