"""A slot as a task: one call at a time of an app with `concurrency`, on the worker's event loop.

Made by the worker, as many as the app's `concurrency`, so that its async actions run side by side on one loop. Actions
that are not async run in threads, so that they do not hold up the loop. Loaded only by workers with such apps, since
it loads asyncio.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from gunicorn_dirty_protocol import End, Frame, FrameAssembler

from .aio import runner
from .app import DirtyApp
from .current import CurrentCall, call_variable
from .errors import DirtyCancelledError
from .shared import deposit
from .slot import VALUES, error_of, failure_frame, open_request
from .wire import LIMITS, REQUEST, chunk_frame, response_frame
from .wire import Frame as Bytes

__all__ = ["TaskSlot"]

_YIELD_EVERY = 64  # chunks; a generator that never waits must not keep the loop from everybody else
_MAX_THREADS = 1024  # one for each call under way, so that none waits for one that hangs
_DONE = object()

_threads = ThreadPoolExecutor(_MAX_THREADS, thread_name_prefix="dirty-task")


class TaskSlot(asyncio.Protocol):
    """One unit of concurrency. The end of its socket is the end of the process."""

    def __init__(self, loop: asyncio.AbstractEventLoop, apps: dict[str, Any], timeout: float) -> None:
        self._loop = loop
        self._apps = apps
        self._timeout = timeout
        self._frames = FrameAssembler(LIMITS)
        self._transport: Any = None
        self._call: CurrentCall | None = None
        self._task: asyncio.Task[None] | None = None
        self._cancelled_id = 0  # of the last cancelled call, which may not have come yet
        self._writable: asyncio.Future[None] | None = None  # set while the socket takes nothing

    @classmethod
    def start(cls, sock: socket.socket, apps: dict[str, Any], timeout: float) -> TaskSlot:
        """A slot that serves `sock` on the worker's loop. See :class:`~gunicorn.dirty.slot.Slot`."""
        loop = runner().loop
        slot = cls(loop, apps, timeout)

        async def connect() -> None:
            await loop.create_unix_connection(lambda: slot, sock=sock)

        asyncio.run_coroutine_threadsafe(connect(), loop).result()
        return slot

    def cancel(self, call_id: int) -> None:
        """The call with this id is to end, or not to begin. From another thread."""
        self._cancelled_id = call_id
        call = self._call
        if call is not None and call.request_id == call_id:
            call.cancel()

    def forked(self) -> None:
        """See :meth:`~gunicorn.dirty.slot.Slot.forked`."""
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            os.close(sock.fileno())

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        os._exit(1)  # the arbiter has closed its end

    def data_received(self, data: bytes) -> None:
        for frame in self._frames.receive_data(data):
            call = self._call = CurrentCall(frame.header.request_id)
            if self._cancelled_id == call.request_id or frame.header.type != REQUEST:
                self._answer(failure_frame(call, DirtyCancelledError()))
            else:
                self._task = self._loop.create_task(self._serve(call, frame))

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    # One request

    def _answer(self, frame: Bytes) -> None:
        call, self._call = self._call, None
        self._write(deposit(call, frame))

    def _write(self, frame: Bytes) -> None:
        if isinstance(frame, bytes):
            self._transport.write(frame)
        else:
            self._transport.writelines(frame)

    async def _serve(self, call: CurrentCall, frame: Frame) -> None:
        call_variable.set(call)
        task = asyncio.current_task()
        assert task is not None
        call.on_cancel(lambda: _cancel(self._loop, task))
        try:
            app, _, args, kwargs = open_request(call, frame.payload, self._apps, self._timeout)
            answer: Bytes = await self._run(call, app, args, kwargs)
        except asyncio.CancelledError:
            answer = failure_frame(call, DirtyCancelledError())
        except BaseException as exc:
            answer = failure_frame(call, error_of(exc, call))
        finally:
            call.on_cancel(None)
        self._answer(answer)

    async def _run(self, call: CurrentCall, app: Any, args: list[Any], kwargs: dict[str, Any]) -> Bytes:
        run = functools.partial(app, call.action, *args, **kwargs)
        result = run() if _is_async(app, call.action) else await self._in_thread(run)
        cls = type(result)
        if cls in VALUES:
            return response_frame(call.request_id, result)
        if hasattr(cls, "__anext__"):
            await self._stream(call, result)
        elif hasattr(cls, "__await__"):
            return response_frame(call.request_id, await result)
        elif hasattr(cls, "__next__"):
            await self._stream(call, _Threaded(self._in_thread, result))
        else:
            return response_frame(call.request_id, result)
        call.raise_if_cancelled()
        return End(call.request_id).to_bytes()

    async def _stream(self, call: CurrentCall, items: AsyncIterator[Any]) -> None:
        count = 0
        try:
            async for item in items:
                self._write(chunk_frame(call.request_id, item))
                count += 1
                if self._writable is not None:
                    await self._writable
                elif count % _YIELD_EVERY == 0:
                    await asyncio.sleep(0)
        finally:
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()

    async def _in_thread(self, function: Callable[[], Any]) -> Any:
        """What `function()` returns. A thread cannot be stopped: a cancelled call keeps its slot until it is back."""
        future = self._loop.run_in_executor(_threads, contextvars.copy_context().run, function)
        cancelled = False
        while not future.done():
            try:
                await asyncio.shield(future)
            except asyncio.CancelledError:
                cancelled = True
            except BaseException:
                break  # it is the future's
        if cancelled:
            future.exception()
            raise asyncio.CancelledError
        return future.result()


class _Threaded:
    """A plain generator, each of whose steps runs in a thread."""

    def __init__(self, in_thread: Callable[[Callable[[], Any]], Awaitable[Any]], items: Iterator[Any]) -> None:
        self._in_thread = in_thread
        self._items = items

    def __aiter__(self) -> _Threaded:
        return self

    async def __anext__(self) -> Any:
        item = await self._in_thread(lambda: next(self._items, _DONE))
        if item is _DONE:
            raise StopAsyncIteration
        return item

    async def aclose(self) -> None:
        close = getattr(self._items, "close", None)
        if close is not None:
            await self._in_thread(close)


def _cancel(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    loop.call_soon_threadsafe(task.cancel)


def _is_async(app: Any, action: str) -> bool:
    """Whether calling the app returns at once, with something to wait for."""
    call: Any = type(app).__call__
    if call is DirtyApp.__call__:
        call = getattr(app, action, None)
    return inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call)
