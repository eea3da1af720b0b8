"""The worker's event loop for async actions: one per process, in a thread of its own, started when the first one runs.

Called by slots (slot.py), which wait for what they hand over. uvloop is used where it is installed.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

from .current import CurrentCall
from .errors import DirtyCancelledError
from .wire import chunk_frame, whole

__all__ = ["Runner", "runner"]

_lock = threading.Lock()
_runner: Runner | None = None
_YIELD_EVERY = 64  # chunks; a generator that never waits must not keep the loop from everybody else


def runner() -> Runner:
    """The process's runner, started by the first call."""
    global _runner
    with _lock:
        if _runner is None:
            _runner = Runner()
        return _runner


class Runner:
    """A running event loop and a way in from threads."""

    def __init__(self) -> None:
        self.loop = _new_loop()
        threading.Thread(target=self.loop.run_forever, name="dirty-asyncio", daemon=True).start()

    def call(self, call: CurrentCall, awaitable: Awaitable[Any]) -> Any:
        """Run to the end and return the result, or raise what it raised; the call's cancellation cancels the task.

        :raises DirtyCancelledError: it was cancelled
        """
        return self._run(call, _await(awaitable))

    def stream(self, call: CurrentCall, items: AsyncIterator[Any], sock: socket.socket) -> None:
        """Send each item as a CHUNK over `sock`, waiting when it cannot be written to; raises like :meth:`call`."""
        try:
            self._run(call, self._pump(call, items, sock))
        finally:
            os.set_blocking(sock.fileno(), True)  # libuv makes non-blocking what it watches

    def _run(self, call: CurrentCall, main: Coroutine[Any, Any, Any]) -> Any:
        done = threading.Lock()
        done.acquire()
        outcome: list[Any] = [None, None]
        tasks: list[asyncio.Task[Any]] = []

        async def run() -> None:
            try:
                outcome[0] = await main
            except asyncio.CancelledError:
                outcome[1] = DirtyCancelledError()
            except BaseException as exc:
                outcome[1] = exc
            finally:
                call.on_cancel(None)
                done.release()

        def start() -> None:
            tasks.append(self.loop.create_task(run()))
            call.on_cancel(lambda: _threadsafe(self.loop, tasks[0].cancel))

        self.loop.call_soon_threadsafe(start)
        done.acquire()
        if outcome[1] is not None:
            raise outcome[1]
        return outcome[0]

    async def _pump(self, call: CurrentCall, items: AsyncIterator[Any], sock: socket.socket) -> None:
        count = 0
        try:
            async for item in items:
                frame = whole(chunk_frame(call.request_id, item))
                try:
                    sent = sock.send(frame, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    sent = 0
                if sent < len(frame):
                    await self._send_rest(sock, memoryview(frame)[sent:])
                count += 1
                if count % _YIELD_EVERY == 0:
                    await asyncio.sleep(0)
        finally:
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()

    async def _send_rest(self, sock: socket.socket, rest: memoryview) -> None:
        # Within a frame a cancellation must wait: the arbiter could not tell where the next frame begins.
        cancelled = False
        while rest:
            writable = self.loop.create_future()
            self.loop.add_writer(sock.fileno(), _resolve, writable)
            try:
                await writable
            except asyncio.CancelledError:
                cancelled = True
            finally:
                self.loop.remove_writer(sock.fileno())
            try:
                rest = rest[sock.send(rest, socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                pass
        if cancelled:
            raise asyncio.CancelledError


def _threadsafe(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
    loop.call_soon_threadsafe(callback)


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
