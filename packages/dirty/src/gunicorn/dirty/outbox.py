"""Non-blocking sending for the arbiter: at once where the socket takes it, else kept and sent when it is writable
again.

One per connection to a client and per slot. Whoever feeds it looks at :attr:`Outbox.pending` and stops reading its own
source while there is any: that is the backpressure of the relay.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable

from .loop import READ, WRITE, Loop

__all__ = ["Outbox"]


class Outbox:
    """Sends over `sock` and owns what the loop watches it for.

    :ivar pending: bytes that the socket has not taken yet
    :ivar reading: whether the loop watches for bytes from the peer
    :ivar broken: the peer is gone; what is sent is dropped, since reading will tell
    """

    __slots__ = ("_attached", "_chunks", "_drained", "_loop", "_sock", "broken", "pending", "reading")

    def __init__(
        self, loop: Loop, sock: socket.socket, handler: Callable[[int], None], drained: Callable[[], None]
    ) -> None:
        """Registers `sock`, reading, with `handler`, which calls :meth:`flush` when it is told WRITE.

        :param drained: called when all has gone out after some had been pending
        """
        self._loop = loop
        self._sock = sock
        self._drained = drained
        self._chunks: deque[memoryview] = deque()
        self.reading = True
        self._attached = True
        self.pending = 0
        self.broken = False
        loop.register(sock, READ, handler)

    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Send, or keep a copy of what does not go out now. `data` may be overwritten afterwards."""
        sent = 0
        if not self.pending:
            if self.broken:
                return
            try:
                sent = self._sock.send(data)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError:
                self._break()
                return
            if sent == len(data):
                return
        rest = memoryview(bytes(memoryview(data)[sent:]))
        self._chunks.append(rest)
        first = not self.pending
        self.pending += len(rest)
        if first:
            self._watch()

    def flush(self) -> None:
        """The socket is writable: send what is kept."""
        chunks = self._chunks
        try:
            while chunks:
                sent = self._sock.send(chunks[0])
                self.pending -= sent
                if sent == len(chunks[0]):
                    chunks.popleft()
                else:
                    chunks[0] = chunks[0][sent:]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._break()
        self._watch()
        self._drained()

    def pause(self) -> None:
        """Stop reading (hang-ups are still told)."""
        if self.reading:
            self.reading = False
            self._watch()

    def resume(self) -> None:
        if not self.reading:
            self.reading = True
            self._watch()

    def detach(self) -> None:
        """Nothing more is sent or told; to be called before the socket is closed."""
        if self._attached:
            self._attached = False
            self._loop.unregister(self._sock)
        self._break()

    def _break(self) -> None:
        self.broken = True
        self._chunks.clear()
        self.pending = 0

    def _watch(self) -> None:
        if self._attached:
            self._loop.modify(self._sock, (READ if self.reading else 0) | (WRITE if self.pending else 0))
