"""What the operations of the stash send: their names and arguments for people, their fields and bytes for the arbiter.

Without I/O; the blocking and the asyncio client (stash.py) derive from :class:`Operations` and only ask.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Mapping
from typing import Any

from gunicorn_dirty_protocol import EncodeError, encode
from gunicorn_dirty_protocol import StashOp as Op

from .errors import DirtyProtocolError
from .wire import HEADER, MAGIC, STASH, VERSION

__all__ = ["NAMES", "RAISE", "REPEATABLE", "Key", "Operations", "get_frame", "put_frame", "stash_frame"]

Key = str | int | bytes

RAISE: Any = object()
# What may be asked again when the connection breaks, since asking twice does what asking once does.
REPEATABLE = frozenset((Op.PUT, Op.GET, Op.KEYS, Op.CLEAR, Op.INFO, Op.ENSURE, Op.TABLES, Op.EXISTS, Op.ITEMS))
_VALUE = encode("value")
_VALUE_SIZE = len(_VALUE)
_PUT, _GET = int(Op.PUT), int(Op.GET)
_STR = 0x11
_HEAD_SIZE = 5
_pack_head = struct.Struct(">BI").pack
NAMES = {op: f"stash {op.name.lower()}" for op in Op}


def stash_frame(request_id: int, fields: dict[str, Any]) -> bytes:
    """A STASH message. `fields` are those of docs/protocol.md, 3.5, in its order; None is left out where it may be.

    :raises DirtyProtocolError: a value cannot be carried
    """
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


def put_frame(request_id: int, table: str, key: str, value: Any) -> tuple[bytes, bytes]:
    """A PUT without `ttl`, and the value as it is encoded; raises like :func:`stash_frame`."""
    try:
        encoded = encode(value)
        front, raw = _front(_PUT, table), key.encode()
    except (EncodeError, UnicodeEncodeError) as exc:
        raise DirtyProtocolError(f"this cannot be put into the stash: {exc}") from exc
    size = len(front) + _HEAD_SIZE + len(raw) + _VALUE_SIZE + len(encoded)
    header = HEADER.pack(MAGIC, VERSION, STASH, size, request_id)
    return b"".join((header, front, _pack_head(_STR, len(raw)), raw, _VALUE, encoded)), encoded


def get_frame(request_id: int, table: str, key: str) -> bytes:
    """A GET; raises like :func:`stash_frame`."""
    try:
        front, raw = _front(_GET, table), key.encode()
    except (EncodeError, UnicodeEncodeError) as exc:
        raise DirtyProtocolError(f"this cannot be a key of the stash: {exc}") from exc
    size = len(front) + _HEAD_SIZE + len(raw)
    return b"".join((HEADER.pack(MAGIC, VERSION, STASH, size, request_id), front, _pack_head(_STR, len(raw)), raw))


@functools.lru_cache(maxsize=1024)
def _front(op: int, table: str) -> bytes:
    """The payload of a PUT or GET up to the value of its key."""
    number = 4 if op == _PUT else 3
    return b"\x21" + number.to_bytes(4, "big") + b"".join(map(encode, ("op", op, "table", table, "key")))


class Operations:
    """The operations, for any way of asking. Each returns what :meth:`_ask` makes of the answer."""

    def _ask(self, op: Op, table: str, default: Any = RAISE, **fields: Any) -> Any:
        """Ask, and return the answer; `default` instead where there is no such key."""
        raise NotImplementedError

    def put(self, table: str, key: Key, value: Any, ttl: float | None = None) -> Any:
        """Set an entry, for `ttl` seconds (None: for ever). The table is made if it is missing.

        :raises StashFullError: it does not fit into the table's bounds
        """
        return self._ask(Op.PUT, table, key=key, value=value, ttl=ttl)

    def get(self, table: str, key: Key, default: Any = RAISE) -> Any:
        """The value, or `default`.

        :raises StashKeyNotFoundError: there is none, and no default
        """
        return self._ask(Op.GET, table, default, key=key)

    def pop(self, table: str, key: Key, default: Any = RAISE) -> Any:
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
