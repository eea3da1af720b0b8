"""What a peer did not take at once. An Outbox is made by ``drivers.channel`` for what nobody waits for."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Final

from gunicorn.drivers.errors import FileBecameShorterError
from gunicorn.drivers.sendfile import FileRange

MSG_MORE: Final = getattr(socket, "MSG_MORE", 0)

Parts = Sequence[bytes | memoryview]


def rest_of(parts: Parts, sent: int) -> Parts:
    """What is left to send of *parts* when *sent* bytes were taken."""
    for place, part in enumerate(parts):
        if sent < len(part):
            return [memoryview(part)[sent:], *parts[place + 1 :]] if sent else parts[place:]
        sent -= len(part)
    return ()


class Outbox:
    """Bytes, and after them a part of a file."""

    __slots__ = ("data", "file")

    def __init__(self, data: memoryview, file: FileRange | None = None) -> None:
        self.data = data
        self.file = file

    def write(self, sock: socket.socket, send: Callable[[memoryview], int]) -> int:
        """Write once as much as the peer takes now, data by *send*, a file to *sock*; 0 when nothing is left.

        Raises BlockingIOError when it takes nothing, FileBecameShorterError, and other OSErrors when it has gone.
        """
        file = self.file
        if self.data:
            # With a file to follow, the head travels in the first packet of it.
            sent = send(self.data) if file is None else sock.send(self.data, MSG_MORE)
            self.data = self.data[sent:]
            return sent
        if file is None or not file.left:
            return 0
        sent = file.send(sock.fileno())
        if not sent:
            raise FileBecameShorterError
        return sent

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
