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

import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, NamedTuple

from gunicorn_dirty_protocol import EncodeError, encode
from gunicorn_dirty_protocol import StashOp as Op

from .calls import Attempts, next_id
from .client import DirtyClient, get_dirty_client
from .errors import (
    DirtyConnectionError,
    DirtyProtocolError,
    StashError,
    StashFullError,
    StashKeyNotFoundError,
    StashTableNotFoundError,
)
from .wire import HEADER, MAGIC, NO_OPTIONS, STASH, VERSION

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

Key = str | int | bytes

_RAISE: Any = object()
_ABSENT: Any = object()
# What may be asked again when the connection breaks, since asking twice does what asking once does.
_REPEATABLE = frozenset((Op.PUT, Op.GET, Op.KEYS, Op.CLEAR, Op.INFO, Op.ENSURE, Op.TABLES, Op.EXISTS, Op.ITEMS))
_VALUE = encode("value")
_PUT, _GET = int(Op.PUT), int(Op.GET)
_NAMES = {op: f"stash {op.name.lower()}" for op in Op}


class StashChange(NamedTuple):
    """A change of a table: `op` is "put", "delete", "expire", "evict" or "clear", which has no key."""

    op: str
    key: Key | None
    value: Any


def _frame(request_id: int, fields: dict[str, Any]) -> bytes:
    op = fields["op"]
    try:
        if op == _GET or (op == _PUT and fields["ttl"] is None):
            # What is asked most often is not worth a dict; the bytes are the same.
            payload = _front(op, fields["table"]) + encode(fields["key"])
            if op == _PUT:
                payload += _VALUE + encode(fields["value"])
        else:
            given = {
                name: value for name, value in fields.items() if value is not None or name in ("value", "expected")
            }
            payload = encode(given)
    except EncodeError as exc:
        raise DirtyProtocolError(f"this cannot be put into the stash: {exc}") from exc
    return HEADER.pack(MAGIC, VERSION, STASH, len(payload), request_id) + payload


@functools.lru_cache(maxsize=1024)
def _front(op: int, table: str) -> bytes:
    """The payload of a PUT or GET up to the value of its key."""
    number = 4 if op == _PUT else 3
    return b"\x21" + number.to_bytes(4, "big") + b"".join(map(encode, ("op", op, "table", table, "key")))


class _Operations:
    """The operations, for any way of asking. Each returns what :meth:`_ask` makes of the answer."""

    def _ask(self, op: Op, table: str, default: Any = _RAISE, **fields: Any) -> Any:
        """Ask, and return the answer; `default` instead where there is no such key."""
        raise NotImplementedError

    def put(self, table: str, key: Key, value: Any, ttl: float | None = None) -> Any:
        """Set an entry, for `ttl` seconds (None: for ever). The table is made if it is missing.

        :raises StashFullError: it does not fit into the table's bounds
        """
        return self._ask(Op.PUT, table, key=key, value=value, ttl=ttl)

    def get(self, table: str, key: Key, default: Any = _RAISE) -> Any:
        """The value, or `default`.

        :raises StashKeyNotFoundError: there is none, and no default
        """
        return self._ask(Op.GET, table, default, key=key)

    def pop(self, table: str, key: Key, default: Any = _RAISE) -> Any:
        """Take an entry out; returns and raises like :meth:`get`."""
        return self._ask(Op.POP, table, default, key=key)

    def delete(self, table: str, key: Key) -> Any:
        """Take an entry out. Returns whether it was there."""
        return self._ask(Op.DELETE, table, key=key)

    def exists(self, table: str, key: Key | None = None) -> Any:
        """Whether the entry is there; without a key, the table."""
        return self._ask(Op.EXISTS, table, key=key)

    def put_if_absent(self, table: str, key: Key, value: Any, ttl: float | None = None) -> Any:
        """Set an entry unless it is there. Returns whether it was set."""
        return self._ask(Op.PUT_IF_ABSENT, table, key=key, value=value, ttl=ttl)

    def compare_and_set(self, table: str, key: Key, expected: Any, value: Any, ttl: float | None = None) -> Any:
        """Set an entry if its value is `expected`. Returns whether it was set."""
        return self._ask(Op.COMPARE_AND_SET, table, key=key, expected=expected, value=value, ttl=ttl)

    def incr(self, table: str, key: Key, amount: float = 1, ttl: float | None = None) -> Any:
        """Add to a number (0 where it is missing) and return it. Its end stays as it is unless `ttl` is given.

        :raises StashError: the value is no number
        """
        return self._ask(Op.INCR, table, key=key, value=amount, ttl=ttl)

    def update(self, table: str, values: Mapping[str, Any], ttl: float | None = None) -> Any:
        """Set several entries at once, or none of them. Returns how many."""
        return self._ask(Op.UPDATE, table, value=dict(values), ttl=ttl)

    def keys(self, table: str, pattern: str | None = None) -> Any:
        """The keys, of those that match the glob. A missing table has none."""
        return self._ask(Op.KEYS, table, pattern=pattern)

    def items(self, table: str, pattern: str | None = None) -> Any:
        """Keys with their values, as a list of pairs (lists of two)."""
        return self._ask(Op.ITEMS, table, pattern=pattern)

    def clear(self, table: str) -> Any:
        """Take all entries out."""
        return self._ask(Op.CLEAR, table)

    def info(self, table: str) -> Any:
        """`table`, `size` (entries), `bytes`, and its bounds.

        :raises StashTableNotFoundError: there is no such table
        """
        return self._ask(Op.INFO, table)

    def ensure(
        self, table: str, max_entries: int | None = None, max_bytes: int | None = None, evict: bool | None = None
    ) -> Any:
        """Make the table if it is missing. If bounds are given they replace those that it has.

        :param max_bytes: encoded bytes of keys and values, and 16 for each entry
        :param evict: the entries used longest ago make room; else what does not fit raises StashFullError
        """
        return self._ask(Op.ENSURE, table, max_entries=max_entries, max_bytes=max_bytes, evict=evict)

    def delete_table(self, table: str) -> Any:
        """Take the table away. Returns whether it was there."""
        return self._ask(Op.DELETE_TABLE, table)

    def tables(self) -> Any:
        """The names of all tables."""
        return self._ask(Op.TABLES, "")


class StashClient(_Operations):
    """The stash of the pool at one socket, for blocking use. Thread-safe."""

    def __init__(self, socket_path: str | None = None, timeout: float | None = None) -> None:
        """:param socket_path, timeout: as for :class:`~gunicorn.dirty.client.DirtyClient`"""
        self._client = get_dirty_client(timeout) if socket_path is None else DirtyClient(socket_path, timeout)

    def _ask(self, op: Op, table: str, default: Any = _RAISE, **fields: Any) -> Any:
        fields = {"op": int(op), "table": table, **fields}
        attempts: Attempts | None = None
        while True:
            request_id = next_id()
            try:
                return self._client._ask(_frame(request_id, fields), request_id, _NAMES[op])
            except StashKeyNotFoundError:
                if default is _RAISE:
                    raise
                return default
            except DirtyConnectionError as exc:
                if op not in _REPEATABLE:
                    raise
                attempts = attempts or Attempts(NO_OPTIONS, 0.0)
                attempts.options(0.0)
                time.sleep(attempts.pause(exc, 0.0))

    def watch(self, table: str, pattern: str | None = None) -> StashWatch:
        """The changes of a table from now on, as an iterator; of keys that match the glob. To be closed.

        :raises StashError: while iterating: they came faster than they were read
        """
        request_id = next_id()
        frame = _frame(request_id, {"op": int(Op.WATCH), "table": table, "pattern": pattern})
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


class AsyncStash(_Operations):
    """The stash for asyncio: the same methods, to be awaited."""

    def __init__(self, socket_path: str | None = None, timeout: float | None = None) -> None:
        """:param socket_path, timeout: as for :class:`~gunicorn.dirty.client.DirtyClient`"""
        self._client = get_dirty_client(timeout) if socket_path is None else DirtyClient(socket_path, timeout)

    def _ask(self, op: Op, table: str, default: Any = _RAISE, **fields: Any) -> Awaitable[Any]:
        return self._answer(op, default, {"op": int(op), "table": table, **fields})

    async def _answer(self, op: Op, default: Any, fields: dict[str, Any]) -> Any:
        import asyncio

        attempts: Attempts | None = None
        while True:
            request_id = next_id()
            frame = _frame(request_id, fields)
            try:
                return await self._client._ask_async(frame, request_id, _NAMES[op])
            except StashKeyNotFoundError:
                if default is _RAISE:
                    raise
                return default
            except DirtyConnectionError as exc:
                if op not in _REPEATABLE:
                    raise
                attempts = attempts or Attempts(NO_OPTIONS, 0.0)
                attempts.options(0.0)
                await asyncio.sleep(attempts.pause(exc, 0.0))

    async def watch(self, table: str, pattern: str | None = None) -> AsyncIterator[StashChange]:
        """Like :meth:`StashClient.watch`, for `async for`; `aclose()` of what it returns ends it."""
        request_id = next_id()
        frame = _frame(request_id, {"op": int(Op.WATCH), "table": table, "pattern": pattern})
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

    def pop(self, key: Key, default: Any = _RAISE) -> Any:
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


def _default() -> StashClient:
    return StashClient()


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
