"""The asyncio side of :class:`~gunicorn.dirty.client.DirtyClient`: connections per event loop. Loaded by its first use.

Calls share one connection per loop, matched to their answers by request id. A stream has a connection to itself while
it lasts: version 1 of the protocol has no flow control per request, so a slow reader would hold up everybody else's
answers.
"""

from __future__ import annotations

import asyncio
import os
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from gunicorn_dirty_protocol import Cancel, Frame, FrameAssembler, ProtocolError

from .calls import PATIENCE, Attempts, next_id, read_payload, request_frame
from .errors import DirtyConnectionError, DirtyError, DirtyProtocolError, DirtyTimeoutError
from .wire import CHUNK, END, LIMITS, Options
from .wire import Frame as Bytes

__all__ = ["AsyncConnections", "AsyncDirtyStream"]

_MAX_IDLE = 16  # connections kept for the next streams, per loop
_READ_AHEAD = 64  # items of a stream that are taken from the socket before the consumer wants them


class AsyncConnections:
    """What one client has open, loop by loop."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._pid = os.getpid()
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopConnections] = (
            weakref.WeakKeyDictionary()
        )

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
            timer = loop.call_later(seconds + PATIENCE, _fail, answer, error)
        connection: _Calls | None = None
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

    def _here(self, loop: asyncio.AbstractEventLoop) -> _LoopConnections:
        if os.getpid() != self._pid:
            # Connections of the process we were forked from: not ours to use, nor to close.
            self._pid = os.getpid()
            self._loops = weakref.WeakKeyDictionary()
        here = self._loops.get(loop)
        if here is None:
            here = self._loops[loop] = _LoopConnections(self.path)
        return here


class _LoopConnections:
    """The connections of one event loop."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._calls: _Calls | None = None
        self._connecting: asyncio.Lock = asyncio.Lock()
        self._idle: list[_Stream] = []
        self._streams: weakref.WeakSet[_Stream] = weakref.WeakSet()

    async def calls(self, answer: asyncio.Future[Any]) -> _Calls:
        """The shared connection, opened if need be. Raises what `answer` fails with meanwhile."""
        connection = self._calls
        if connection is not None and not connection.lost:
            return connection
        async with self._connecting:
            if answer.done():
                answer.result()
            if self._calls is None or self._calls.lost:
                self._calls = await self._connect(_Calls(self._path))
            return self._calls

    async def stream(self) -> _Stream:
        """A connection for one stream."""
        while self._idle:
            idle = self._idle.pop()
            if not idle.lost:
                return idle
        connection: _Stream = await self._connect(_Stream(self._path))
        self._streams.add(connection)
        return connection

    def put_back(self, connection: _Stream) -> None:
        if len(self._idle) < _MAX_IDLE and not connection.lost:
            self._idle.append(connection)
        else:
            connection.abort()

    async def close(self) -> None:
        closing: list[_Connection] = list(self._streams)
        if self._calls is not None:
            closing.append(self._calls)
        self._idle.clear()
        for connection in closing:
            connection.abort()
        for connection in closing:
            await connection.closed

    async def _connect(self, protocol: Any) -> Any:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_unix_connection(lambda: protocol, self._path)
        except OSError as exc:
            raise DirtyConnectionError(
                f"no dirty pool answers at {self._path} ({exc.strerror or exc}): is it running, and is this its user?",
                self._path,
            ) from exc
        return protocol


class _Connection(asyncio.Protocol):
    """Bytes to frames, and the end of the connection; subclasses say what frames mean."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._frames = FrameAssembler(LIMITS)
        self._transport: asyncio.Transport | None = None
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        try:
            frames = self._frames.receive_data(data)
        except ProtocolError as exc:
            self._end(DirtyProtocolError(f"what answers at {self._path} does not speak the protocol: {exc}", data))
            self.abort()
            return
        for frame in frames:
            self.frame_received(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        reason = f" ({exc})" if exc is not None else ""
        self._end(
            DirtyConnectionError(f"the connection to the dirty pool broke{reason}; the call may have run", self._path)
        )
        if not self.closed.done():
            self.closed.set_result(None)

    def abort(self) -> None:
        """Close at once, which ends in the pool what was asked for here."""
        self.lost = True
        if self._transport is not None:
            self._transport.abort()

    def frame_received(self, frame: Frame) -> None:
        raise NotImplementedError

    def _end(self, error: DirtyError) -> None:
        raise NotImplementedError

    def _write(self, data: Bytes) -> None:
        if self._transport is not None and not self.lost:
            if isinstance(data, bytes):
                self._transport.write(data)
            else:
                self._transport.writelines(data)


class _Calls(_Connection):
    """The shared connection: many calls at a time."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._answers: dict[int, asyncio.Future[Any]] = {}

    def request(self, request_id: int, frame: Bytes, answer: asyncio.Future[Any]) -> None:
        if self.lost:
            raise DirtyConnectionError("the connection to the dirty pool broke before the call was sent", self._path)
        self._answers[request_id] = answer
        self._write(frame)

    def forget(self, request_id: int) -> None:
        """Nobody waits for this answer any more; does nothing when it has come."""
        if self._answers.pop(request_id, None) is not None:
            self._write(Cancel(request_id).to_bytes())

    def frame_received(self, frame: Frame) -> None:
        kind, request_id = frame.header.type, frame.header.request_id
        answer = self._answers.get(request_id)
        if answer is None:
            return  # was cancelled while its answer was on the way
        if kind == CHUNK:
            _fail(answer, DirtyError("the action streams its result: call stream_async(), not execute_async()"))
            self.forget(request_id)
            return
        del self._answers[request_id]
        if answer.done():
            return
        try:
            answer.set_result(read_payload(kind, frame.payload))
        except DirtyError as exc:
            answer.set_exception(exc)

    def _end(self, error: DirtyError) -> None:
        self.lost = True
        answers, self._answers = self._answers, {}
        for answer in answers.values():
            _fail(answer, error)


class _Stream(_Connection):
    """A connection for one stream at a time, read no faster than its items are wanted."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._ready: deque[Frame] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._error: DirtyError | None = None
        self._paused = False
        self._request_id = 0

    def begin(self, request_id: int, frame: Bytes) -> None:
        self._request_id = request_id
        self._write(frame)

    async def next_frame(self, until: float | None, late: Callable[[], DirtyError]) -> Frame:
        """Raises `late()` at loop time `until`, DirtyConnectionError at the end of the connection."""
        while not self._ready:
            if self._error is not None:
                raise self._error
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = None
            if until is not None:
                timer = loop.call_at(until, _fail, self._waiter, late())
            try:
                await self._waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
        frame = self._ready.popleft()
        if self._paused and len(self._ready) < _READ_AHEAD // 2 and self._transport is not None and not self.lost:
            self._paused = False
            self._transport.resume_reading()
        return frame

    def frame_received(self, frame: Frame) -> None:
        if frame.header.request_id != self._request_id:
            self._end(DirtyProtocolError(f"an answer for request {frame.header.request_id} came on another's stream"))
            self.abort()
            return
        self._ready.append(frame)
        if not self._paused and len(self._ready) >= _READ_AHEAD and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def _end(self, error: DirtyError) -> None:
        self.lost = True
        if self._error is None:
            self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


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
        self._home: _LoopConnections | None = None
        self._connection: _Stream | None = None
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


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
