"""The client of the pool: :class:`DirtyClient` for threads (and greenlets), with the asyncio calls beside.

Called by web applications, and by apps of the pool that call others. The asyncio half lives in aclient.py and is
loaded by its first use, so that importing this module loads no asyncio.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Any

from .calls import default_socket_path, next_id, read_header, read_payload, request_frame
from .errors import DirtyConnectionError, DirtyError, DirtyTimeoutError
from .wire import CHUNK, END, HEADER_SIZE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from .aclient import AsyncConnections

__all__ = ["DirtyClient", "DirtyStream", "close_dirty_client", "get_dirty_client", "get_dirty_client_async"]

_READ_SIZE = 65536
_MAX_IDLE = 64  # connections kept for the next calls
_TIMEVAL = struct.Struct("ll")


class _Connection:
    """One connection, used by one call at a time. Time limits are the kernel's (SO_RCVTIMEO), which costs no call per
    read."""

    __slots__ = ("_buffer", "_end", "_limit", "_native", "_reads", "_start", "_view", "path", "sock")

    def __init__(self, path: str, timeout: float | None) -> None:
        self.path = path
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._buffer = bytearray(_READ_SIZE)
        self._view = memoryview(self._buffer)
        # gevent's sockets are non-blocking underneath and keep time themselves.
        self._native = type(self.sock).__module__ == "socket"
        self._limit: float | None = None
        self._start = self._end = 0  # what has been read and not handed out
        self._reads = 0
        self.sock.settimeout(None)  # whatever socket.setdefaulttimeout() says
        try:
            if timeout is not None:
                self._set_limit(timeout)
            self.sock.connect(path)
        except OSError as exc:
            self.sock.close()
            if _is_timeout(exc):
                raise DirtyTimeoutError(f"the dirty pool at {path} did not accept within {timeout} s", timeout) from exc
            raise DirtyConnectionError(
                f"no dirty pool answers at {path} ({exc.strerror or exc}): is it running, and is this its user?", path
            ) from exc

    def begin(self, frame: bytes, timeout: float | None) -> None:
        """Send a request; `timeout` (seconds) is for this and for the first read.

        :raises OSError: the connection broke, or the time is over
        """
        self._start = self._end = self._reads = 0
        if timeout != self._limit:
            self._set_limit(timeout)
        self.sock.sendall(frame)

    def _set_limit(self, seconds: float | None) -> None:
        """Let each read and write from now on wait so long."""
        self._limit = seconds
        if self._native:
            value = _TIMEVAL.pack(0, 0) if seconds is None else _timeval(seconds)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)
        else:
            self.sock.settimeout(seconds)

    def receive(self, request_id: int, deadline: float | None) -> tuple[int, memoryview]:
        """The next frame of the answer: type and payload, which is good until the next call.

        :param deadline: monotonic seconds, None is never
        :raises DirtyProtocolError: not an answer to that request
        :raises OSError: the connection broke, or the time is over
        """
        while self._end - self._start < HEADER_SIZE:
            self._fill(deadline)
        kind, length = read_header(self._buffer, self._start, request_id)
        if HEADER_SIZE + length > _READ_SIZE:
            return kind, self._receive_large(self._start + HEADER_SIZE, length, deadline)
        while self._end < self._start + HEADER_SIZE + length:
            self._fill(deadline)
        start = self._start + HEADER_SIZE
        self._start = end = start + length
        return kind, self._view[start:end]

    def _fill(self, deadline: float | None) -> None:
        have = self._end - self._start
        if have:
            self._buffer[:have] = self._buffer[self._start : self._end]
        self._start, self._end = 0, have
        self._end += self._read(self._view[have:] if have else self._buffer, deadline)

    def _receive_large(self, start: int, length: int, deadline: float | None) -> memoryview:
        payload = memoryview(bytearray(length))
        have = self._end - start
        payload[:have] = self._view[start : self._end]
        self._start = self._end = 0
        while have < length:
            have += self._read(payload[have:], deadline)
        return payload

    def _read(self, into: memoryview | bytearray, deadline: float | None) -> int:
        if deadline is not None and self._reads:  # the first read's limit was set with the request
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(errno.ETIMEDOUT, "timed out")
            self._set_limit(left)
        self._reads += 1
        size = self.sock.recv_into(into)
        if not size:
            raise ConnectionResetError(errno.ECONNRESET, "the pool closed the connection")
        return size


def _timeval(seconds: float) -> bytes:
    whole = int(seconds)
    return _TIMEVAL.pack(whole, max(1, int((seconds - whole) * 1_000_000)))


def _is_timeout(exc: OSError) -> bool:
    return isinstance(exc, (TimeoutError, BlockingIOError)) or exc.errno in (errno.EAGAIN, errno.EINPROGRESS)


class DirtyClient:
    """Calls the pool at one socket. Thread-safe; in a forked child it starts with connections of its own.

    Each blocking call has a connection to itself while it lasts, taken from a pool. The asyncio calls share one
    connection per event loop, apart from streams, which have their own, so that a slow reader holds up its own stream
    only.
    """

    def __init__(self, socket_path: str | None = None, timeout: float | None = None) -> None:
        """:param socket_path: where the pool listens; None takes it from the environment (GUNICORN_DIRTY_SOCKET)
        :param timeout: seconds that each call may take in all (for streams: each wait for the next item); None and 0
            leave that to the pool (`dirty_timeout`)
        :raises DirtyConnectionError: no path is known
        """
        self.socket_path = socket_path or default_socket_path()
        self.timeout = timeout or None
        self._idle: list[_Connection] = []
        self._pid = os.getpid()
        self._aio: AsyncConnections | None = None

    # Blocking

    def execute(self, app_path: str, action: str, *args: Any, **kwargs: Any) -> Any:
        """Run `action` of the app at `app_path` ("module:Class") and return its result.

        :raises DirtyError: one of its kinds (errors.py)
        """
        timeout = self.timeout
        deadline = None if timeout is None else time.monotonic() + timeout
        request_id = next_id()
        frame = request_frame(request_id, app_path, action, args, kwargs)
        connection = self._send(frame)
        try:
            kind, payload = connection.receive(request_id, deadline)
            if kind in (CHUNK, END):
                raise DirtyError(f"{action} of {app_path} streams its result: call stream(), not execute()")
        except BaseException as exc:
            raise self._broken(connection, exc, app_path, action) from None
        # The frame is whole: whatever it says, the connection is good for the next call.
        try:
            return read_payload(kind, payload)
        finally:
            self._put_back(connection)

    def stream(self, app_path: str, action: str, *args: Any, **kwargs: Any) -> DirtyStream:
        """Run a generator action; iterate over the result to get its items as they come.

        The request is sent by this call. Leaving the iteration early (or closing the stream) ends the generator.

        :raises DirtyError: here or while iterating
        """
        request_id = next_id()
        frame = request_frame(request_id, app_path, action, args, kwargs)
        return DirtyStream(self, self._send(frame), request_id, app_path, action)

    def close(self) -> None:
        """Close the idle connections of the blocking calls. The client can be used again."""
        while self._idle:
            self._idle.pop().sock.close()

    # asyncio

    async def execute_async(self, app_path: str, action: str, *args: Any, **kwargs: Any) -> Any:
        """:meth:`execute` for asyncio. Cancelling the task cancels the call."""
        return await self._async_connections().execute(app_path, action, args, kwargs)

    def stream_async(self, app_path: str, action: str, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """:meth:`stream` for asyncio: `async for item in client.stream_async(...)`. The request is sent by the first
        step."""
        return self._async_connections().stream(app_path, action, args, kwargs)

    async def close_async(self) -> None:
        """Close the connections of the running loop, and the idle ones of the blocking calls."""
        self.close()
        if self._aio is not None:
            await self._aio.close()

    def _async_connections(self) -> AsyncConnections:
        if self._aio is None:
            from .aclient import AsyncConnections

            self._aio = AsyncConnections(self.socket_path, self.timeout)
        return self._aio

    # Connections

    def _send(self, frame: bytes) -> _Connection:
        """Send on an idle connection or a new one, which is returned."""
        if os.getpid() != self._pid:
            self._after_fork()
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = _Connection(self.socket_path, self.timeout)
                fresh = True
            else:
                fresh = False
            try:
                connection.begin(frame, self.timeout)
            except (BrokenPipeError, ConnectionResetError) as exc:
                # Its arbiter went away while it was idle. The request has not come whole to anyone: send it anew.
                connection.sock.close()
                if fresh:
                    raise DirtyConnectionError(
                        f"the dirty pool closed the connection: {exc}", self.socket_path
                    ) from exc
            except BaseException as exc:
                raise self._broken(connection, exc, "the pool", "sending to") from None
            else:
                return connection

    def _put_back(self, connection: _Connection) -> None:
        if len(self._idle) < _MAX_IDLE:
            self._idle.append(connection)
        else:
            connection.sock.close()

    def _broken(self, connection: _Connection, exc: BaseException, app_path: str, action: str) -> BaseException:
        """Close the connection, which ends the call in the pool, and say what happened."""
        connection.sock.close()
        if isinstance(exc, OSError):
            if _is_timeout(exc):
                return DirtyTimeoutError(
                    f"{action} of {app_path} took more than {self.timeout:g} seconds", self.timeout
                )
            return DirtyConnectionError(
                f"the connection to the dirty pool broke during {action} of {app_path} ({exc}); it may have run",
                self.socket_path,
            )
        return exc

    def _after_fork(self) -> None:
        # The parent goes on using its connections; closing our descriptors of them does not disturb it.
        self._pid = os.getpid()
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.sock.close()
        self._aio = None


class DirtyStream:
    """The items of a streamed action, as an iterator and context manager. For one thread at a time."""

    def __init__(
        self, client: DirtyClient, connection: _Connection, request_id: int, app_path: str, action: str
    ) -> None:
        self._client = client
        self._connection: _Connection | None = connection
        self._request_id = request_id
        self._app_path = app_path
        self._action = action

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        connection = self._connection
        if connection is None:
            raise StopIteration
        timeout = self._client.timeout
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            kind, payload = connection.receive(self._request_id, deadline)
            if kind == CHUNK:
                return read_payload(kind, payload)
        except BaseException as exc:
            self._connection = None
            raise self._client._broken(connection, exc, self._app_path, self._action) from None
        self._connection = None
        try:
            value = read_payload(kind, payload)
        finally:
            self._client._put_back(connection)
        if kind == END:
            raise StopIteration
        return value  # the action did not stream: its result is the only item

    def close(self) -> None:
        """Leave the stream: the generator in the pool is closed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.sock.close()

    def __enter__(self) -> DirtyStream:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


_clients: dict[tuple[str, float | None], DirtyClient] = {}
_lock = threading.Lock()


def get_dirty_client(timeout: float | None = None) -> DirtyClient:
    """This process's client of the pool that GUNICORN_DIRTY_SOCKET names; `timeout` as for :class:`DirtyClient`.

    :raises DirtyConnectionError: the variable is not set
    """
    key = (default_socket_path(), timeout or None)
    client = _clients.get(key)
    if client is None:
        with _lock:
            client = _clients.setdefault(key, DirtyClient(*key))
    return client


async def get_dirty_client_async(timeout: float | None = None) -> DirtyClient:
    """:func:`get_dirty_client` as a coroutine function; use `execute_async` and `stream_async` of what it returns."""
    return get_dirty_client(timeout)


def close_dirty_client() -> None:
    """Close the idle connections of this process's clients."""
    for client in list(_clients.values()):
        client.close()
