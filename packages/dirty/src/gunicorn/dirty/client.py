"""The client of the pool: :class:`DirtyClient` for threads (and greenlets), with the asyncio calls beside.

Called by web applications, and by apps of the pool that call others. The asyncio half lives in aclient.py and is
loaded by its first use, so that importing this module loads no asyncio.
"""

from __future__ import annotations

import atexit
import threading
import time
from typing import TYPE_CHECKING, Any

from .calls import (
    PATIENCE,
    UNSET,
    Attempts,
    Unset,
    default_socket_path,
    next_id,
    read_payload,
    request_frame,
    seconds_of,
)
from .connection import Connection, ConnectionPool, is_timeout
from .errors import DirtyConnectionError, DirtyError, DirtyTimeoutError
from .wire import CHUNK, END, Frame, Options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from .aclient import AsyncConnections

__all__ = ["DirtyClient", "DirtyStream", "close_dirty_client", "get_dirty_client", "get_dirty_client_async"]


class DirtyClient:
    """Calls the pool at one socket. Thread-safe; in a forked child it starts with connections of its own.

    Each blocking call has a connection to itself while it lasts, taken from a pool. The asyncio calls share one
    connection per event loop, apart from streams, which have their own, so that a slow reader holds up its own stream
    only.

    Each call takes `timeout=`, the seconds until it must be done, waiting for a worker included. The pool knows that
    deadline: it ends the call when it passes, and the action sees it as `current_call().deadline`. 0 and None are no
    deadline; the pool's own limit, `dirty_timeout`, always counts. A keyword argument `timeout` therefore never
    reaches an action.
    """

    def __init__(self, socket_path: str | None = None, timeout: float | None = None) -> None:
        """:param socket_path: where the pool listens; None takes it from the environment (GUNICORN_DIRTY_SOCKET)
        :param timeout: of calls without a `timeout` of their own, in seconds. For streams it is how long each wait for
            the next item may last, not the whole.
        :raises DirtyConnectionError: no path is known
        """
        self.socket_path = socket_path or default_socket_path()
        self.timeout = seconds_of(timeout)
        self.idempotent = False
        self._options = Options(self.timeout)
        self._pool = ConnectionPool(self.socket_path)
        self._aio: list[AsyncConnections] = []  # one at most; shared with what using() returns

    def using(
        self,
        *,
        timeout: float | Unset | None = UNSET,
        priority: int | Unset = UNSET,
        traceparent: str | Unset | None = UNSET,
        idempotent: bool | Unset = UNSET,
    ) -> DirtyClient:
        """This client, over the same connections, with other options for its calls; those not given stay as they are.

        :param timeout: as for the constructor
        :param priority: where calls wait, those with a higher number are taken first; 0 is usual
        :param traceparent: W3C trace context, which the action finds in `current_call()`
        :param idempotent: the call may run more than once: it is tried again, within its deadline, when the connection
            or the worker dies. All attempts carry one `current_call().idempotency_key`. Streams are never repeated.
        """
        client = DirtyClient.__new__(DirtyClient)
        client.__dict__.update(self.__dict__)
        if not isinstance(timeout, Unset):
            client.timeout = seconds_of(timeout)
            client._options = client._options._replace(deadline=client.timeout)
        if not isinstance(priority, Unset):
            client._options = client._options._replace(priority=priority or None)
        if not isinstance(traceparent, Unset):
            client._options = client._options._replace(traceparent=traceparent)
        if not isinstance(idempotent, Unset):
            client.idempotent = idempotent
        return client

    # Blocking

    def execute(
        self, app_path: str, action: str, *args: Any, timeout: float | Unset | None = UNSET, **kwargs: Any
    ) -> Any:
        """Run `action` of the app at `app_path` ("module:Class") and return its result.

        :raises DirtyError: one of its kinds (errors.py)
        """
        options = self._options
        if timeout is not UNSET:
            options = options._replace(deadline=seconds_of(timeout))
        if not self.idempotent:
            request_id = next_id()
            frame = request_frame(request_id, app_path, action, args, kwargs, options)
            return self._ask(frame, request_id, (action, app_path), options[0])
        attempts = Attempts(options, time.monotonic())
        while True:
            try:
                return self._execute(app_path, action, args, kwargs, attempts.options(time.monotonic()))
            except DirtyError as exc:
                time.sleep(attempts.pause(exc, time.monotonic()))

    def _execute(self, app_path: str, action: str, args: Any, kwargs: Any, options: Options) -> Any:
        request_id = next_id()
        frame = request_frame(request_id, app_path, action, args, kwargs, options)
        return self._ask(frame, request_id, (action, app_path), options.deadline)

    def _ask(
        self,
        frame: Frame,
        request_id: int,
        what: str | tuple[str, str],
        seconds: float | Unset | None = UNSET,
        read: Callable[[int, bytes | memoryview], Any] = read_payload,
    ) -> Any:
        """Send any request and return what `read` makes of its answer. `what` is for errors; action and app in a
        tuple."""
        if seconds is UNSET:
            seconds = self.timeout
        patience = deadline = None
        if seconds is not None:
            patience = seconds + PATIENCE
            deadline = time.monotonic() + patience
        try:
            connection = self._pool.send(frame, patience)
        except OSError as exc:
            raise self._error(exc, f"sending {_text(what)}", seconds) from None
        try:
            kind, payload = connection.receive_first(request_id, deadline)
            if kind in (CHUNK, END):
                raise DirtyError(f"{_text(what)} streams its result: call stream(), not execute()")
        except BaseException as exc:
            what = _text(what)
            raise self._broken(connection, exc, what, seconds) from None
        # The frame is whole: whatever it says, the connection is good for the next call.
        try:
            return read(kind, payload)
        finally:
            if connection.room is not None:
                connection = self._pool.done_reading(connection, frame)
            self._pool.put_back(connection)

    def stream(
        self, app_path: str, action: str, *args: Any, timeout: float | Unset | None = UNSET, **kwargs: Any
    ) -> DirtyStream:
        """Run a generator action; iterate over the result to get its items as they come.

        The request is sent by this call. Leaving the iteration early (or closing the stream) ends the generator.

        :param timeout: seconds for the whole stream
        :raises DirtyError: here or while iterating
        """
        whole = None if isinstance(timeout, Unset) else seconds_of(timeout)
        wait = self.timeout if isinstance(timeout, Unset) else None
        request_id = next_id()
        frame = request_frame(request_id, app_path, action, args, kwargs, self._options._replace(deadline=whole))
        what = f"{action} of {app_path}"
        connection = self._send(frame, wait if whole is None else whole + PATIENCE, what, whole or wait)
        return DirtyStream(self, connection, request_id, what, wait, whole)

    def _open(self, frame: Frame, request_id: int, what: str) -> DirtyStream:
        """Send any request that is answered by a stream which may pause for ever."""
        return DirtyStream(self, self._send(frame, None, what, None), request_id, what, None, None)

    def close(self) -> None:
        """Close the idle connections of the blocking calls. The client can be used again."""
        self._pool.close()

    # asyncio

    async def execute_async(
        self, app_path: str, action: str, *args: Any, timeout: float | Unset | None = UNSET, **kwargs: Any
    ) -> Any:
        """:meth:`execute` for asyncio. Cancelling the task cancels the call."""
        options = self._options
        if timeout is not UNSET:
            options = options._replace(deadline=seconds_of(timeout))
        return await self._async_connections().execute(app_path, action, args, kwargs, options, self.idempotent)

    def stream_async(
        self, app_path: str, action: str, *args: Any, timeout: float | Unset | None = UNSET, **kwargs: Any
    ) -> AsyncIterator[Any]:
        """:meth:`stream` for asyncio: `async for item in client.stream_async(...)`. The request is sent by the first
        step."""
        whole = None if isinstance(timeout, Unset) else seconds_of(timeout)
        wait = self.timeout if isinstance(timeout, Unset) else None
        options = self._options._replace(deadline=whole)
        return self._async_connections().stream(app_path, action, args, kwargs, options, wait)

    async def _ask_async(self, frame: Frame, request_id: int, what: str) -> Any:
        return await self._async_connections().ask(frame, request_id, what, self.timeout)

    def _open_async(self, frame: Frame, request_id: int, what: str) -> AsyncIterator[Any]:
        return self._async_connections().open(frame, request_id, what)

    async def close_async(self) -> None:
        """Close the connections of the running loop, and the idle ones of the blocking calls."""
        self.close()
        for connections in self._aio:
            await connections.close()

    def _async_connections(self) -> AsyncConnections:
        if not self._aio:
            from .aclient import AsyncConnections

            self._aio.append(AsyncConnections(self.socket_path))
        return self._aio[0]

    # Connections

    @property
    def _idle(self) -> list[Connection]:
        return self._pool.idle

    def _send(self, frame: Frame, patience: float | None, what: str, seconds: float | None) -> Connection:
        try:
            return self._pool.send(frame, patience)
        except OSError as exc:
            raise self._error(exc, f"sending {what}", seconds) from None

    def _broken(self, connection: Connection, exc: BaseException, what: str, seconds: float | None) -> BaseException:
        """Close the connection, which ends the call in the pool, and say what happened."""
        connection.sock.close()
        return self._error(exc, what, seconds) if isinstance(exc, OSError) else exc

    def _error(self, exc: OSError, what: str, seconds: float | None) -> DirtyError:
        if is_timeout(exc) and seconds is not None:
            return DirtyTimeoutError(f"{what} took more than {seconds:g} seconds", seconds)
        return DirtyConnectionError(
            f"the connection to the dirty pool broke during {what} ({exc}); it may have run", self.socket_path
        )


def _text(what: str | tuple[str, str]) -> str:
    return what if isinstance(what, str) else " of ".join(what)


class DirtyStream:
    """The items of a streamed action, as an iterator and context manager. For one thread at a time."""

    def __init__(
        self,
        client: DirtyClient,
        connection: Connection,
        request_id: int,
        what: str,
        wait: float | None,
        whole: float | None,
    ) -> None:
        """:param wait: seconds for each item
        :param whole: seconds for all, from now
        """
        self._client = client
        self._connection: Connection | None = connection
        self._request_id = request_id
        self._what = what
        self._wait = wait
        self._whole = whole
        self._deadline = None if whole is None else time.monotonic() + whole + PATIENCE

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        connection = self._connection
        if connection is None:
            raise StopIteration
        deadline = self._deadline if self._wait is None else time.monotonic() + self._wait
        try:
            kind, payload = connection.receive(self._request_id, deadline)
            if kind == CHUNK:
                item = read_payload(kind, payload)
                connection.done_reading()
                return item
        except BaseException as exc:
            self._connection = None
            raise self._client._broken(connection, exc, self._what, self._whole or self._wait) from None
        self._connection = None
        try:
            value = read_payload(kind, payload)
        finally:
            connection.done_reading()
            self._client._pool.put_back(connection)
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
    key = (default_socket_path(), seconds_of(timeout))
    client = _clients.get(key)
    if client is None:
        with _lock:
            if not _clients:
                atexit.register(close_dirty_client)  # nobody else knows of these connections
            client = _clients.setdefault(key, DirtyClient(*key))
    return client


async def get_dirty_client_async(timeout: float | None = None) -> DirtyClient:
    """:func:`get_dirty_client` as a coroutine function; use `execute_async` and `stream_async` of what it returns."""
    return get_dirty_client(timeout)


def close_dirty_client() -> None:
    """Close the idle connections of this process's clients."""
    for client in list(_clients.values()):
        client.close()
