"""The asyncio side of :class:`~gunicorn.dirty.client.DirtyClient`, over connections per event loop (aconnection.py).
Loaded by its first use.

Calls share one connection per loop, matched to their answers by request id. A stream has a connection to itself while
it lasts: version 1 of the protocol has no flow control per request, so a slow reader would hold up everybody else's
answers.
"""

from __future__ import annotations

import asyncio
import os
import time
import weakref
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from .aconnection import CallsConnection, LoopConnections, StreamConnection, fail
from .calls import PATIENCE, Attempts, next_id, read_payload, request_frame
from .errors import DirtyError, DirtyTimeoutError
from .wire import CHUNK, END, Options
from .wire import Frame as Bytes

__all__ = ["AsyncConnections", "AsyncDirtyStream"]


class AsyncConnections:
    """What one client has open, loop by loop."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._pid = os.getpid()
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopConnections] = weakref.WeakKeyDictionary()

    async def execute(
        self,
        app_path: str,
        action: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: Options,
        idempotent: bool,
    ) -> Any:
        """See :meth:`DirtyClient.execute_async`."""
        if not idempotent:
            return await self._execute(app_path, action, args, kwargs, options)
        attempts = Attempts(options, time.monotonic())
        while True:
            try:
                return await self._execute(app_path, action, args, kwargs, attempts.options(time.monotonic()))
            except DirtyError as exc:
                await asyncio.sleep(attempts.pause(exc, time.monotonic()))

    async def _execute(
        self, app_path: str, action: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: Options
    ) -> Any:
        request_id = next_id()
        frame = request_frame(request_id, app_path, action, args, kwargs, options)
        return await self.ask(frame, request_id, f"{action} of {app_path}", options.deadline)

    async def ask(self, frame: Bytes, request_id: int, what: str, seconds: float | None) -> Any:
        """Send any request and return the value of its answer."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        timer = None
        if seconds is not None:
            error = DirtyTimeoutError(f"{what} took more than {seconds:g} seconds", seconds)
            timer = loop.call_later(seconds + PATIENCE, fail, answer, error)
        connection: CallsConnection | None = None
        try:
            connection = await self._here(loop).calls(answer)
            connection.request(request_id, frame, answer)
            return await answer
        except BaseException:
            # Its caller no longer waits: the pool may stop working on it.
            if connection is not None:
                connection.forget(request_id)
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def stream(
        self,
        app_path: str,
        action: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: Options,
        wait: float | None,
    ) -> AsyncDirtyStream:
        """See :meth:`DirtyClient.stream_async`; `wait` is the seconds for each item."""
        request_id = next_id()
        frame = request_frame(request_id, app_path, action, args, kwargs, options)
        return AsyncDirtyStream(self, request_id, frame, f"{action} of {app_path}", wait, options.deadline)

    def open(self, frame: Bytes, request_id: int, what: str) -> AsyncDirtyStream:
        """Send any request that is answered by a stream which may pause for ever."""
        return AsyncDirtyStream(self, request_id, frame, what, None, None)

    async def close(self) -> None:
        """Close the running loop's connections; calls under way fail."""
        here = self._loops.pop(asyncio.get_running_loop(), None)
        if here is not None:
            await here.close()

    def _here(self, loop: asyncio.AbstractEventLoop) -> LoopConnections:
        if os.getpid() != self._pid:
            # Connections of the process we were forked from: not ours to use, nor to close.
            self._pid = os.getpid()
            self._loops = weakref.WeakKeyDictionary()
        here = self._loops.get(loop)
        if here is None:
            here = self._loops[loop] = LoopConnections(self.path)
        return here


class AsyncDirtyStream(AsyncIterator[Any]):
    """The items of a streamed action. Leaving it early (`aclose`, or dropping it) ends the generator in the pool."""

    def __init__(
        self,
        connections: AsyncConnections,
        request_id: int,
        frame: Bytes,
        what: str,
        wait: float | None,
        whole: float | None,
    ) -> None:
        self._wait = wait
        self._whole = whole
        self._until: float | None = None
        self._connections = connections
        self._request_id = request_id
        self._frame: Bytes | None = frame
        self._what = what
        self._home: LoopConnections | None = None
        self._connection: StreamConnection | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __anext__(self) -> Any:
        if self._frame is not None:
            frame, self._frame = self._frame, None
            self._loop = asyncio.get_running_loop()
            self._home = self._connections._here(self._loop)
            self._connection = await self._home.stream()
            if self._whole is not None:
                self._until = self._loop.time() + self._whole + PATIENCE
            self._connection.begin(self._request_id, frame)
        connection, home = self._connection, self._home
        if connection is None or home is None:
            raise StopAsyncIteration
        try:
            until = self._until
            if self._wait is not None:
                until = asyncio.get_running_loop().time() + self._wait
            answer = await connection.next_frame(until, self._late)
            if answer.header.type == CHUNK:
                return read_payload(CHUNK, answer.payload)
        except BaseException:
            await self.aclose()
            raise
        self._connection = None
        home.put_back(connection)
        value = read_payload(answer.header.type, answer.payload)
        if answer.header.type == END:
            raise StopAsyncIteration
        return value  # the action did not stream: its result is the only item

    def _late(self) -> DirtyError:
        if self._whole is None:
            return DirtyTimeoutError(f"{self._what} gave nothing for {self._wait:g} seconds", self._wait)
        return DirtyTimeoutError(f"{self._what} took more than {self._whole:g} seconds", self._whole)

    async def aclose(self) -> None:
        """Leave the stream."""
        self._frame = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    async def __aenter__(self) -> AsyncDirtyStream:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        connection, loop = self._connection, self._loop
        if connection is not None and loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(connection.abort)
