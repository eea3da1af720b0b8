"""Values to bytes: the encoding half of the TLV codec.

Called by tlv.py and the extensions. The pieces are appended to a list and joined once, by the caller. What fills
payloads (str, int, float, None, bool inside dicts and lists) is written in the loops of the two containers themselves,
as a call per value would cost as much as the value; everything else is found by its type in one table.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

from .codes import BYTES, DICT, FLOAT, INT, LIST, MAX_KNOWN_KEY, MAX_KNOWN_KEYS, MIN_RUN, STR, pack_head
from .errors import EncodeError, ErrorKind
from .limits import UNCHECKED, Limits

__all__ = ["ENCODERS", "Append", "Encoder", "encode_bytes", "encode_value", "encoder_of", "refused"]

Append = Callable[[Any], None]
# value, where its pieces go, how many more levels of nesting are allowed, limits
Encoder = Callable[[Any, Append, int, Limits], None]

_pack_int = struct.Struct(">Bq").pack
_pack_float = struct.Struct(">Bd").pack

_NONE = b"\x00"
_TRUE = b"\x01\x01"
_FALSE = b"\x01\x00"
_STR_HEADS = tuple(pack_head(STR, size) for size in range(UNCHECKED))
_SMALL = 32
_LIST_HEADS = tuple(pack_head(LIST, count) for count in range(_SMALL))
_DICT_HEADS = tuple(pack_head(DICT, count) for count in range(_SMALL))
_SMALL_INTS = {number: _pack_int(INT, number) for number in range(-16, 257)}
_small_int = _SMALL_INTS.get

# Bytes values from this size on are pieces of their own, so that they are copied by the join alone, or not at all.
_LARGE = 1024

_known_keys: dict[str, bytes] = {}  # keys are at most MAX_KNOWN_KEY long, which is below UNCHECKED
_known_key = _known_keys.get
_NO_KEYS: dict[str, bytes] = {}  # for limits that a known key may break


def encode_value(value: Any, append: Append, room: int, limits: Limits) -> None:
    """Append the pieces of `value`, which may nest `room` levels deep.

    :raises EncodeError: whose offset is left 0, for the caller to set to what was appended
    """
    (ENCODERS.get(type(value)) or encoder_of(value))(value, append, room, limits)


def _encode_dict(value: dict[Any, Any], append: Append, room: int, limits: Limits) -> None:
    count = len(value)
    if room < 1 or count > limits.max_items:
        raise refused(count, limits)
    append(_DICT_HEADS[count] if count < _SMALL else pack_head(DICT, count))
    short = limits.unchecked
    known = _known_key if short else _NO_KEYS.get
    for key, item in value.items():
        append(known(key) or _encode_key(key, limits))
        kind = type(item)
        if kind is str:
            try:
                raw = item.encode()
            except UnicodeEncodeError:
                raise _surrogates() from None
            size = len(raw)
            append(_STR_HEADS[size] + raw if size < short else _long_str(raw, limits))
        elif kind is int:
            try:
                append(_small_int(item) or _pack_int(INT, item))
            except struct.error:
                encoder_of(item)(item, append, room, limits)
        elif kind is float:
            append(_pack_float(FLOAT, item))
        elif item is None:
            append(_NONE)
        elif kind is bool:
            append(_TRUE if item else _FALSE)
        elif kind is dict:
            _encode_dict(item, append, room - 1, limits)
        elif kind is list:
            _encode_list(item, append, room - 1, limits)
        else:
            (ENCODERS.get(kind) or encoder_of(item))(item, append, room - 1, limits)


def _encode_list(value: Sequence[Any], append: Append, room: int, limits: Limits) -> None:
    count = len(value)
    if room < 1 or count > limits.max_items:
        raise refused(count, limits)
    append(_LIST_HEADS[count] if count < _SMALL else pack_head(LIST, count))
    if count >= MIN_RUN and _encode_run(value, append):
        return
    short = limits.unchecked
    for item in value:
        kind = type(item)
        if kind is str:
            try:
                raw = item.encode()
            except UnicodeEncodeError:
                raise _surrogates() from None
            size = len(raw)
            append(_STR_HEADS[size] + raw if size < short else _long_str(raw, limits))
        elif kind is int:
            try:
                append(_small_int(item) or _pack_int(INT, item))
            except struct.error:
                encoder_of(item)(item, append, room, limits)
        elif kind is float:
            append(_pack_float(FLOAT, item))
        elif item is None:
            append(_NONE)
        elif kind is bool:
            append(_TRUE if item else _FALSE)
        elif kind is dict:
            _encode_dict(item, append, room - 1, limits)
        elif kind is list:
            _encode_list(item, append, room - 1, limits)
        else:
            (ENCODERS.get(kind) or encoder_of(item))(item, append, room - 1, limits)


def _encode_run(value: Sequence[Any], append: Append) -> bool:
    """Append a list that holds only floats or only ints as one block; False when it does not."""
    kind = type(value[0])
    if (kind is not float and kind is not int) or set(map(type, value)) != {kind}:
        return False
    count = len(value)
    try:
        packed = struct.pack(f">{count}{'d' if kind is float else 'q'}", *value)
    except struct.error:  # an int beyond 64 bits
        return False
    # Every ninth byte is a type code; the eight between them are laid out column by column.
    block = bytearray(9 * count)
    block[0::9] = (b"\x06" if kind is float else b"\x05") * count
    for column in range(8):
        block[column + 1 :: 9] = packed[column::8]
    append(block)
    return True


def refused(count: int, limits: Limits) -> EncodeError:
    """The error for a container that is over a limit."""
    if count > limits.max_items:
        return EncodeError(ErrorKind.TOO_MANY_ITEMS, f"{count} items exceed the limit of {limits.max_items}")
    reason = f"nested deeper than {limits.max_depth} levels; does a list or dict contain itself?"
    return EncodeError(ErrorKind.TOO_DEEP, reason)


def _encode_key(key: Any, limits: Limits) -> bytes:
    try:
        raw = str.encode(key if isinstance(key, str) else str(key))
    except UnicodeEncodeError:
        raise _surrogates() from None
    encoded = _long_str(raw, limits)
    # Only exact str are kept: 1, True and 1.0 would meet in the table, and a subclass may define equality.
    if type(key) is str and len(raw) <= MAX_KNOWN_KEY:
        if len(_known_keys) >= MAX_KNOWN_KEYS:
            _known_keys.clear()
        _known_keys[key] = encoded
    return encoded


def _long_str(raw: bytes, limits: Limits) -> bytes:
    size = len(raw)
    if size > limits.max_length:
        raise EncodeError(ErrorKind.TOO_LONG, f"a str of {size} bytes exceeds the limit of {limits.max_length}")
    return pack_head(STR, size) + raw


def _surrogates() -> EncodeError:
    return EncodeError(ErrorKind.BAD_UTF8, "a str with lone surrogates has no UTF-8; was it read with surrogateescape?")


def _encode_str(value: str, append: Append, room: int, limits: Limits) -> None:
    try:
        raw = str.encode(value)
    except UnicodeEncodeError:
        raise _surrogates() from None
    append(_long_str(raw, limits))


def _encode_int(value: int, append: Append, room: int, limits: Limits) -> None:
    try:
        append(_pack_int(INT, value))
    except struct.error:
        encoder_of(value)(value, append, room, limits)


def _encode_none(value: None, append: Append, room: int, limits: Limits) -> None:
    append(_NONE)


def _encode_bool(value: bool, append: Append, room: int, limits: Limits) -> None:
    append(_TRUE if value else _FALSE)


def _encode_float(value: float, append: Append, room: int, limits: Limits) -> None:
    append(_pack_float(FLOAT, value))


def encode_bytes(value: bytes | bytearray | memoryview, append: Append, room: int, limits: Limits) -> None:
    """Append a bytes value; a memoryview must be one of single bytes in one dimension."""
    size = len(value)
    if size > limits.max_length:
        raise EncodeError(ErrorKind.TOO_LONG, f"{size} bytes exceed the limit of {limits.max_length}")
    if size < _LARGE:
        append(pack_head(BYTES, size) + bytes(value))
    else:
        append(pack_head(BYTES, size))
        append(value)


ENCODERS: dict[type, Encoder] = {
    type(None): _encode_none,
    bool: _encode_bool,
    int: _encode_int,
    float: _encode_float,
    bytes: encode_bytes,
    bytearray: encode_bytes,
    str: _encode_str,
    list: _encode_list,
    tuple: _encode_list,
    dict: _encode_dict,
}
_BASES: tuple[type, ...] = (str, float, dict, list, tuple, bytes, bytearray)


def encoder_of(value: Any) -> Encoder:
    """The encoder of a subclass, of an int beyond 64 bits, or of an extension's value."""
    for base in _BASES:
        if isinstance(value, base):
            return ENCODERS[base]
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return _encode_int
    from . import extensions  # only now, as uuid and decimal are slow to import and most processes never need them

    return extensions.encoder_of(value)
