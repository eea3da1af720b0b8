"""The side channel between processes of the pool: JSON objects, one a line, over a stream socketpair.

Master and arbiter, and arbiter and worker, tell each other their state through it; calls never pass here. The end of
the stream is the other process's end, which is why every process closes the ends that are not its own.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from typing import Any

__all__ = ["Channel", "LineBuffer"]

_MAX_FILES = 253
_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_MAX_LINE = 1024 * 1024  # bytes; our own processes write far less


class LineBuffer:
    """Splits bytes as they come into JSON objects; sans I/O."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """The objects that `data` completes. Raises ValueError when a line is no JSON object or has no end."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > _MAX_LINE:
            raise ValueError(f"a line of the side channel is longer than {_MAX_LINE} bytes")
        messages = [json.loads(line) for line in lines]
        for message in messages:
            if not isinstance(message, dict):
                raise ValueError(f"the side channel carries objects, not {message!r}")
        return messages


class Channel:
    """One end. Non-blocking use: :meth:`fileno` in a selector, :meth:`receive` when readable."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.files: list[int] = []  # descriptors that came with the messages received, in their order
        self._lines = LineBuffer()
        self._unsent = b""

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Two connected ends, both blocking until told otherwise."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        return cls(ours), cls(theirs)

    def fileno(self) -> int:
        return self.sock.fileno()

    def send(self, message: dict[str, Any]) -> None:
        """Write one object. Never blocks on a non-blocking socket: what does not fit goes out with the next send.

        A peer that is gone is not an error here; reading tells.
        """
        self._unsent += json.dumps(message, separators=(",", ":")).encode() + b"\n"
        try:
            while self._unsent:
                self._unsent = self._unsent[self.sock.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent = b""

    def send_files(self, message: dict[str, Any], files: Sequence[int]) -> None:
        """Write one object, and hand the descriptors `files` (at most 253, unix(7)) to the peer.

        :raises OSError: the peer is gone, or (BlockingIOError) a non-blocking socket does not take it now
        """
        if self._unsent:
            raise BlockingIOError("other messages wait to be sent")
        data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        sent = socket.send_fds(self.sock, [data], files)
        self.sock.sendall(data[sent:])

    def receive(self) -> list[dict[str, Any]] | None:
        """Read once. The objects that arrived (perhaps none), or None at the end of the stream.

        :raises ValueError: the peer does not speak this
        """
        try:
            data, fds, _flags, _address = socket.recv_fds(self.sock, 65536, _MAX_FILES, _CLOSE_ON_EXEC)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError:
            return None
        self.files += fds
        if not data:
            return None
        return self._lines.feed(data)

    def close(self) -> None:
        self.sock.close()
        while self.files:
            os.close(self.files.pop())
