"""A small blocking client of the control socket; used by ``gunicornc`` and by whoever wants to steer from a script.

::

    with ControlClient("/run/app/gunicorn.ctl") as client:
        for worker in client.call("show workers")["workers"]:
            print(worker["pid"], worker["last_heartbeat"])
"""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from gunicorn.control.errors import (
    BadReplyError,
    ClientTimeoutError,
    CommandFailedError,
    ConnectionDeniedError,
    FrameError,
    NothingListensError,
)
from gunicorn.control.framing import FrameDecoder, decode_json, encode_frame
from gunicorn.control.messages import Reply, Request
from gunicorn.control.socket_file import check_length

__all__ = ["DEFAULT_TIMEOUT", "ControlClient"]

DEFAULT_TIMEOUT = 10.0
"""Seconds for a call; more than the server gives itself for asking the dirty pool."""

_READ_SIZE = 65536
_CONNECT_RETRY_INTERVAL = 0.01


class ControlClient:
    """One connection to a server, made at the first call and again when the server has closed it while idle.

    :param path: of the server's control socket.
    :param timeout: seconds for each call as a whole, connecting included; None waits forever.

    Not for use by several threads at once.
    """

    def __init__(self, path: str, timeout: float | None = DEFAULT_TIMEOUT) -> None:
        if timeout is not None and timeout <= 0:
            raise ValueError(f"a timeout is a positive number of seconds or None, not {timeout!r}")
        self.path = path
        self.timeout = timeout
        self._sock: socket.socket | None = None
        self._decoder = FrameDecoder()
        self._ids = itertools.count(1)

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def call(self, command: str, *args: str | int) -> Mapping[str, Any]:
        """Give a command and return its data (see WIRE.md for what each command gives).

        :param command: such as ``"show workers"`` or ``"worker add 2"``.
        :param args: more words of the command, if they are at hand separately.
        :raises NothingListensError: no server is at the path.
        :raises ConnectionDeniedError: no permission to connect.
        :raises ClientTimeoutError: no reply in time. The command may have taken effect.
        :raises BadReplyError: the peer hung up, or what it said is no reply. The command may have taken effect.
        :raises CommandFailedError: the server's answer is an error.
        """
        request = Request(next(self._ids), command, tuple(str(arg) for arg in args))
        deadline = None if self.timeout is None else time.monotonic() + self.timeout
        try:
            reply = self._exchange(request, deadline)
        except BaseException:
            self.close()  # an answer that comes later must not be taken for that of the next call
            raise
        if reply.error is not None:
            raise CommandFailedError(reply.error)
        return reply.data or {}

    def close(self) -> None:
        """Close the connection; a later call makes a new one."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        self._decoder = FrameDecoder()

    def _exchange(self, request: Request, deadline: float | None) -> Reply:
        if self._sock is not None and _is_closed(self._sock):
            self.close()
        try:
            if self._sock is None:
                self._sock = self._connect(deadline)
            self._sock.settimeout(_left(deadline))
            try:
                self._sock.sendall(encode_frame(request.to_json()))
            except (BrokenPipeError, ConnectionResetError):
                pass  # a server that refuses has said why before it closed
            return self._receive(self._sock, request, deadline)
        except TimeoutError as exc:
            text = f"the server at {self.path!r} has not answered within {self.timeout:g} seconds"
            raise ClientTimeoutError(text) from exc
        except FrameError as exc:
            raise BadReplyError(f"what listens at {self.path!r} does not speak the control protocol: {exc}") from exc
        except OSError as exc:
            raise BadReplyError(f"the connection to {self.path!r} broke: {exc.strerror or exc}") from exc

    def _connect(self, deadline: float | None) -> socket.socket:
        check_length(self.path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            while True:
                sock.settimeout(_left(deadline))
                try:
                    sock.connect(self.path)
                    break
                except BlockingIOError:  # the backlog is full, and a unix socket with a timeout does not wait for it
                    time.sleep(_CONNECT_RETRY_INTERVAL)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as exc:
            sock.close()
            gone = "there is no such socket" if not isinstance(exc, ConnectionRefusedError) else "its server is gone"
            raise NothingListensError(f"nothing listens at {self.path!r}: {gone}") from exc
        except PermissionError as exc:
            sock.close()
            raise ConnectionDeniedError(f"no permission to connect to {self.path!r}; try as the server's user") from exc
        except BaseException:
            sock.close()
            raise
        return sock

    def _receive(self, sock: socket.socket, request: Request, deadline: float | None) -> Reply:
        while True:
            payload = self._decoder.next_frame()
            if payload is not None:
                reply = Reply.from_json(decode_json(payload))
                if reply.id in (request.id, 0):  # 0 answers what could not be read as a request
                    return reply
                raise BadReplyError(f"the reply is to request {reply.id}, asked was {request.id}")
            sock.settimeout(_left(deadline))
            data = sock.recv(_READ_SIZE)
            if not data:
                raise BadReplyError(f"the server at {self.path!r} closed the connection without an answer")
            self._decoder.receive_data(data)


def _left(deadline: float | None) -> float | None:
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _is_closed(sock: socket.socket) -> bool:
    """Whether the server has closed an idle connection (anything readable on one ends its use)."""
    sock.setblocking(False)
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
