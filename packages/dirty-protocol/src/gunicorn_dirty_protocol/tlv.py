"""Values as bytes and back: the TLV codec (type, length, value) that every payload is written in.

Called by the message classes, and by whoever wants a value without a message. Source: docs/protocol.md, "Values".

Encoding appends pieces to a list and joins them once; the function for a value is found by its type in one table.
Decoding is one loop with a stack of its own, so that no input can exhaust Python's.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from .errors import DecodeError, EncodeError, ErrorKind, ProtocolError
from .header import Buffer
from .limits import DEFAULT_LIMITS, Limits

__all__ = ["decode", "decode_from", "encode", "encode_chunks"]

NONE, BOOL, INT, FLOAT, BYTES, STR, LIST, DICT = 0x00, 0x01, 0x05, 0x06, 0x10, 0x11, 0x20, 0x21

_pack_int = struct.Struct(">Bq").pack
_pack_float = struct.Struct(">Bd").pack
_pack_head = struct.Struct(">BI").pack
_int_from = struct.Struct(">q").unpack_from
_float_from = struct.Struct(">d").unpack_from
_size_from = struct.Struct(">I").unpack_from

_NONE = b"\x00"
_TRUE = b"\x01\x01"
_FALSE = b"\x01\x00"
# Bytes values from this size on are pieces of their own, so that they are copied once (by the join) or not at all.
_LARGE = 1024

# The encoded forms of dict keys, which are few and come again and again. Bounded, since keys may also be data.
_keys: dict[str, bytes] = {}
_MAX_KEYS = 4096
_MAX_KEY_LENGTH = 64

_Append = Callable[[Any], None]


def encode(value: object, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """The bytes of `value`: None, bool, int, float, bytes-like, str, and lists, tuples and dicts of these.

    Keys that are not str are encoded as ``str(key)``; subclasses are encoded as what they derive from.

    :raises EncodeError: with the offset that the value at fault would have had
    """
    return b"".join(encode_chunks(value, limits))


def encode_chunks(value: object, limits: Limits = DEFAULT_LIMITS) -> list[Buffer]:
    """Like :func:`encode`, as a list of pieces to be joined or given to ``sendmsg``.

    Large bytes values are pieces of their own, not copied: they must not change until the pieces are sent.
    """
    chunks: list[Buffer] = []
    try:
        _value(value, chunks.append, limits, 0)
    except ProtocolError as error:
        error.offset = sum(map(len, chunks))
        raise
    except RecursionError:
        raise EncodeError(ErrorKind.TOO_DEEP, "nested deeper than Python's stack", sum(map(len, chunks))) from None
    return chunks


def _value(value: Any, append: _Append, limits: Limits, depth: int) -> None:
    kind = type(value)
    encoder = _ENCODERS.get(kind)
    if encoder is None:
        encoder = _encoder_of_base(value)
    encoder(value, append, limits, depth)


def _encode_none(value: None, append: _Append, limits: Limits, depth: int) -> None:
    append(_NONE)


def _encode_bool(value: bool, append: _Append, limits: Limits, depth: int) -> None:
    append(_TRUE if value else _FALSE)


def _encode_int(value: int, append: _Append, limits: Limits, depth: int) -> None:
    try:
        append(_pack_int(INT, value))
    except struct.error:
        raise EncodeError(ErrorKind.INT_RANGE, f"an integer of {value.bit_length()} bits is beyond int64") from None


def _encode_float(value: float, append: _Append, limits: Limits, depth: int) -> None:
    append(_pack_float(FLOAT, value))


def _encode_bytes(value: Any, append: _Append, limits: Limits, depth: int) -> None:
    if type(value) is memoryview:
        value = value.cast("B") if value.c_contiguous else value.tobytes()
    size = len(value)
    if size > limits.max_length:
        raise EncodeError(ErrorKind.TOO_LONG, f"{size} bytes exceed the limit of {limits.max_length}")
    head = _pack_head(BYTES, size)
    if size < _LARGE:
        append(head + value)
    else:
        append(head)
        append(value)


def _encode_str(value: str, append: _Append, limits: Limits, depth: int) -> None:
    append(_str(value, limits))


def _str(value: str, limits: Limits) -> bytes:
    try:
        raw = str.encode(value)
    except UnicodeEncodeError:
        raise EncodeError(ErrorKind.BAD_UTF8, "a str with lone surrogates has no UTF-8") from None
    size = len(raw)
    if size > limits.max_length:
        raise EncodeError(ErrorKind.TOO_LONG, f"a str of {size} bytes exceeds the limit of {limits.max_length}")
    return _pack_head(STR, size) + raw


def _head(code: int, value: Any, limits: Limits, depth: int) -> bytes:
    """The head of a container, after its limits are checked."""
    if depth >= limits.max_depth:
        raise EncodeError(ErrorKind.TOO_DEEP, f"nested deeper than {limits.max_depth}: cyclic?")
    count = len(value)
    if count > limits.max_items:
        raise EncodeError(ErrorKind.TOO_MANY_ITEMS, f"{count} items exceed the limit of {limits.max_items}")
    return _pack_head(code, count)


def _encode_list(value: Any, append: _Append, limits: Limits, depth: int) -> None:
    append(_head(LIST, value, limits, depth))
    depth += 1
    for item in value:
        encoder = _ENCODERS.get(type(item))
        if encoder is None:
            encoder = _encoder_of_base(item)
        encoder(item, append, limits, depth)


def _encode_dict(value: Any, append: _Append, limits: Limits, depth: int) -> None:
    append(_head(DICT, value, limits, depth))
    depth += 1
    for key, item in value.items():
        append(_keys.get(key) or _key(key, limits))
        encoder = _ENCODERS.get(type(item))
        if encoder is None:
            encoder = _encoder_of_base(item)
        encoder(item, append, limits, depth)


def _key(key: Any, limits: Limits) -> bytes:
    if not isinstance(key, str):
        return _str(str(key), limits)
    encoded = _str(key, limits)
    # Only exact str are kept: 1, True and 1.0 would meet in the table, and a subclass may define equality.
    if type(key) is str and len(encoded) <= _MAX_KEY_LENGTH:
        if len(_keys) >= _MAX_KEYS:
            _keys.clear()
        _keys[key] = encoded
    return encoded


_Encoder = Callable[[Any, _Append, Limits, int], None]

_ENCODERS: dict[type, _Encoder] = {
    type(None): _encode_none,
    bool: _encode_bool,
    int: _encode_int,
    float: _encode_float,
    bytes: _encode_bytes,
    bytearray: _encode_bytes,
    memoryview: _encode_bytes,
    str: _encode_str,
    list: _encode_list,
    tuple: _encode_list,
    dict: _encode_dict,
}
_BASES = (str, int, float, dict, list, tuple, bytes, bytearray)


def _encoder_of_base(value: object) -> _Encoder:
    for base in _BASES:
        if isinstance(value, base):
            return _ENCODERS[base]
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    raise EncodeError(
        ErrorKind.UNSUPPORTED,
        f"a value of type {kind} cannot be carried: convert it to plain data (str, dict, bytes …)",
    )


def decode(data: Buffer, limits: Limits = DEFAULT_LIMITS) -> Any:
    """The value whose encoding `data` is, all of it.

    :raises DecodeError: with the offset of the value at fault (of the first byte too much, for trailing)
    """
    value, end = decode_from(data, 0, limits)
    if end != len(data):
        raise DecodeError(ErrorKind.TRAILING, f"{len(data) - end} bytes follow the value", end)
    return value


def decode_from(data: Buffer, offset: int = 0, limits: Limits = DEFAULT_LIMITS) -> tuple[Any, int]:
    """The value that starts at `offset` of `data`, and the offset behind it.

    :raises DecodeError: truncated when `data` ends inside the value
    """
    at = offset
    try:
        return _decode(data, offset, limits)
    except _RefusedError as refused:
        kind, reason, at = refused.args
    raise DecodeError(kind, reason, at)


class _RefusedError(Exception):
    """Kind, reason and offset on their way out of the loop."""


def _decode(data: Any, pos: int, limits: Limits) -> tuple[Any, int]:
    end = len(data)
    max_length = limits.max_length
    stack: list[tuple[Any, int, Any]] = []
    target: Any = None  # the container being filled; None while the outermost value is read
    left = 0
    key: Any = None
    value: Any
    at = pos
    try:
        while True:
            at = pos
            code = data[pos]
            if code == STR:
                start = pos + 5
                pos = start + _size_from(data, pos + 1)[0]
                if pos > end or pos - start > max_length:
                    _check_length(pos - start, limits, at)
                    raise IndexError
                value = str(data[start:pos], "utf-8")
            elif code == INT:
                value = _int_from(data, pos + 1)[0]
                pos += 9
            elif code == FLOAT:
                value = _float_from(data, pos + 1)[0]
                pos += 9
            elif code in (DICT, LIST):
                count = _size_from(data, pos + 1)[0]
                pos += 5
                _check_container(count, len(stack), limits, at)
                value = {} if code == DICT else []
                if count:
                    stack.append((target, left, key))
                    target, left = value, count
                    key = None
                    if code == DICT:
                        key, pos = _decode_key(data, pos, limits)
                    continue
            elif code == NONE:
                value = None
                pos += 1
            elif code == BOOL:
                value = data[pos + 1] != 0
                pos += 2
            elif code == BYTES:
                start = pos + 5
                pos = start + _size_from(data, pos + 1)[0]
                if pos > end or pos - start > max_length:
                    _check_length(pos - start, limits, at)
                    raise IndexError
                value = bytes(data[start:pos])
            else:
                raise _RefusedError(ErrorKind.UNKNOWN_CODE, f"type code 0x{code:02x} is unknown", at)
            while True:
                if target is None:
                    return value, pos
                if key is None:
                    target.append(value)
                else:
                    target[key] = value
                left -= 1
                if left:
                    break
                value = target
                target, left, key = stack.pop()
            if key is not None:
                key, pos = _decode_key(data, pos, limits)
    except (IndexError, struct.error):
        raise _RefusedError(ErrorKind.TRUNCATED, "the bytes end inside the value", at) from None
    except UnicodeDecodeError:
        raise _RefusedError(ErrorKind.BAD_UTF8, "a str that is not UTF-8", at) from None


def _decode_key(data: Any, pos: int, limits: Limits) -> tuple[str, int]:
    try:
        if data[pos] != STR:
            raise _RefusedError(ErrorKind.KEY_NOT_STR, f"a dict's key has type code 0x{data[pos]:02x}, not str", pos)
        start = pos + 5
        end = start + _size_from(data, pos + 1)[0]
        if end - start > limits.max_length:
            _check_length(end - start, limits, pos)
        if end > len(data):
            raise IndexError
        return str(data[start:end], "utf-8"), end
    except (IndexError, struct.error):
        raise _RefusedError(ErrorKind.TRUNCATED, "the bytes end inside a dict's key", pos) from None
    except UnicodeDecodeError:
        raise _RefusedError(ErrorKind.BAD_UTF8, "a dict's key that is not UTF-8", pos) from None


def _check_length(size: int, limits: Limits, at: int) -> None:
    if size > limits.max_length:
        raise _RefusedError(ErrorKind.TOO_LONG, f"{size} bytes exceed the limit of {limits.max_length}", at)


def _check_container(count: int, depth: int, limits: Limits, at: int) -> None:
    if depth >= limits.max_depth:
        raise _RefusedError(ErrorKind.TOO_DEEP, f"nested deeper than {limits.max_depth}", at)
    if count > limits.max_items:
        raise _RefusedError(ErrorKind.TOO_MANY_ITEMS, f"{count} items exceed the limit of {limits.max_items}", at)
