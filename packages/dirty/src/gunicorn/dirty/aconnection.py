"""The asyncio client's connections, loop by loop: one that calls share, and others that streams have to themselves.

Used by aclient.py alone.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from gunicorn_dirty_protocol import Cancel, Frame, FrameAssembler, ProtocolError

from .calls import read_payload
from .errors import DirtyConnectionError, DirtyError, DirtyProtocolError
from .wire import CHUNK, LIMITS
from .wire import Frame as Bytes

__all__ = ["CallsConnection", "LoopConnections", "StreamConnection", "fail"]

_MAX_IDLE = 16  # connections kept for the next streams, per loop
_READ_AHEAD = 64  # items of a stream that are taken from the socket before the consumer wants them


class LoopConnections:
    """The connections of one event loop."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._calls: CallsConnection | None = None
        self._connecting: asyncio.Lock = asyncio.Lock()
        self._idle: list[StreamConnection] = []
        self._streams: weakref.WeakSet[StreamConnection] = weakref.WeakSet()

    async def calls(self, answer: asyncio.Future[Any]) -> CallsConnection:
        """The shared connection, opened if need be. Raises what `answer` fails with meanwhile."""
        connection = self._calls
        if connection is not None and not connection.lost:
            return connection
        async with self._connecting:
            if answer.done():
                answer.result()
            if self._calls is None or self._calls.lost:
                self._calls = await self._connect(CallsConnection(self._path))
            return self._calls

    async def stream(self) -> StreamConnection:
        """A connection for one stream."""
        while self._idle:
            idle = self._idle.pop()
            if not idle.lost:
                return idle
        connection: StreamConnection = await self._connect(StreamConnection(self._path))
        self._streams.add(connection)
        return connection

    def put_back(self, connection: StreamConnection) -> None:
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


class CallsConnection(_Connection):
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
            fail(answer, DirtyError("the action streams its result: call stream_async(), not execute_async()"))
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
            fail(answer, error)


class StreamConnection(_Connection):
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
                timer = loop.call_at(until, fail, self._waiter, late())
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


def fail(future: asyncio.Future[Any], error: Exception) -> None:
    """Let whoever waits for `future`, if anyone still does, get `error`."""
    if not future.done():
        future.set_exception(error)
