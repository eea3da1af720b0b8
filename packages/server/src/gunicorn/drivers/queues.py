"""What the kernel holds of a connection, and may hold. Asked by the drivers' timekeepers, ``drivers.held``, and for
bodies that are read while they arrive.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
import termios
from typing import Any, Final

WINDOW: Final = 1 << 20  # bytes of a body that may come while its application does something else


def received(fd: int) -> int:
    """How many bytes have come on the socket *fd* and were not read yet. Raises OSError."""
    return int(struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0"))[0])


def unsent(fd: int) -> int:
    """How many bytes the kernel holds that the peer of the socket *fd* did not take yet; 0 where it does not tell."""
    try:
        return int(struct.unpack("i", fcntl.ioctl(fd, termios.TIOCOUTQ, b"\0\0\0\0"))[0])
    except OSError:
        return 0


def open_window(sock: Any, size: int) -> None:
    """Let the peer of *sock* send *size* bytes, or a mebibyte, before the first of them are read.

    Otherwise the kernel opens the window step by step as they are read, and every step has it process a part of the
    transfer on the reader's time: a third of what an upload costs. This is the one way to do so that leaves the
    kernel's own tuning of the connection on (SO_RCVBUF ends it).
    """
    if size and sys.platform == "linux":
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, min(size, WINDOW))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        except OSError:  # gone, which the next read says
            pass
