"""One question to the dirty arbiter and its answer, without blocking, in the master's selector.

Made by ``endpoint.py`` for a command that asks the pool; nothing here knows about control connections.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from typing import Any

from gunicorn.control.errors import CommandError, PoolUnavailableError
from gunicorn.control.host import ServiceHost
from gunicorn.control.registry import QUESTION_ID, AskPool
from gunicorn_dirty_protocol import Error, FrameAssembler, Limits, Message, ProtocolError, Response

__all__ = ["ANSWER_TIMEOUT", "PoolCall"]

ANSWER_TIMEOUT = 5.0
"""Seconds that the dirty arbiter has to answer. Its answers take it well under a millisecond."""

_LIMITS = Limits(max_payload=4 * 1024 * 1024)
_READ_SIZE = 65536


class PoolCall:
    """Sends ``ask.question`` and calls back once: ``answered`` with the result, or ``failed`` with the reason.

    Either may be called by :meth:`start`. After :meth:`close` neither is.
    """

    def __init__(
        self,
        host: ServiceHost,
        ask: AskPool,
        deadline: float,
        answered: Callable[[Any], None],
        failed: Callable[[CommandError], None],
    ) -> None:
        self.deadline = deadline
        self._host = host
        self._path = ask.socket_path
        self._out = ask.question.to_bytes()
        self._answered = answered
        self._failed = failed
        self._frames = FrameAssembler(_LIMITS)
        self._sock: socket.socket | None = None
        self._registered = False

    def start(self) -> None:
        """Connect, which a unix socket does at once or not at all, and send."""
        sock = self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            sock.connect(self._path)
            # A question has some sixty bytes, which always fit into the buffer of a fresh connection.
            sock.sendall(self._out)
        except BlockingIOError:
            self._fail("is too busy to accept a connection")
        except OSError as exc:
            self._fail(f"cannot be reached: {exc.strerror or exc}")
        else:
            self._host.register(sock, selectors.EVENT_READ, self._ready)
            self._registered = True

    def expire(self) -> None:
        """The deadline has passed."""
        self._fail(f"has not answered within {ANSWER_TIMEOUT:g} seconds")

    def close(self) -> None:
        """Forget the question."""
        if self._sock is not None:
            if self._registered:
                self._host.unregister(self._sock)
            self._sock.close()
            self._sock = None

    def forked(self) -> None:
        """Close the copy of the descriptor in a child; the selector is the master's and stays untouched."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _ready(self, mask: int) -> None:
        if self._sock is None:
            return
        try:
            data = self._sock.recv(_READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as exc:
            self._fail(f"went away: {exc.strerror or exc}")
            return
        if not data:
            self._fail("closed the connection without an answer")
            return
        try:
            for frame in self._frames.receive_data(data):
                if self._take(frame.message(_LIMITS)):
                    return
        except ProtocolError as exc:
            self._fail(f"sent what cannot be read: {exc}")

    def _take(self, message: Message) -> bool:
        """Return whether ``message`` was the answer."""
        if message.request_id != QUESTION_ID:
            return False
        if isinstance(message, Response):
            self.close()
            self._answered(message.result)
        elif isinstance(message, Error):
            self.close()
            self._failed(CommandError(f"the dirty arbiter refused: {message.message} ({message.error_type})"))
        else:
            self._fail(f"answered with an unexpected message, {message.type.name}")
        return True

    def _fail(self, what: str) -> None:
        self.close()
        self._failed(PoolUnavailableError(f"the dirty arbiter {what} (socket {self._path!r})"))
