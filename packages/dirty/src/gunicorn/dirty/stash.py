"""The stash: tables of values that all workers of the pool, and the web workers, share. They live in the arbiter.

    from gunicorn.dirty import stash

    stash.put("sessions", "user:1", {"name": "Ann"}, ttl=3600)
    stash.incr("hits", "/index")
    table = stash.table("sessions")     # like a dict
    for change in stash.watch("sessions", "user:*"): ...

The functions of this module use the pool that GUNICORN_DIRTY_SOCKET names; :class:`StashClient` may be given another,
:class:`AsyncStash` has the same methods as coroutines. Each method is one atomic operation. Keys are str, int or bytes,
values are what the protocol carries. Called by apps of the pool and by web applications.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any, NamedTuple

from gunicorn_dirty_protocol import StashOp as Op

from . import mirror
from .calls import Attempts, next_id, read_encoded, read_value
from .client import DirtyClient, get_dirty_client
from .errors import (
    DirtyConnectionError,
    StashError,
    StashFullError,
    StashKeyNotFoundError,
    StashTableNotFoundError,
)
from .stash_operations import NAMES, RAISE, REPEATABLE, Key, Operations, get_frame, put_frame, stash_frame
from .wire import NO_OPTIONS

if TYPE_CHECKING:
    from .client import DirtyStream

__all__ = [
    "AsyncStash",
    "StashChange",
    "StashClient",
    "StashError",
    "StashFullError",
    "StashKeyNotFoundError",
    "StashTable",
    "StashTableNotFoundError",
    "clear",
    "compare_and_set",
    "delete",
    "delete_table",
    "ensure",
    "exists",
    "get",
    "incr",
    "info",
    "items",
    "keys",
    "pop",
    "put",
    "put_if_absent",
    "table",
    "tables",
    "update",
    "watch",
]

_ABSENT: Any = object()
_PUT, _GET = NAMES[Op.PUT], NAMES[Op.GET]


class StashChange(NamedTuple):
    """A change of a table: `op` is "put", "delete", "expire", "evict" or "clear", which has no key."""

    op: str
    key: Key | None
    value: Any


class StashClient(Operations):
    """The stash of the pool at one socket, for blocking use. Thread-safe."""

    def __init__(self, socket_path: str | None = None, timeout: float | None = None) -> None:
        """:param socket_path, timeout: as for :class:`~gunicorn.dirty.client.DirtyClient`"""
        self._client = get_dirty_client(timeout) if socket_path is None else DirtyClient(socket_path, timeout)
        known = mirror.current
        self._mirror = known if known is not None and known.path == self._client.socket_path else None

    # These two are by far the most frequent, and have ways of their own for keys that are str.

    def put(self, table: str, key: Key, value: Any, ttl: float | None = None) -> Any:
        if ttl is not None or type(key) is not str:
            return super().put(table, key, value, ttl)
        known = self._mirror
        before = known.count(table) if known is not None else 0
        request_id = next_id()
        frame, encoded = put_frame(request_id, table, key, value)
        try:
            answer = self._client._ask(frame, request_id, _PUT)
        except DirtyConnectionError:
            return super().put(table, key, value)
        if known is not None:
            known.keep_written(table, key, encoded, before)
        return answer

    def get(self, table: str, key: Key, default: Any = RAISE) -> Any:
        if type(key) is not str:
            return super().get(table, key, default)
        known = self._mirror
        if known is not None:
            encoded = known.get(table, key)
            if encoded is not None:
                return read_value(encoded)
            before = known.count(table)
        request_id = next_id()
        frame = get_frame(request_id, table, key)
        try:
            encoded = self._client._ask(frame, request_id, _GET, read=read_encoded)
        except StashKeyNotFoundError:
            if default is RAISE:
                raise
            return default
        except DirtyConnectionError:
            return super().get(table, key, default)
        if known is not None:
            known.keep_read(table, key, encoded, before)
        return read_value(encoded)

    def _ask(self, op: Op, table: str, default: Any = RAISE, **fields: Any) -> Any:
        fields = {"op": int(op), "table": table, **fields}
        attempts: Attempts | None = None
        while True:
            request_id = next_id()
            try:
                return self._client._ask(stash_frame(request_id, fields), request_id, NAMES[op])
            except StashKeyNotFoundError:
                if default is RAISE:
                    raise
                return default
            except DirtyConnectionError as exc:
                if op not in REPEATABLE:
                    raise
                attempts = attempts or Attempts(NO_OPTIONS, 0.0)
                attempts.options(0.0)
                time.sleep(attempts.pause(exc, 0.0))

    def watch(self, table: str, pattern: str | None = None) -> StashWatch:
        """The changes of a table from now on, as an iterator; of keys that match the glob. To be closed.

        :raises StashError: while iterating: they came faster than they were read
        """
        request_id = next_id()
        frame = stash_frame(request_id, {"op": int(Op.WATCH), "table": table, "pattern": pattern})
        stream = self._client._open(frame, request_id, f"watching {table}")
        next(stream)
        return StashWatch(stream)

    def table(self, name: str) -> StashTable:
        """The table as a mapping; it is made by the first write."""
        return StashTable(self, name)

    def close(self) -> None:
        """Close idle connections. The client can be used again."""
        self._client.close()


class StashWatch(Iterator[StashChange]):
    """The changes of a table, as they happen."""

    def __init__(self, stream: DirtyStream) -> None:
        self._stream = stream

    def __next__(self) -> StashChange:
        return _change(next(self._stream))

    def close(self) -> None:
        """Watch no longer."""
        self._stream.close()

    def __enter__(self) -> StashWatch:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


class AsyncStash(Operations):
    """The stash for asyncio: the same methods, to be awaited."""

    def __init__(self, socket_path: str | None = None, timeout: float | None = None) -> None:
        """:param socket_path, timeout: as for :class:`~gunicorn.dirty.client.DirtyClient`"""
        self._client = get_dirty_client(timeout) if socket_path is None else DirtyClient(socket_path, timeout)

    def _ask(self, op: Op, table: str, default: Any = RAISE, **fields: Any) -> Awaitable[Any]:
        return self._answer(op, default, {"op": int(op), "table": table, **fields})

    async def _answer(self, op: Op, default: Any, fields: dict[str, Any]) -> Any:
        import asyncio

        attempts: Attempts | None = None
        while True:
            request_id = next_id()
            frame = stash_frame(request_id, fields)
            try:
                return await self._client._ask_async(frame, request_id, NAMES[op])
            except StashKeyNotFoundError:
                if default is RAISE:
                    raise
                return default
            except DirtyConnectionError as exc:
                if op not in REPEATABLE:
                    raise
                attempts = attempts or Attempts(NO_OPTIONS, 0.0)
                attempts.options(0.0)
                await asyncio.sleep(attempts.pause(exc, 0.0))

    async def watch(self, table: str, pattern: str | None = None) -> AsyncIterator[StashChange]:
        """Like :meth:`StashClient.watch`, for `async for`; `aclose()` of what it returns ends it."""
        request_id = next_id()
        frame = stash_frame(request_id, {"op": int(Op.WATCH), "table": table, "pattern": pattern})
        stream = self._client._open_async(frame, request_id, f"watching {table}")
        await anext(stream)
        return _changes(stream)

    async def close(self) -> None:
        """Close the connections of the running loop."""
        await self._client.close_async()


async def _changes(stream: Any) -> AsyncIterator[StashChange]:
    try:
        async for item in stream:
            yield _change(item)
    finally:
        await stream.aclose()


def _change(item: dict[str, Any]) -> StashChange:
    return StashChange(item["op"], item.get("key"), item.get("value"))


class StashTable(MutableMapping[Any, Any]):
    """A table as a mapping. Iterating takes a copy of its keys first.

    :ivar name: the table's name
    """

    def __init__(self, client: StashClient, name: str) -> None:
        self._client = client
        self.name = name

    def __getitem__(self, key: Key) -> Any:
        """:raises StashKeyNotFoundError: there is none; it is a KeyError"""
        return self._client.get(self.name, key)

    def __setitem__(self, key: Key, value: Any) -> None:
        self._client.put(self.name, key, value)

    def __delitem__(self, key: Key) -> None:
        if not self._client.delete(self.name, key):
            raise KeyError(key)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._client.keys(self.name))

    def __len__(self) -> int:
        try:
            size: int = self._client.info(self.name)["size"]
        except StashTableNotFoundError:
            return 0
        return size

    def __contains__(self, key: object) -> bool:
        return bool(self._client.exists(self.name, key))  # type: ignore[arg-type]

    def keys(self, pattern: str | None = None) -> Any:
        """The keys, of those that match the glob, as a list."""
        return self._client.keys(self.name, pattern)

    def items(self, pattern: str | None = None) -> Any:
        """Pairs of keys and values, as a list of tuples."""
        return [tuple(pair) for pair in self._client.items(self.name, pattern)]

    def values(self, pattern: str | None = None) -> Any:
        """The values, as a list."""
        return [value for _, value in self._client.items(self.name, pattern)]

    def pop(self, key: Key, default: Any = RAISE) -> Any:
        """Take an entry out, in one step."""
        return self._client.pop(self.name, key, default)

    def setdefault(self, key: Key, default: Any = None) -> Any:
        """The value; `default`, which is then set, where there is none."""
        while True:
            value = self._client.get(self.name, key, _ABSENT)
            if value is not _ABSENT:
                return value
            if self._client.put_if_absent(self.name, key, default):
                return default

    def incr(self, key: Key, amount: float = 1, ttl: float | None = None) -> Any:
        """See :meth:`StashClient.incr`."""
        return self._client.incr(self.name, key, amount, ttl)

    def clear(self) -> None:
        self._client.clear(self.name)

    def __repr__(self) -> str:
        return f"<StashTable {self.name!r}>"


_own: StashClient | None = None


def _default() -> StashClient:
    if mirror.current is None:
        return StashClient()
    global _own  # a worker's pool is always the same one
    if _own is None:
        _own = StashClient()
    return _own


def _of_default(name: str) -> Callable[..., Any]:
    method = getattr(StashClient, name)

    def function(*args: Any, **kwargs: Any) -> Any:
        return method(_default(), *args, **kwargs)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = method.__doc__
    return function


put = _of_default("put")
get = _of_default("get")
pop = _of_default("pop")
delete = _of_default("delete")
exists = _of_default("exists")
put_if_absent = _of_default("put_if_absent")
compare_and_set = _of_default("compare_and_set")
incr = _of_default("incr")
update = _of_default("update")
keys = _of_default("keys")
items = _of_default("items")
clear = _of_default("clear")
info = _of_default("info")
ensure = _of_default("ensure")
delete_table = _of_default("delete_table")
tables = _of_default("tables")
watch = _of_default("watch")
table = _of_default("table")
