"""Values that v1 refuses: big integers, datetime, Decimal, UUID, set and frozenset (arrays are in arrays.py).

Called by the encoder for a value it has no code for and by the decoder for an extension's code, both of which import
this module when they first need it. Source: docs/protocol.md, "Extensions".
"""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from . import codes, decoder
from .arrays import decode_array, encode_array
from .codes import HEAD_SIZE, pack_head
from .decoder import Context, context, decode_value
from .encoder import Append, Encoder, encode_bytes, encode_value, refused
from .errors import DecodeError, EncodeError, ErrorKind
from .limits import Limits

__all__ = ["decode_extension", "encoder_of"]


def encoder_of(value: Any) -> Encoder:
    """The encoder of a value that v1 has no code for.

    :raises EncodeError: when there is none, or it lies beyond v1, and its code is forbidden
    """
    numpy = sys.modules.get("numpy")  # who has a value of numpy's has imported it
    if numpy is not None and isinstance(value, numpy.generic):
        return _encode_scalar if isinstance(value.item(), (bool, int, float)) else _refuse
    for kind, encoder in _ENCODERS.items():
        if isinstance(value, kind):
            return encoder
    try:
        view = memoryview(value)
    except (TypeError, ValueError, BufferError):
        return _refuse
    if type(value) is memoryview and view.format in ("B", "c") and view.ndim == 1:
        return _encode_flat_view
    return _encode_array


def _encode_scalar(value: Any, append: Append, room: int, limits: Limits) -> None:
    """numpy's bool, int and float as Python's."""
    encode_value(value.item(), append, room, limits)


def _refuse(value: Any, append: Append, room: int, limits: Limits) -> None:
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    reason = f"a value of type {kind} cannot be carried; make plain data of it (str, bytes, dict …)"
    raise EncodeError(ErrorKind.UNSUPPORTED, reason)


def _encode_flat_view(value: memoryview, append: Append, room: int, limits: Limits) -> None:
    encode_bytes(value.cast("B") if value.c_contiguous else value.tobytes(), append, room, limits)


def _encode_array(value: Any, append: Append, room: int, limits: Limits) -> None:
    head, content = encode_array(memoryview(value))
    _append_head(codes.ARRAY, len(head) + len(content), append, limits, "an array")
    append(head)
    append(content)


def _append_head(code: int, size: int, append: Append, limits: Limits, what: str) -> None:
    if not limits.extensions:
        kind = ErrorKind.INT_RANGE if code == codes.INTEGER else ErrorKind.UNSUPPORTED
        raise EncodeError(kind, f"{what} needs an extension code, which the limits forbid")
    if size > limits.max_length:
        raise EncodeError(ErrorKind.TOO_LONG, f"{what} of {size} bytes exceeds the limit of {limits.max_length}")
    append(pack_head(code, size))


# Integers beyond 64 bits: two's complement, big-endian, no byte more than needed.


def _encode_integer(value: int, append: Append, room: int, limits: Limits) -> None:
    # The bits of the magnitude and one for the sign; ~value, as -2**71 fits into the 9 bytes that 2**71 does not.
    size = (value if value >= 0 else ~value).bit_length() // 8 + 1
    _append_head(codes.INTEGER, size, append, limits, "an integer beyond 64 bits")
    append(value.to_bytes(size, "big", signed=True))


def _decode_integer(content: bytes) -> int:
    if len(content) < 9 or (content[0] in (0x00, 0xFF) and content[0] >> 7 == content[1] >> 7):
        raise ValueError("an integer that is not in its shortest form, or fits 64 bits")
    return int.from_bytes(content, "big", signed=True)


# datetime: the wall clock in microseconds since 1970-01-01T00:00, and seconds east of UTC.

_DATETIME = struct.Struct(">qi")
_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)
_FIRST = (datetime.min - _EPOCH) // _MICROSECOND
_LAST = (datetime.max - _EPOCH) // _MICROSECOND
_NAIVE = -(2**31)


def _encode_datetime(value: datetime, append: Append, room: int, limits: Limits) -> None:
    offset = value.utcoffset()
    seconds = _NAIVE
    if offset is not None:
        if offset.microseconds:
            raise EncodeError(ErrorKind.UNSUPPORTED, f"a datetime {offset} from UTC: the offset must be whole seconds")
        seconds = offset // timedelta(seconds=1)
    _append_head(codes.DATETIME, _DATETIME.size, append, limits, "a datetime")
    append(_DATETIME.pack((value.replace(tzinfo=None) - _EPOCH) // _MICROSECOND, seconds))


def _decode_datetime(content: bytes) -> datetime:
    if len(content) != _DATETIME.size:
        raise ValueError(f"a datetime has {_DATETIME.size} bytes, not {len(content)}")
    microseconds, offset = _DATETIME.unpack(content)
    if not _FIRST <= microseconds <= _LAST:
        raise ValueError("a datetime outside the years 1 to 9999")
    wall = _EPOCH + timedelta(microseconds=microseconds)
    if offset == _NAIVE:
        return wall
    if not -86400 < offset < 86400:
        raise ValueError(f"a datetime {offset} seconds from UTC, a day or more")
    return wall.replace(tzinfo=timezone(timedelta(seconds=offset)))


# Decimal: the text of the General Decimal Arithmetic specification, which keeps trailing zeros and the kind of NaN.

_DECIMAL = re.compile(rb"-?(?:[0-9]+(?:\.[0-9]+)?(?:E[+-]?[0-9]{1,18})?|Infinity|s?NaN[0-9]*)\Z")


def _encode_decimal(value: Decimal, append: Append, room: int, limits: Limits) -> None:
    text = str(value).encode()
    _append_head(codes.DECIMAL, len(text), append, limits, "a Decimal")
    append(text)


def _decode_decimal(content: bytes) -> Decimal:
    if not _DECIMAL.match(content):
        raise ValueError("a Decimal that is not written as a number")
    try:
        return Decimal(content.decode())
    except InvalidOperation:
        raise ValueError("a Decimal whose exponent is beyond Python's") from None


def _encode_uuid(value: UUID, append: Append, room: int, limits: Limits) -> None:
    _append_head(codes.UUID, 16, append, limits, "a UUID")
    append(value.bytes)


def _decode_uuid(content: bytes) -> UUID:
    if len(content) != 16:
        raise ValueError(f"a UUID has 16 bytes, not {len(content)}")
    return UUID(bytes=content)


# Sets: a count and the items, in no order.


def _encode_set(value: Any, append: Append, room: int, limits: Limits) -> None:
    code = codes.FROZENSET if isinstance(value, frozenset) else codes.SET
    if room < 1 or len(value) > limits.max_items:
        raise refused(len(value), limits)
    content: list[Any] = [len(value).to_bytes(4, "big")]
    for item in value:
        encode_value(item, content.append, room - 1, limits)
    _append_head(code, sum(map(len, content)), append, limits, "a set")
    for piece in content:
        append(piece)


def _decode_set(data: Any, pos: int, stop: int, room: int, ctx: Context) -> Any:
    limits = ctx[4]
    # The items can read no further than the content goes. They are never views, which may have no hash.
    content = memoryview(data)[:stop]
    inner = context(content, limits, None)
    at = pos + HEAD_SIZE + 4
    if at > stop:
        raise ValueError("a set without its count")
    count = int.from_bytes(data[at - 4 : at], "big")
    if count > limits.max_items or room < 1:
        raise decoder.refused(count, pos, limits)
    items = []
    for _ in range(count):
        item, at = decode_value(content, at, room - 1, inner)
        items.append(item)
    if at != stop:
        raise ValueError(f"a set with {stop - at} bytes behind its items")
    try:
        frozen = frozenset(map(_frozen, items))
    except TypeError:
        raise ValueError("a set of values that have no hash, such as a dict or an array") from None
    return frozen if data[pos] == codes.FROZENSET else set(frozen)


def _frozen(item: Any) -> Any:
    """The item with lists as tuples, which they were if they came out of a set."""
    return tuple(map(_frozen, item)) if type(item) is list else item


_ENCODERS: dict[type, Encoder] = {
    int: _encode_integer,
    datetime: _encode_datetime,
    Decimal: _encode_decimal,
    UUID: _encode_uuid,
    set: _encode_set,
    frozenset: _encode_set,
}
_DECODERS: dict[int, Callable[[bytes], Any]] = {
    codes.INTEGER: _decode_integer,
    codes.DATETIME: _decode_datetime,
    codes.DECIMAL: _decode_decimal,
    codes.UUID: _decode_uuid,
}


def decode_extension(data: Any, pos: int, stop: int, room: int, ctx: Context) -> Any:
    """The extension value from `pos` to `stop`.

    :raises DecodeError: bad_extension, when the content breaks its rules
    """
    code = data[pos]
    try:
        if code in (codes.SET, codes.FROZENSET):
            return _decode_set(data, pos, stop, room, ctx)
        if code == codes.ARRAY:
            content = memoryview(data)[pos + HEAD_SIZE : stop]
            return decode_array(content, copy=len(content) < ctx[-1])
        return _DECODERS[code](bytes(data[pos + HEAD_SIZE : stop]))
    except ValueError as error:
        raise DecodeError(ErrorKind.BAD_EXTENSION, str(error), pos) from None
