"""Finds requests that occupy the application for longer than ``timeout``, and tells where they are.

``asyncio_server`` looks at each tick, the ``asgi`` worker is replaced when there is one.

What counts is the time until the response begins, without that in which the application waits in ``receive()`` for its
client. A response that has begun may go on for as long as it likes (streams, server-sent events), and so may what runs
after a response. An application that blocks the loop is not found here: it shows by the worker's missing heartbeat.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

from gunicorn.drivers.asyncio_exchange import Exchange

MOST_FRAMES = 64


def find_overdue(running: Iterable[Exchange], now: float, limit: float) -> Iterator[Exchange]:
    """Those of *running*, the oldest first, that are over *limit* seconds at *now* and were not found before."""
    for exchange in running:
        if now - exchange.started <= limit:
            return
        if not (exchange.overdue or exchange.begun or exchange.receiving) and now - exchange.occupied > limit:
            exchange.overdue = True
            yield exchange


def stack_of(task: asyncio.Task[Any]) -> str:
    """Where *task* waits, as a traceback has it; through the tasks that it waits for, as far as they are known.

    ``Task.print_stack`` shows the outermost frame only.
    """
    frames: list[tuple[FrameType, int]] = []
    seen: set[int] = set()
    waiting: Any = task
    while waiting is not None and id(waiting) not in seen and len(frames) < MOST_FRAMES:
        seen.add(id(waiting))
        if isinstance(waiting, asyncio.Task):
            deeper = waiting.get_coro()
            awaited = getattr(waiting, "_fut_waiter", None)
        else:
            deeper, awaited = waiting, None
        while deeper is not None and len(frames) < MOST_FRAMES:
            frame, deeper = _step(deeper)
            if frame is not None:
                frames.append((frame, frame.f_lineno))
        waiting = awaited if isinstance(awaited, asyncio.Task) else None
    return "".join(traceback.StackSummary.extract(iter(frames)).format()).rstrip()


def _step(awaitable: Any) -> tuple[FrameType | None, Any]:
    """The frame of a coroutine, generator or asynchronous generator, and what it waits for."""
    for prefix, inner in (("cr", "cr_await"), ("gi", "gi_yieldfrom"), ("ag", "ag_await")):
        if hasattr(awaitable, inner):
            return getattr(awaitable, f"{prefix}_frame"), getattr(awaitable, inner)
    return None, None
