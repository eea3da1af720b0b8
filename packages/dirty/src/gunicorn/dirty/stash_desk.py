"""The stash at the arbiter: STASH messages in, answers out, and the streams of those who watch. Used by the dispatcher.

The operations are those of docs/protocol.md, 3.5. A value is not decoded to be kept, only to be checked; what the store
gives back goes out as the bytes that came.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from gunicorn_dirty_protocol import ProtocolError, decode_from, encode
from gunicorn_dirty_protocol import StashOp as Op

from .errors import DirtyError, DirtyProtocolError, StashError
from .loop import Timer
from .mirror import shared_counts
from .stash_store import Bounds, Change, Key, StashStore, key_text
from .wire import CHUNK, END, HEADER, MAGIC, RESPONSE, VERSION, chunk_frame, whole

if TYPE_CHECKING:
    from .caller import Caller
    from .loop import Loop

__all__ = ["StashDesk"]

_MAX_UNREAD = 1024 * 1024  # bytes of changes that a watcher may leave unread before its stream ends


_RESULT = b"\x21\x00\x00\x00\x01" + encode("result")
_RESULT_SIZE = len(_RESULT)
_TRUE, _FALSE = encode(True), encode(False)
_KEY, _VALUE = encode("key"), encode("value")
_PUT, _GET = int(Op.PUT), int(Op.GET)
_HEAD_SIZE = 5
_STR_HEAD = 0x11 << 32  # of a str: its code and its length are one number of five bytes
_NO_FRONT = b"\xff"  # nothing that is encoded begins so
_NUMBERS = (encode(0)[0], encode(0.5)[0])
_NUMBER_SIZE = 9  # what has such a code and such a length is whole
_MAX_FRONTS = 1024
_LONGEST = 1e12  # seconds; an int may be larger than any float


class StashDesk:
    """Answers STASH messages. :ivar store: the tables"""

    def __init__(self, loop: Loop) -> None:
        self.store = StashStore(self._tell, shared_counts())
        self._loop = loop
        self._watchers: dict[str, list[_Watcher]] = {}
        # What stands before the key, with its name: op and table. The last one is likely to be the next one, too.
        self._fronts: dict[bytes, tuple[bytes, int, str]] = {}
        self._front: tuple[bytes, int, str] = (_NO_FRONT, 0, "")
        self._expiry: Timer | None = None
        self._operations: dict[int, Callable[[str, dict[str, Any], dict[str, bytes]], bytes]] = {
            Op.PUT: self._put,
            Op.GET: lambda table, fields, raw: self.store.get(table, _key(fields), self._loop.now),
            Op.DELETE: lambda table, fields, raw: _bool(self.store.delete(table, _key(fields), self._loop.now)),
            Op.KEYS: self._keys,
            Op.CLEAR: self._clear,
            Op.INFO: lambda table, fields, raw: encode(self.store.info(table, self._loop.now)),
            Op.ENSURE: self._ensure,
            Op.DELETE_TABLE: lambda table, fields, raw: _bool(self.store.drop(table)),
            Op.TABLES: lambda table, fields, raw: encode(list(self.store.tables)),
            Op.EXISTS: self._exists,
            Op.INCR: self._incr,
            Op.PUT_IF_ABSENT: self._put_if_absent,
            Op.COMPARE_AND_SET: self._compare_and_set,
            Op.POP: lambda table, fields, raw: self.store.pop(table, _key(fields), self._loop.now),
            Op.UPDATE: self._update,
            Op.ITEMS: self._items,
        }

    def handle(self, caller: Caller, request_id: int, payload: bytes) -> None:
        """Answer one STASH message, whatever it holds."""
        try:
            value = self._quick(payload)
            if value is None:
                value = self._run(caller, request_id, payload)
                if value is None:
                    return  # a watcher is answered as things happen
        except ProtocolError as exc:
            caller.send_error(request_id, DirtyProtocolError(f"malformed STASH: {exc}", payload))
        except DirtyError as exc:
            caller.send_error(request_id, exc)
        else:
            size = _RESULT_SIZE + len(value)
            caller.send_frame(HEADER.pack(MAGIC, VERSION, RESPONSE, size, request_id) + _RESULT + value)

    def _quick(self, payload: bytes) -> bytes | None:
        """Put and get with a short str as key, as the clients write them; None for everything else."""
        front, op, table = self._front
        if not payload.startswith(front):
            found = self._fronts.get(payload[: payload.find(_KEY)])
            if found is None:
                return None
            self._front = front, op, table = found
        at = len(front)
        start = at + _HEAD_SIZE
        end = start + int.from_bytes(payload[at:start], "big") - _STR_HEAD
        if not start <= end <= len(payload):
            return None  # the key is no str: its code, the first byte, is another
        try:
            key = payload[start:end].decode()
        except UnicodeDecodeError:
            return None
        if op == _GET:
            return self.store.get(table, key, self._loop.now) if end == len(payload) else None
        if not payload.startswith(_VALUE, end):
            return None
        value = payload[end + len(_VALUE) :]
        if (len(value) != _NUMBER_SIZE or value[0] not in _NUMBERS) and decode_from(value)[1] != len(value):
            return None
        self.store.put(table, key, value, self._loop.now)
        return _TRUE

    def _run(self, caller: Caller, request_id: int, payload: bytes) -> bytes | None:
        fields, raw, count = _read(payload)
        op, table = fields.get("op"), fields.get("table") or ""
        if type(op) is not int or type(table) is not str:
            raise DirtyProtocolError("STASH needs the field 'op', a number, and 'table', a str")
        if op == Op.WATCH:
            self._watch(caller, request_id, table, _pattern(fields))
            return None
        operation = self._operations.get(op)
        if operation is None:
            raise DirtyProtocolError(f"STASH has no operation {op}")
        value = operation(table, fields, raw)
        if (op == _PUT and count == 4) or (op == _GET and count == 3):
            self._remember(payload, op, table)
        self._await_end()
        return value

    def _remember(self, payload: bytes, op: int, table: str) -> None:
        """Let the next message with this front take the quick way, if it is written the usual way."""
        number = 4 if op == _PUT else 3
        front = b"\x21" + number.to_bytes(4, "big") + b"".join(map(encode, ("op", op, "table", table)))
        if payload[: payload.find(_KEY)] == front:
            if len(self._fronts) >= _MAX_FRONTS:
                self._fronts.clear()
            self._fronts[front] = (front + _KEY, op, table)

    # Operations: the table's name, all fields decoded, and each as it is on the wire

    def _put(self, table: str, fields: dict[str, Any], raw: dict[str, bytes]) -> bytes:
        self.store.put(table, _key(fields), raw.get("value", b"\x00"), self._loop.now, _ttl(fields))
        return _TRUE

    def _keys(self, table: str, fields: dict[str, Any], raw: dict[str, bytes]) -> bytes:
        return encode([key for key, _ in self.store.items(table, _pattern(fields), self._loop.now)])

    def _items(self, table: str, fields: dict[str, Any], raw: dict[str, bytes]) -> bytes:
        items = self.store.items(table, _pattern(fields), self._loop.now)
        pair = b"\x20\x00\x00\x00\x02"
        parts = [b"\x20" + len(items).to_bytes(4, "big")]
        for key, value in items:
            parts += (pair, encode(key), value)
        return b"".join(parts)

    def _clear(self, table: str, fields: dict[str, Any], raw: dict[str, bytes]) -> bytes:
        self.store.clear(table)
        return _TRUE

    def _ensure(self, table: str, fields: dict[str, Any], raw: dict[str, bytes]) -> bytes:
        bounds = None
        if any(fields.get(name) is not None for name in Bounds._fields):
            bounds = Bounds(_bound(fields, "max_entries"), _bound(fields, "max_bytes"), bool(fields.get("evict")))
        self.store.ensure(table, bounds)
        return _TRUE

    def _exists(self, table: str, fields: dict[str, Any], raw: dict[str, bytes]) -> bytes:
        if fields.get("key") is None:
            return _bool(table in self.store.tables)
        return _bool(self.store.exists(table, _key(fields), self._loop.now))

    def _incr(self, table: str, fields: dict[str, Any], raw: dict[str, bytes]) -> bytes:
        amount = fields.get("value")
        if amount is None:
            amount = 1
        if type(amount) not in (int, float):
            raise StashError(f"cannot increment by {amount!r}")
        return self.store.incr(table, _key(fields), amount, self._loop.now, _ttl(fields))

    def _put_if_absent(self, table: str, fields: dict[str, Any], raw: dict[str, bytes]) -> bytes:
        value = raw.get("value", b"\x00")
        return _bool(self.store.put_if_absent(table, _key(fields), value, self._loop.now, _ttl(fields)))

    def _compare_and_set(self, table: str, fields: dict[str, Any], raw: dict[str, bytes]) -> bytes:
        expected, value = raw.get("expected"), raw.get("value", b"\x00")
        return _bool(self.store.compare_and_set(table, _key(fields), expected, value, self._loop.now, _ttl(fields)))

    def _update(self, table: str, fields: dict[str, Any], raw: dict[str, bytes]) -> bytes:
        if type(fields.get("value")) is not dict:
            raise StashError("update needs a dict")
        _, items, _ = _read(raw["value"])
        return encode(self.store.update(table, items.items(), self._loop.now, _ttl(fields)))

    # Time

    def _await_end(self) -> None:
        """Have entries taken out when they end, so that those who watch are told."""
        end = self.store.next_end()
        if end is not None and (self._expiry is None or end < self._expiry.when):
            if self._expiry is not None:
                self._expiry.cancel()
            self._expiry = self._loop.call_at(end, self._expire)

    def _expire(self) -> None:
        self._expiry = None
        self.store.expire(self._loop.now)
        self._await_end()

    # Watching

    def _watch(self, caller: Caller, request_id: int, name: str, pattern: str | None) -> None:
        self.store.ensure(name).watched = True
        watcher = _Watcher(self, caller, request_id, name, pattern)
        self._watchers.setdefault(name, []).append(watcher)
        caller.watches[request_id] = watcher
        # The first item says that from now on nothing is missed.
        caller.send_frame(whole(chunk_frame(request_id, {"op": "watching"})))

    def _tell(self, change: Change) -> None:
        for watcher in list(self._watchers.get(change.table, ())):
            watcher.tell(change)

    def forget(self, watcher: _Watcher) -> None:
        """It watches no more."""
        watchers = self._watchers.get(watcher.table, [])
        if watcher in watchers:
            watchers.remove(watcher)
            watcher.caller.watches.pop(watcher.request_id, None)
        if not watchers:
            self._watchers.pop(watcher.table, None)
            table = self.store.tables.get(watcher.table)
            if table is not None:
                table.watched = False


class _Watcher:
    """One stream of changes, to one caller."""

    def __init__(self, desk: StashDesk, caller: Caller, request_id: int, table: str, pattern: str | None) -> None:
        self.desk = desk
        self.caller = caller
        self.request_id = request_id
        self.table = table
        self.pattern = pattern

    def tell(self, change: Change) -> None:
        key = change.key
        if key is not None and self.pattern is not None and not fnmatchcase(key_text(key), self.pattern):
            return
        if self.caller.unread > _MAX_UNREAD:
            self.desk.forget(self)
            reason = f"the changes of {self.table} come faster than they are read: watch anew, and read what there is"
            self.caller.send_error(self.request_id, StashError(reason))
            return
        parts = [b"\x21" + (2 + (change.value is not None)).to_bytes(4, "big")]
        parts += (encode("op"), encode(change.op), _KEY, encode(key))
        if change.value is not None:
            parts += (_VALUE, change.value)
        data = b"\x21\x00\x00\x00\x01" + encode("data") + b"".join(parts)
        self.caller.send_frame(HEADER.pack(MAGIC, VERSION, CHUNK, len(data), self.request_id) + data)

    def cancel(self) -> None:
        """The client wants no more."""
        self.desk.forget(self)
        self.caller.send_frame(HEADER.pack(MAGIC, VERSION, END, 0, self.request_id))


def _read(payload: bytes) -> tuple[dict[str, Any], dict[str, bytes], int]:
    """The fields of a payload decoded, the same as bytes, and how many there are. Raises ProtocolError."""
    if payload[:1] != b"\x21" or len(payload) < 5:
        raise DirtyProtocolError("the payload of STASH is a dict", payload)
    count = int.from_bytes(payload[1:5], "big")
    fields: dict[str, Any] = {}
    raw: dict[str, bytes] = {}
    at = 5
    for _ in range(count):
        name, start = decode_from(payload, at)
        if type(name) is not str:
            raise DirtyProtocolError("a key of STASH's payload is no str", payload)
        fields[name], at = decode_from(payload, start)
        raw[name] = payload[start:at]
    if at != len(payload):
        raise DirtyProtocolError("bytes follow the payload of STASH", payload)
    return fields, raw, count


def _bool(value: bool) -> bytes:
    return _TRUE if value else _FALSE


def _key(fields: dict[str, Any]) -> Key:
    key = fields.get("key")
    if type(key) not in (str, int, bytes):
        raise StashError(f"a key of the stash is a str, an int or bytes, not {key!r}")
    found: Key = key  # type: ignore[assignment]
    return found


def _pattern(fields: dict[str, Any]) -> str | None:
    pattern = fields.get("pattern")
    if pattern is not None and type(pattern) is not str:
        raise StashError(f"a pattern is a str, not {pattern!r}")
    return pattern


def _ttl(fields: dict[str, Any]) -> float | None:
    ttl = fields.get("ttl")
    if ttl is None:
        return None
    if type(ttl) not in (int, float) or not 0 < ttl < math.inf:
        raise StashError(f"ttl is {ttl!r}; it must be a number of seconds over 0")
    return float(min(ttl, _LONGEST))


def _bound(fields: dict[str, Any], name: str) -> int | None:
    value = fields.get(name)
    if value is not None and (type(value) is not int or value < 0):
        raise StashError(f"{name} is {value!r}; it must be 0 or more, or None")
    return value
