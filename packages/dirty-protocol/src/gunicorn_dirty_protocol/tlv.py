"""Values as bytes and back: the public functions of the TLV codec (type, length, value) that payloads are written in.

Called by the message classes, and by whoever wants a value without a message. Source: docs/protocol.md, "Values".
"""

from __future__ import annotations

from typing import Any

from .codes import DICT
from .decoder import context, decode_dict, decode_value
from .encoder import ENCODERS, encoder_of
from .errors import DecodeError, EncodeError, ErrorKind
from .header import Buffer
from .limits import DEFAULT_LIMITS, Limits

__all__ = ["decode", "decode_from", "encode", "encode_chunks"]

_DICT = bytes((DICT,))


def encode(value: object, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """The bytes of `value`: None, bool, int, float, bytes-like, str, lists, tuples and dicts, and the extensions'
    types.

    Keys that are not str are encoded as ``str(key)``, tuples as lists, subclasses as what they derive from.

    :raises EncodeError: with the offset that the value at fault would have had (for one within a set, the set's)
    """
    chunks: list[Buffer] = []
    try:
        (ENCODERS.get(type(value)) or encoder_of(value))(value, chunks.append, limits.max_depth, limits)
    except (EncodeError, RecursionError) as error:
        raise _failed(error, chunks) from None
    return b"".join(chunks)


def encode_chunks(value: object, limits: Limits = DEFAULT_LIMITS) -> list[Buffer]:
    """Like :func:`encode`, as a list of pieces to be joined or given to ``sendmsg``.

    Large bytes values and arrays are pieces of their own, not copied: they must not change until the pieces are sent.
    """
    chunks: list[Buffer] = []
    try:
        (ENCODERS.get(type(value)) or encoder_of(value))(value, chunks.append, limits.max_depth, limits)
    except (EncodeError, RecursionError) as error:
        raise _failed(error, chunks) from None
    return chunks


def _failed(error: EncodeError | RecursionError, chunks: list[Buffer]) -> EncodeError:
    """The error to raise when these chunks were made before *error*, with the offset that they give it."""
    if isinstance(error, RecursionError):
        error = EncodeError(ErrorKind.TOO_DEEP, "nested deeper than Python's stack")
    error.offset = sum(map(len, chunks))
    return error


def decode(data: Buffer, limits: Limits = DEFAULT_LIMITS, *, views_from: int | None = None) -> Any:
    """The value whose encoding `data` is, all of it.

    :param views_from: bytes values (and arrays) of at least this many bytes are memoryviews of `data` instead of
        copies; they keep
        `data` alive. None: always copies.
    :raises DecodeError: with the offset of the value at fault (of the first byte too much, for trailing)
    """
    if type(data) is bytearray:
        data = memoryview(data)
    try:
        # Payloads are dicts, and most are small: what surrounds the decoding of one counts.
        decoder = decode_dict if data[:1] == _DICT else decode_value
        value, end = decoder(data, 0, limits.max_depth, context(data, limits, views_from))
    except RecursionError:
        raise _exhausted(0) from None
    if end != len(data):
        raise DecodeError(ErrorKind.TRAILING, f"{len(data) - end} bytes follow the value", end)
    return value


def decode_from(
    data: Buffer, offset: int = 0, limits: Limits = DEFAULT_LIMITS, *, views_from: int | None = None
) -> tuple[Any, int]:
    """The value that starts at `offset` of `data`, and the offset behind it.

    :param views_from: as for :func:`decode`
    :raises DecodeError: truncated when `data` ends inside the value
    """
    if type(data) is bytearray:
        data = memoryview(data)
    try:
        return decode_value(data, offset, limits.max_depth, context(data, limits, views_from))
    except RecursionError:
        raise _exhausted(offset) from None


def _exhausted(offset: int) -> DecodeError:
    return DecodeError(ErrorKind.TOO_DEEP, "nested deeper than Python's stack allows", offset)
