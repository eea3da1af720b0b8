"""A slot in the worker: a thread that receives a request, runs it and sends the answer, one after the other.

Started by the worker, one per socketpair. Async actions run on the worker's event loop (aio.py) while the slot waits.
"""

from __future__ import annotations

import os
import socket
import time
import traceback
from collections.abc import Iterator
from typing import Any

from gunicorn_dirty_protocol import End, ProtocolError

from .bulk import give_back, room_for, send_frame
from .current import CurrentCall, call_variable
from .errors import (
    DirtyAppError,
    DirtyAppNotFoundError,
    DirtyCancelledError,
    DirtyError,
    DirtyProtocolError,
)
from .shared import deposit, fetch
from .wire import HEADER, HEADER_SIZE, REQUEST, Frame, chunk_frame, error_frame, printable, read_request, response_frame

__all__ = ["VALUES", "Slot", "error_of", "failure_frame", "open_request"]

_READ_SIZE = 65536
# Results of these types are values; anything else is looked at, since it may be a generator or a coroutine.
VALUES = frozenset((type(None), bool, int, float, str, bytes, bytearray, list, tuple, dict))


class Slot:
    """One unit of concurrency of the worker. The end of its socket is the end of the process."""

    def __init__(self, index: int, sock: socket.socket, apps: dict[str, Any], timeout: float = 0) -> None:
        """:param apps: loaded apps by import path
        :param timeout: `dirty_timeout`, seconds; 0 is never
        """
        self.index = index
        self._sock = sock
        self._apps = apps
        self._timeout = timeout
        self._call: CurrentCall | None = None
        self._cancelled_id = 0  # of the last cancelled call, which may not have come yet

    def cancel(self, call_id: int) -> None:
        """The call with this id is to end, or not to begin. From another thread."""
        self._cancelled_id = call_id
        call = self._call
        if call is not None and call.request_id == call_id:
            call.cancel()

    def forked(self) -> None:
        """In a child of an action's making: only the worker answers."""
        self._sock.close()

    # The thread

    def run(self) -> None:
        """Serve until the arbiter is gone."""
        try:
            self._serve()
        except ConnectionError:
            pass  # the arbiter has closed its end
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)  # also when there is no standard error any more

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
            call = self._call = CurrentCall(request_id)
            call_variable.set(call)
            whole = HEADER_SIZE + length
            payload = view[HEADER_SIZE:whole] if whole <= _READ_SIZE else room_for(length)
            if have < whole:
                if whole > _READ_SIZE:
                    payload[: have - HEADER_SIZE] = view[HEADER_SIZE:have]
                self._receive(payload[have - HEADER_SIZE :])
            if self._cancelled_id == request_id:
                call.cancelled = True
            if call.cancelled or kind != REQUEST:
                self._fail(call, DirtyCancelledError())
            else:
                self._answer(call, payload)
            if whole > _READ_SIZE:
                give_back(payload)
            self._call = None

    def _receive(self, rest: memoryview) -> None:
        while rest:
            size = self._sock.recv_into(rest)
            if not size:
                raise ConnectionResetError("the arbiter has closed the slot within a request")
            rest = rest[size:]

    # One request

    def _answer(self, call: CurrentCall, payload: memoryview) -> None:
        try:
            app, action, args, kwargs = open_request(call, payload, self._apps, self._timeout)
            result = app(action, *args, **kwargs) if kwargs else app(action, *args)
            if type(result) in VALUES:
                self._send(response_frame(call.request_id, result))
            else:
                self._send_other(call, result)
        except OSError as exc:
            if self._is_lost():
                raise
            self._fail(call, error_of(exc, call))
        except BaseException as exc:
            self._fail(call, error_of(exc, call))

    def _send_other(self, call: CurrentCall, result: Any) -> None:
        cls = type(result)
        if hasattr(cls, "__await__") or hasattr(cls, "__anext__"):
            from .aio import runner  # loads asyncio, which only workers with async apps need

            if hasattr(cls, "__anext__"):
                runner().stream(call, result, self._sock)
                self._end(call)
            else:
                self._send(response_frame(call.request_id, runner().call(call, result)))
        elif hasattr(cls, "__next__"):
            self._stream(call, result)
        else:
            self._send(response_frame(call.request_id, result))

    def _stream(self, call: CurrentCall, items: Iterator[Any]) -> None:
        try:
            for item in items:
                if call.cancelled:
                    break
                self._send(chunk_frame(call.request_id, item))
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()
        self._end(call)

    def _end(self, call: CurrentCall) -> None:
        if call.cancelled:
            raise DirtyCancelledError
        self._send(End(call.request_id).to_bytes())

    def _fail(self, call: CurrentCall, error: DirtyError) -> None:
        self._send(failure_frame(call, error))

    def _send(self, frame: Frame) -> None:
        if type(frame) is bytes:
            self._sock.sendall(frame)
        else:
            send_frame(self._sock, deposit(self._call, frame))

    def _is_lost(self) -> bool:
        """Whether an OSError came from the arbiter's end of the socket, not from the action."""
        try:
            self._sock.send(b"", socket.MSG_DONTWAIT)
            return self._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True


def open_request(
    call: CurrentCall, payload: bytes | memoryview, apps: dict[str, Any], timeout: float
) -> tuple[Any, str, list[Any], dict[str, Any]]:
    """The app, action, args and kwargs of a request; what else it says goes into `call`.

    :param timeout: `dirty_timeout`, seconds; 0 is never
    :raises DirtyProtocolError: it is malformed
    :raises DirtyMappingError: it lies in shared memory that cannot be used
    :raises DirtyAppNotFoundError: this worker has no such app
    """
    try:
        route, deadline, args, kwargs = read_request(payload, fetch)
    except ProtocolError as exc:
        raise DirtyProtocolError(f"malformed request: {exc}") from exc
    call.route = route
    if deadline is not None:
        call.deadline = time.monotonic() + (min(deadline, timeout) if timeout else deadline)
    elif timeout:
        call.deadline = time.monotonic() + timeout
    app = apps.get(route[0])
    if app is None:
        raise DirtyAppNotFoundError(route[0])
    return app, route[1], args, kwargs


def error_of(exc: BaseException, call: CurrentCall) -> DirtyError:
    """The error that a caller gets for what an action raised: pool errors as they are, others as DirtyAppError."""
    if isinstance(exc, DirtyError):
        return exc
    if isinstance(exc, ProtocolError):
        message = f"what {call.action} of {call.app_path} gave cannot be sent: {exc}"
        return DirtyAppError(message, call.app_path, call.action)
    text = "".join(traceback.format_exception(type(exc), exc, exc.__traceback__))
    try:
        message = f"{type(exc).__name__}: {exc}"
    except Exception:
        message = f"{type(exc).__name__} (its text cannot be made: __str__ raises)"
    return DirtyAppError(printable(message), call.app_path, call.action, printable(text))


def failure_frame(call: CurrentCall, error: DirtyError) -> bytes:
    """An ERROR; what of it the protocol cannot carry is left out."""
    return error_frame(call.request_id, error)
