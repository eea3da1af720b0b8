"""The client's side of the protocol without I/O: frames of requests, and what frames of answers mean.

Shared by the blocking client (client.py) and the asyncio one (aclient.py), which only move the bytes.
"""

from __future__ import annotations

import enum
import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gunicorn_dirty_protocol import Error, ProtocolError

from . import wire
from .errors import DirtyConnectionError, DirtyError, DirtyProtocolError, DirtyWorkerError
from .wire import CHUNK, END, ERROR, HEADER, HEADER_SIZE, MAGIC, NO_OPTIONS, RESPONSE, VERSION, Frame, Options

__all__ = [
    "PATIENCE",
    "SOCKET_VARIABLE",
    "UNSET",
    "Attempts",
    "Unset",
    "default_socket_path",
    "next_id",
    "read_encoded",
    "read_header",
    "read_payload",
    "read_value",
    "request_frame",
    "seconds_of",
]

SOCKET_VARIABLE = "GUNICORN_DIRTY_SOCKET"
PATIENCE = 0.1  # seconds that a client waits beyond a deadline, since the pool knows it too and can say more
_FOR_EVER = 1e9  # seconds
_MAX_ATTEMPTS = 6
_FIRST_PAUSE = 0.05  # seconds; doubles with each attempt


class Unset(enum.Enum):
    """The type of :data:`UNSET`, for options where None means something."""

    UNSET = "unset"


UNSET = Unset.UNSET

#: A new request id for this process; safe in threads.
next_id: Callable[[], int] = itertools.count(1).__next__


def default_socket_path() -> str:
    """Where the pool listens, from the environment.

    :raises DirtyConnectionError: the variable is not set
    """
    path = os.environ.get(SOCKET_VARIABLE)
    if not path:
        raise DirtyConnectionError(
            f"no dirty pool is known here: {SOCKET_VARIABLE} is not set. Start the server with --dirty-app and "
            "--dirty-workers, or a pool with python -m gunicorn.dirty, and call from a process that it started or "
            "with that variable set"
        )
    return path


def seconds_of(timeout: Any) -> float | None:
    """A timeout as people give it, a float or an int: 0, None and what is beyond all patience (30 years) are none.

    :raises TypeError, ValueError: it is no number
    """
    if not timeout:
        return None
    if type(timeout) is not float and not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout is {timeout!r}; it must be a number of seconds, or None")
    if timeout != timeout:
        raise ValueError("timeout is NaN; it must be a number of seconds, or None")
    return float(timeout) if timeout < _FOR_EVER else None


class Attempts:
    """The attempts at a call that may run more than once: what each may take, and when there is another."""

    def __init__(self, options: Options, now: float) -> None:
        self._options = options._replace(idempotency_key=options.idempotency_key or os.urandom(12).hex())
        self._deadline = None if options.deadline is None else now + options.deadline
        self._made = 0

    def options(self, now: float) -> Options:
        """For the next attempt: the same key, and what is left of the time."""
        self._made += 1
        if self._deadline is None or self._made == 1:
            return self._options
        return self._options._replace(deadline=max(self._deadline - now, 0.001))

    def pause(self, error: DirtyError, now: float) -> float:
        """How long to wait (seconds) before the next attempt.

        :raises DirtyError: `error`, when there is to be none
        """
        pause = _FIRST_PAUSE * float(2 ** (self._made - 1))
        late = self._deadline is not None and now + pause >= self._deadline
        if late or self._made >= _MAX_ATTEMPTS or not isinstance(error, (DirtyConnectionError, DirtyWorkerError)):
            raise error
        return pause


def request_frame(
    request_id: int,
    app_path: str,
    action: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: Options = NO_OPTIONS,
) -> Frame:
    """A REQUEST as bytes.

    :raises DirtyProtocolError: an argument cannot be carried
    """
    try:
        return wire.request_frame(request_id, app_path, action, args, kwargs, options)
    except ProtocolError as exc:
        raise DirtyProtocolError(f"the arguments of {action} of {app_path} cannot be sent: {exc}") from exc


def read_header(buffer: bytes | bytearray, offset: int, request_id: int) -> tuple[int, int]:
    """Type and payload length (bytes) of the answer that begins at `offset` of `buffer` (16 bytes or more from there).

    :param request_id: whose answer it must be
    :raises DirtyProtocolError: it is no answer, or another's. The connection is of no more use.
    """
    magic, version, kind, length, number = HEADER.unpack_from(buffer, offset)
    if magic != MAGIC or version != VERSION or not RESPONSE <= kind <= END:
        raise DirtyProtocolError(
            "what answers on the socket does not speak the dirty protocol", bytes(buffer[offset : offset + HEADER_SIZE])
        )
    if number != request_id:
        raise DirtyProtocolError(f"an answer for request {number} came where one for {request_id} was due")
    return kind, length


def read_payload(kind: int, payload: bytes | memoryview) -> Any:
    """The value of a RESPONSE or CHUNK, None for END.

    :raises DirtyError: the one that an ERROR carries
    :raises DirtyProtocolError: the payload is malformed
    """
    try:
        if kind == RESPONSE:
            return wire.read_response(payload)
        if kind == CHUNK:
            return wire.read_chunk(payload)
        if kind == ERROR:
            error = Error.from_payload(0, payload)
            raise DirtyError.from_dict(
                {"error_type": error.error_type, "message": error.message, "details": error.details}
            )
    except ProtocolError as exc:
        raise DirtyProtocolError(f"malformed answer: {exc}", bytes(payload[:64])) from exc
    return None


def read_encoded(kind: int, payload: bytes | memoryview) -> bytes:
    """The value of a RESPONSE as the bytes that it is encoded with; raises like :func:`read_payload`."""
    if kind != RESPONSE:
        read_payload(kind, payload)
        raise DirtyProtocolError("a stream came where one answer was due")
    try:
        return wire.read_encoded(payload)
    except ProtocolError as exc:
        raise DirtyProtocolError(f"malformed answer: {exc}", bytes(payload[:64])) from exc


def read_value(encoded: bytes) -> Any:
    """The value that is encoded so. Raises DirtyProtocolError."""
    try:
        return wire.value_of(encoded)
    except ProtocolError as exc:
        raise DirtyProtocolError(f"malformed answer: {exc}", encoded[:64]) from exc
