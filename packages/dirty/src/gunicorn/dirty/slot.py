"""A slot in the worker: a thread that receives a request, runs it and sends the answer, one after the other.

Started by the worker, one per socketpair. Async actions run on the worker's event loop (aio.py) while the slot waits.
"""

from __future__ import annotations

import os
import socket
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from gunicorn_dirty_protocol import End, Error, ProtocolError

from .errors import (
    DirtyAppError,
    DirtyAppNotFoundError,
    DirtyCancelledError,
    DirtyError,
    DirtyProtocolError,
)
from .wire import HEADER, HEADER_SIZE, REQUEST, chunk_frame, read_request, response_frame

__all__ = ["Job", "Slot"]

_READ_SIZE = 65536
# Results of these types are values; anything else is looked at, since it may be a generator or a coroutine.
_VALUES = frozenset((type(None), bool, int, float, str, bytes, bytearray, list, tuple, dict))


class Job:
    """A request while it runs.

    :ivar id: the arbiter's id of it
    :ivar cancelled: whether it is to end; looked at between the items of a stream
    """

    __slots__ = ("_on_cancel", "cancelled", "id")

    def __init__(self, number: int) -> None:
        self.id = number
        self.cancelled = False
        self._on_cancel: Callable[[], None] | None = None

    def cancel(self) -> None:
        """Ask it to end; from any thread."""
        self.cancelled = True
        on_cancel = self._on_cancel
        if on_cancel is not None:
            on_cancel()

    def on_cancel(self, callback: Callable[[], None] | None) -> None:
        """Have `callback` called, from another thread, when the job is cancelled; at once if it is already."""
        self._on_cancel = callback
        if self.cancelled and callback is not None:
            callback()


class Slot:
    """One unit of concurrency of the worker. The end of its socket is the end of the process."""

    def __init__(self, index: int, sock: socket.socket, apps: dict[str, Any]) -> None:
        """:param apps: loaded apps by import path"""
        self.index = index
        self._sock = sock
        self._apps = apps
        self._job: Job | None = None
        self._cancelled_id = 0  # of the last cancelled call, which may not have come yet

    def cancel(self, call_id: int) -> None:
        """The call with this id is to end, or not to begin. From another thread."""
        self._cancelled_id = call_id
        job = self._job
        if job is not None and job.id == call_id:
            job.cancel()

    # The thread

    def run(self) -> None:
        """Serve until the arbiter is gone."""
        try:
            self._serve()
        except ConnectionError:
            pass  # the arbiter has closed its end
        except BaseException:
            traceback.print_exc()
        os._exit(1)

    def _serve(self) -> None:
        sock = self._sock
        buffer = bytearray(_READ_SIZE)
        view = memoryview(buffer)
        while True:
            have = sock.recv_into(buffer)
            while 0 < have < HEADER_SIZE:
                more = sock.recv_into(view[have:])
                have = have + more if more else 0
            if not have:
                return
            _magic, _version, kind, length, request_id = HEADER.unpack_from(buffer)
            job = self._job = Job(request_id)
            whole = HEADER_SIZE + length
            payload = view[HEADER_SIZE:whole] if whole <= _READ_SIZE else memoryview(bytearray(length))
            if have < whole:
                if whole > _READ_SIZE:
                    payload[: have - HEADER_SIZE] = view[HEADER_SIZE:have]
                self._receive(payload[have - HEADER_SIZE :])
            if self._cancelled_id == request_id:
                job.cancelled = True
            if job.cancelled or kind != REQUEST:
                self._fail(job, DirtyCancelledError())
            else:
                self._answer(job, payload)
            self._job = None

    def _receive(self, rest: memoryview) -> None:
        while rest:
            size = self._sock.recv_into(rest)
            if not size:
                raise ConnectionResetError("the arbiter has closed the slot within a request")
            rest = rest[size:]

    # One request

    def _answer(self, job: Job, payload: memoryview) -> None:
        try:
            app_path, action, args, kwargs = read_request(payload)
        except ProtocolError as exc:
            self._fail(job, DirtyProtocolError(f"malformed request: {exc}"))
            return
        app = self._apps.get(app_path)
        if app is None:
            self._fail(job, DirtyAppNotFoundError(app_path))
            return
        try:
            result = app(action, *args, **kwargs)
            if type(result) in _VALUES:
                self._send(response_frame(job.id, result))
            else:
                self._send_other(job, result)
        except OSError as exc:
            if self._is_lost():
                raise
            self._fail(job, describe(exc, app_path, action))
        except ProtocolError as exc:
            message = f"what {action} of {app_path} gave cannot be sent: {exc}"
            self._fail(job, DirtyAppError(message, app_path, action))
        except BaseException as exc:
            self._fail(job, describe(exc, app_path, action))

    def _send_other(self, job: Job, result: Any) -> None:
        cls = type(result)
        if hasattr(cls, "__await__") or hasattr(cls, "__anext__"):
            from .aio import runner  # loads asyncio, which only workers with async apps need

            if hasattr(cls, "__anext__"):
                runner().stream(job, result, self._sock)
                self._end(job)
            else:
                self._send(response_frame(job.id, runner().call(job, result)))
        elif hasattr(cls, "__next__"):
            self._stream(job, result)
        else:
            self._send(response_frame(job.id, result))

    def _stream(self, job: Job, items: Iterator[Any]) -> None:
        try:
            for item in items:
                if job.cancelled:
                    break
                self._send(chunk_frame(job.id, item))
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()
        self._end(job)

    def _end(self, job: Job) -> None:
        if job.cancelled:
            raise DirtyCancelledError
        self._send(End(job.id).to_bytes())

    def _fail(self, job: Job, error: DirtyError) -> None:
        data = error.to_dict()
        try:
            frame = Error(job.id, data["error_type"], data["message"], data["details"]).to_bytes()
        except ProtocolError:
            frame = Error(job.id, data["error_type"], _printable(data["message"])).to_bytes()
        self._send(frame)

    def _send(self, frame: bytes) -> None:
        self._sock.sendall(frame)

    def _is_lost(self) -> bool:
        """Whether an OSError came from the arbiter's end of the socket, not from the action."""
        try:
            self._sock.send(b"", socket.MSG_DONTWAIT)
            return self._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True


def describe(exc: BaseException, app_path: str, action: str) -> DirtyError:
    """The error that a caller gets for what an action raised: pool errors as they are, others as DirtyAppError."""
    if isinstance(exc, DirtyError):
        return exc
    text = "".join(traceback.format_exception(type(exc), exc, exc.__traceback__))
    return DirtyAppError(_printable(f"{type(exc).__name__}: {exc}"), app_path, action, _printable(text))


def _printable(text: object) -> str:
    """Text that UTF-8 can carry: surrogates, which file names may contain, are escaped."""
    return str(text).encode("utf-8", "backslashreplace").decode()
