"""Bytes to values: the decoding half of the TLV codec.

Called by tlv.py and the extensions. A value is decoded where its container's loop meets it, as a call per value would
cost as much as the value; containers, bytes and extensions are calls. In every loop `pos` is the start of the value
(or key) at hand until that is complete, so that an error of any kind has its offset.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Any

from .codes import (
    BOOL,
    BYTES,
    DICT,
    EXTENSIONS,
    FLOAT,
    HEAD_SIZE,
    INT,
    LIST,
    MAX_KNOWN_KEY,
    MAX_KNOWN_KEYS,
    MIN_RUN,
    NONE,
    STR,
    unpack_size,
)
from .errors import DecodeError, ErrorKind
from .header import Buffer
from .limits import Limits

__all__ = ["Context", "context", "decode_dict", "decode_key", "decode_value", "refused"]

_unpack_int = struct.Struct(">xq").unpack_from
_unpack_float = struct.Struct(">xd").unpack_from

# A block of a list that holds only ints or only floats; unpacking many at once saves the call for each.
_BLOCK = 64
_BLOCKS = {INT: struct.Struct(">" + "xq" * _BLOCK), FLOAT: struct.Struct(">" + "xd" * _BLOCK)}

_RANGES = tuple(range(count) for count in range(MIN_RUN))  # to save the small containers the making of one

_NO_KEY = (b"", bytes((STR,)))  # what a key that is cut short can start with
_known_keys: dict[bytes, str] = {}  # a key's whole encoding, head included, to the key
_known_key = _known_keys.get
_text_of_bytes = bytes.decode


# What stays the same while one value is decoded, as a plain tuple because every container unpacks it: the end of what
# may be read, max_items, UTF-8 of this kind of buffer to str, a known key's encoding to the key, limits, views_from.
Context = tuple[int, int, Callable[[Any], str], Callable[[Any], "str | None"], Limits, int]


def context(data: Buffer, limits: Limits, views_from: int | None) -> Context:
    """The context for decoding from `data`, bytes or memoryview; see :func:`gunicorn_dirty_protocol.tlv.decode`."""
    end = len(data)
    plain = type(data) is bytes
    if plain and views_from is None and end <= limits.max_length >= MAX_KNOWN_KEY:  # nearly always
        return end, limits.max_items, _text_of_bytes, _known_key, limits, end + 1
    text: Callable[[Any], str] = _text_of_bytes if plain else _text_of_view
    if end > limits.max_length:  # else none of its str can be too long, and the loops need not look
        text = partial(_checked_text, limits.max_length)
    known = _known_key if plain and limits.max_length >= MAX_KNOWN_KEY else _never_known
    return end, limits.max_items, text, known, limits, end + 1 if views_from is None else views_from


def _text_of_view(raw: memoryview) -> str:
    return str(raw, "utf-8")


def _checked_text(longest: int, raw: bytes | memoryview) -> str:
    if len(raw) > longest:
        raise OverflowError
    return str(raw, "utf-8")


def _never_known(raw: object) -> None:
    """For buffers whose slices have no hash, and for limits that a known key may break."""


def decode_value(data: Any, pos: int, room: int, ctx: Context) -> tuple[Any, int]:
    """The value at `pos`, which may nest `room` levels deep, and the offset behind it.

    :raises DecodeError: with the offset of the value at fault
    """
    try:
        code = data[pos]
        if code == DICT:
            return decode_dict(data, pos, room, ctx)
        if code == LIST:
            return _decode_list(data, pos, room, ctx)
        if code == STR:
            return _decode_str(data, pos, ctx)
        if code == INT:
            return _unpack_int(data, pos)[0], pos + 9
        if code == FLOAT:
            return _unpack_float(data, pos)[0], pos + 9
        if code == NONE:
            return None, pos + 1
        if code == BOOL:
            return data[pos + 1] != 0, pos + 2
        return _decode_other(data, pos, room, ctx)
    except (IndexError, struct.error):
        raise _truncated(pos) from None


def decode_dict(data: Any, pos: int, room: int, ctx: Context) -> tuple[dict[str, Any], int]:
    """:func:`decode_value` where the value is known to be a dict, as that of every payload is."""
    end, most, text, known, limits, _ = ctx
    result: dict[str, Any] = {}
    key: str | None = ""
    try:
        count = unpack_size(data, pos)[0]
        if count > most or room < 1:
            raise refused(count, pos, limits)
        pos += 5
        for _ in _RANGES[count] if count < MIN_RUN else range(count):
            key = None
            stop = pos + 5 + data[pos + 4]
            key = known(data[pos:stop])
            if key is None:
                key, stop = decode_key(data, pos, ctx)
            pos = stop
            code = data[pos]
            if code < 0x10:
                if code == INT:
                    result[key] = _unpack_int(data, pos)[0]
                    pos += 9
                elif code == FLOAT:
                    result[key] = _unpack_float(data, pos)[0]
                    pos += 9
                elif code == NONE:
                    result[key] = None
                    pos += 1
                elif code == BOOL:
                    result[key] = data[pos + 1] != 0
                    pos += 2
                else:
                    raise _unknown(code, pos)
            elif code == STR:
                stop = pos + 5 + unpack_size(data, pos)[0]
                if stop > end:
                    raise _cut(stop, pos, limits)
                result[key] = text(data[pos + 5 : stop])
                pos = stop
            elif code == DICT:
                result[key], pos = decode_dict(data, pos, room - 1, ctx)
            elif code == LIST:
                result[key], pos = _decode_list(data, pos, room - 1, ctx)
            else:
                result[key], pos = _decode_other(data, pos, room - 1, ctx)
    except (IndexError, struct.error):
        raise _not_str(data, pos) if key is None and data[pos : pos + 1] not in _NO_KEY else _truncated(pos) from None
    except OverflowError:
        raise _cut(stop, pos, limits) from None
    except UnicodeDecodeError as error:
        raise _bad_utf8(error, pos) from None
    return result, pos


def _decode_list(data: Any, pos: int, room: int, ctx: Context) -> tuple[list[Any], int]:
    end, most, text, _, limits, _ = ctx
    result: list[Any] = []
    append = result.append
    item: Any
    try:
        count = unpack_size(data, pos)[0]
        if count > most or room < 1:
            raise refused(count, pos, limits)
        pos += 5
        if count >= MIN_RUN and pos + 9 * count <= end:
            code = data[pos]
            if code in _BLOCKS and data[pos : pos + 9 * count : 9] == bytes((code,)) * count:
                return _decode_run(data, pos, count, code), pos + 9 * count
        for _ in _RANGES[count] if count < MIN_RUN else range(count):
            code = data[pos]
            if code < 0x10:
                if code == INT:
                    append(_unpack_int(data, pos)[0])
                    pos += 9
                elif code == FLOAT:
                    append(_unpack_float(data, pos)[0])
                    pos += 9
                elif code == NONE:
                    append(None)
                    pos += 1
                elif code == BOOL:
                    append(data[pos + 1] != 0)
                    pos += 2
                else:
                    raise _unknown(code, pos)
            elif code == STR:
                stop = pos + 5 + unpack_size(data, pos)[0]
                if stop > end:
                    raise _cut(stop, pos, limits)
                append(text(data[pos + 5 : stop]))
                pos = stop
            else:
                if code == DICT:
                    item, pos = decode_dict(data, pos, room - 1, ctx)
                elif code == LIST:
                    item, pos = _decode_list(data, pos, room - 1, ctx)
                else:
                    item, pos = _decode_other(data, pos, room - 1, ctx)
                append(item)
    except (IndexError, struct.error):
        raise _truncated(pos) from None
    except OverflowError:
        raise _cut(stop, pos, limits) from None
    except UnicodeDecodeError as error:
        raise _bad_utf8(error, pos) from None
    return result, pos


def _decode_run(data: Any, pos: int, count: int, code: int) -> list[Any]:
    """The items of a list of which every one is known to have this code, INT or FLOAT."""
    block = _BLOCKS[code]
    stop = pos + 9 * count
    middle = pos + count // _BLOCK * block.size
    items = list(chain.from_iterable(block.iter_unpack(data[pos:middle])))
    unpack = _unpack_int if code == INT else _unpack_float
    items += [unpack(data, at)[0] for at in range(middle, stop, 9)]
    return items


def decode_key(data: Any, pos: int, ctx: Context) -> tuple[str, int]:
    """The dict's key at `pos`, and the offset behind it. A key that is not too long is known from then on.

    :raises DecodeError: with the offset of the key
    """
    if data[pos : pos + 1] not in _NO_KEY:
        raise _not_str(data, pos)
    try:
        key, stop = _decode_str(data, pos, ctx)
    except struct.error:
        raise _truncated(pos) from None
    if stop - pos - HEAD_SIZE <= MAX_KNOWN_KEY:
        if len(_known_keys) >= MAX_KNOWN_KEYS:
            _known_keys.clear()
        _known_keys[bytes(data[pos:stop])] = key
    return key, stop


def _decode_str(data: Any, pos: int, ctx: Context) -> tuple[str, int]:
    end, _, text, _, limits, _ = ctx
    stop = pos + HEAD_SIZE + unpack_size(data, pos)[0]
    if stop > end:
        raise _cut(stop, pos, limits)
    try:
        return text(data[pos + HEAD_SIZE : stop]), stop
    except OverflowError:
        raise _cut(stop, pos, limits) from None
    except UnicodeDecodeError as error:
        raise _bad_utf8(error, pos) from None


def _decode_other(data: Any, pos: int, room: int, ctx: Context) -> tuple[Any, int]:
    """What is no str, number, None, bool, list or dict: bytes, an extension, or nothing known."""
    end, _, _, _, limits, views_from = ctx
    code = data[pos]
    if code != BYTES and code not in EXTENSIONS:
        raise _unknown(code, pos)
    if code != BYTES and not limits.extensions:
        raise DecodeError(ErrorKind.FORBIDDEN_CODE, f"type code 0x{code:02x} is an extension, which limits forbid", pos)
    size = unpack_size(data, pos)[0]
    stop = pos + HEAD_SIZE + size
    if stop > end or size > limits.max_length:
        raise _cut(stop, pos, limits)
    if code == BYTES:
        if size >= views_from:
            return memoryview(data)[pos + HEAD_SIZE : stop], stop
        return bytes(data[pos + HEAD_SIZE : stop]), stop
    from . import extensions  # only now, as uuid and decimal are slow to import and most processes never need them

    return extensions.decode_extension(data, pos, stop, room, ctx), stop


def refused(count: int, pos: int, limits: Limits) -> DecodeError:
    """The error for a container that is over a limit."""
    if count > limits.max_items:
        return DecodeError(ErrorKind.TOO_MANY_ITEMS, f"{count} items exceed the limit of {limits.max_items}", pos)
    return DecodeError(ErrorKind.TOO_DEEP, f"nested deeper than {limits.max_depth} levels", pos)


def _cut(stop: int, pos: int, limits: Limits) -> DecodeError:
    """The error for a value from `pos` to `stop` whose length is over the limit, or that is not all there."""
    size = stop - pos - HEAD_SIZE
    if size > limits.max_length:
        return DecodeError(ErrorKind.TOO_LONG, f"{size} bytes exceed the limit of {limits.max_length}", pos)
    return _truncated(pos)


def _unknown(code: int, pos: int) -> DecodeError:
    return DecodeError(ErrorKind.UNKNOWN_CODE, f"type code 0x{code:02x} is unknown", pos)


def _not_str(data: Any, pos: int) -> DecodeError:
    return DecodeError(ErrorKind.KEY_NOT_STR, f"a dict's key is of type code 0x{data[pos]:02x}, not a str", pos)


def _truncated(pos: int) -> DecodeError:
    return DecodeError(ErrorKind.TRUNCATED, "the bytes end inside the value (or key) that starts here", pos)


def _bad_utf8(error: UnicodeDecodeError, pos: int) -> DecodeError:
    return DecodeError(ErrorKind.BAD_UTF8, f"a str that is not UTF-8: {error.reason}, {error.start} bytes into it", pos)
