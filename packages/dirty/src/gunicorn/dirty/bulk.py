"""Large messages over blocking sockets: sent without joining their pieces, received into memory that is taken as it
fills.

Used by the slots and by the blocking client.
"""

from __future__ import annotations

import mmap
import socket
from collections.abc import Iterable, Iterator

from .wire import Frame, Piece

__all__ = ["MIN_SHARED", "expect", "give_back", "room_for", "send_frame", "steps", "widen"]

#: Bytes of a payload from which on it goes through shared memory, where there is some.
MIN_SHARED = 1024 * 1024

_BUFFER = 1024 * 1024  # bytes that a sender may be ahead of its reader
_JOINED = 65536  # pieces up to here are copied rather than sent alone
_MAPPED = 1024 * 1024  # bytes
_KEPT = 64 * 1024 * 1024  # bytes that a process keeps for the next large message, at most

_HUGE = 8 * 1024 * 1024  # bytes of a message from which on values are so large that the heap's policy matters
_HEAP_KEPT = 256 * 1024 * 1024  # bytes
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # mallopt(3)

_spare: list[mmap.mmap] = []
_heap_is_kept = False


def widen(sock: socket.socket) -> None:
    """Let the kernel hold more of what is sent on this socket, so that both sides work in larger steps."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)


def send_frame(sock: socket.socket, frame: Frame) -> None:
    """Send all of it. Raises OSError."""
    if isinstance(frame, bytes):
        sock.sendall(frame)
        return
    for piece in steps(frame):
        sock.sendall(piece)


def steps(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """The same bytes in pieces that are worth a step each: small ones are joined."""
    small: list[Piece] = []
    size = 0
    for piece in pieces:
        if size + len(piece) > _JOINED:
            if small:
                yield b"".join(small)
                small, size = [], 0
            if len(piece) > _JOINED:
                yield piece
                continue
        small.append(piece)
        size += len(piece)
    if small:
        yield b"".join(small)


def room_for(length: int) -> memoryview:
    """Memory for that many bytes: what :func:`give_back` was given last, if it is large enough.

    Pages that are new to the process cost several times what filling them costs. Those of new memory are there when
    they are written to, not before, so that an announced length takes nothing.
    """
    if length < _MAPPED:
        return memoryview(bytearray(length))
    expect(length)
    try:
        spare = _spare.pop()
    except IndexError:
        spare = None
    if spare is None or len(spare) < length:
        spare = mmap.mmap(-1, -(-length // _MAPPED) * _MAPPED)
    return memoryview(spare)[:length]


def expect(length: int) -> None:
    """Values of about so many bytes are about to be made.

    For large ones: let glibc take values of up to 256 MiB from memory that was freed, and keep as much free.

    By itself it does so up to 32 MiB, and gives larger ones pages of their own, which are new each time: five sixths of
    the time that a 32 MiB argument took went into those.
    """
    global _heap_is_kept
    if length >= _HUGE and not _heap_is_kept:
        _heap_is_kept = True
        try:
            import ctypes

            libc = ctypes.CDLL(None)
            libc.mallopt(_M_MMAP_THRESHOLD, _HEAP_KEPT)
            libc.mallopt(_M_TRIM_THRESHOLD, _HEAP_KEPT)
        except (ImportError, OSError, AttributeError):
            pass  # another C library, which has its own ways


def give_back(room: memoryview) -> None:
    """The memory that :func:`room_for` gave is needed no more; nothing may refer to it."""
    spare = room.obj
    room.release()
    if isinstance(spare, mmap.mmap) and len(spare) <= _KEPT and not _spare:
        _spare.append(spare)
