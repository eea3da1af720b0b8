"""Micro-batching: an action that is given several concurrent calls at once, as lists.

    class Model(DirtyApp):
        concurrency = 64

        @batched(max_size=32, max_wait=0.005)
        def predict(self, images, sizes):        # called as predict(image, size)
            return self.model(images, sizes)     # one result for each

Used by authors of apps. The first call of a batch waits for others; in threads it then runs the batch, in asyncio a
task of its own does.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any

from .errors import DirtyAppError

__all__ = ["batched"]


def batched(max_size: int = 16, max_wait: float = 0.01) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Collect concurrent calls of a method into one with lists: of each positional argument the list of its values.

    The method (plain or `async def`) returns as many results as there were calls, in their order. A result that is an
    exception is raised for its call alone; one that the method raises, for all of them.

    :param max_size: calls in a batch at most
    :param max_wait: seconds that the first call of a batch waits for it to fill
    """
    if max_size < 1 or max_wait < 0:
        raise ValueError(
            f"batched(max_size={max_size}, max_wait={max_wait}): max_size is 1 or more, max_wait 0 or more"
        )

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        attribute = f"_batches_of_{function.__name__}"
        lock = threading.Lock()

        def batches(owner: Any, kind: Any) -> Any:
            found = owner.__dict__.get(attribute)
            if found is None:
                with lock:
                    found = owner.__dict__.setdefault(attribute, kind(functools.partial(function, owner)))
            return found

        class Threads(_Threads):
            size, wait, name = max_size, max_wait, function.__name__

        class Tasks(_Tasks):
            size, wait, name = max_size, max_wait, function.__name__

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def method(self: Any, *args: Any) -> Any:
                return await batches(self, Tasks).add(args)
        else:

            @functools.wraps(function)
            def method(self: Any, *args: Any) -> Any:
                return batches(self, Threads).add(args)

        return method

    return decorate


class _Batches:
    size: int
    wait: float
    name: str

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def columns(self, calls: list[tuple[Any, ...]]) -> list[list[Any]]:
        """The arguments of the batch, of those of its calls."""
        if len({len(args) for args in calls}) != 1:
            raise TypeError(f"the calls of one batch of {self.name} have different numbers of arguments")
        return [list(values) for values in zip(*calls, strict=True)]

    def results(self, values: Any, number: int) -> list[Any]:
        try:
            results = list(values)
        except TypeError:
            kind = type(values).__name__
            raise DirtyAppError(f"{self.name} gave {kind}, not a list of results for its {number} calls") from None
        if len(results) != number:
            raise DirtyAppError(f"{self.name} gave {len(results)} results for a batch of {number} calls")
        return results


class _Batch:
    """What threads collect."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.full = threading.Event()
        self.done = threading.Event()
        self.results: list[Any] = []
        self.error: BaseException | None = None


class _Threads(_Batches):
    """Calls in threads. The one that begins a batch runs it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._lock = threading.Lock()
        self._open: _Batch | None = None

    def add(self, args: tuple[Any, ...]) -> Any:
        with self._lock:
            batch = self._open
            begins = batch is None
            if batch is None:
                batch = self._open = _Batch()
            index = len(batch.calls)
            batch.calls.append(args)
            if len(batch.calls) >= self.size:
                self._open = None
                batch.full.set()
        if begins:
            self._run(batch)
        else:
            batch.done.wait()
        if batch.error is not None:
            raise batch.error
        result = batch.results[index]
        if isinstance(result, Exception):
            raise result
        return result

    def _run(self, batch: _Batch) -> None:
        batch.full.wait(self.wait)
        with self._lock:
            if self._open is batch:
                self._open = None
        try:
            batch.results = self.results(self.function(*self.columns(batch.calls)), len(batch.calls))
        except BaseException as exc:
            batch.error = exc
        finally:
            batch.done.set()


class _Tasks(_Batches):
    """Calls in one event loop. A batch runs in a task of its own, which no caller's cancellation ends."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._open: list[tuple[tuple[Any, ...], asyncio.Future[Any]]] | None = None
        self._full: asyncio.Event | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def add(self, args: tuple[Any, ...]) -> Any:
        loop = asyncio.get_running_loop()
        if self._open is None or self._full is None:
            self._open, self._full = [], asyncio.Event()
            task = loop.create_task(self._run(self._open, self._full))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        answer: asyncio.Future[Any] = loop.create_future()
        self._open.append((args, answer))
        if len(self._open) >= self.size:
            self._full.set()
            self._open = None
        return await answer

    async def _run(self, batch: list[tuple[tuple[Any, ...], asyncio.Future[Any]]], full: asyncio.Event) -> None:
        try:
            await asyncio.wait_for(full.wait(), self.wait)
        except asyncio.TimeoutError:
            pass
        if self._open is batch:
            self._open = None
        wanted = [(args, answer) for args, answer in batch if not answer.done()]
        if not wanted:
            return
        try:
            values = await self.function(*self.columns([args for args, _ in wanted]))
            results = self.results(values, len(wanted))
        except Exception as exc:
            results = [exc] * len(wanted)
        for (_, answer), result in zip(wanted, results, strict=True):
            if answer.done():
                continue
            if isinstance(result, Exception):
                answer.set_exception(result)
            else:
                answer.set_result(result)
