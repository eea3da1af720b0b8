"""Typed arrays of any number of dimensions: the content of the extension ARRAY.

Called by extensions.py. What has Python's buffer protocol (numpy arrays, array.array, typed memoryviews, ctypes) is
encoded, without numpy being needed; decoded it is a numpy array where numpy is installed, else a typed memoryview.
Source: docs/protocol.md, "Arrays".
"""

from __future__ import annotations

import functools
import importlib
import math
import struct
import sys
from array import array
from typing import Any

from .errors import EncodeError, ErrorKind
from .header import Buffer

__all__ = ["decode_array", "encode_array"]

MAX_DIMENSIONS = 32

# (kind of number, bytes of one) to the wire's code, and the code to (bytes of one, memoryview's format, numpy's name).
_CODES = {
    ("?", 1): 0x01,
    ("i", 1): 0x02,
    ("u", 1): 0x03,
    ("i", 2): 0x04,
    ("u", 2): 0x05,
    ("i", 4): 0x06,
    ("u", 4): 0x07,
    ("i", 8): 0x08,
    ("u", 8): 0x09,
    ("f", 2): 0x0A,
    ("f", 4): 0x0B,
    ("f", 8): 0x0C,
}
_TYPES = {
    0x01: (1, "?", "bool"),
    0x02: (1, "b", "int8"),
    0x03: (1, "B", "uint8"),
    0x04: (2, "h", "int16"),
    0x05: (2, "H", "uint16"),
    0x06: (4, "i", "int32"),
    0x07: (4, "I", "uint32"),
    0x08: (8, "q", "int64"),
    0x09: (8, "Q", "uint64"),
    0x0A: (2, "e", "float16"),
    0x0B: (4, "f", "float32"),
    0x0C: (8, "d", "float64"),
}
_KINDS = {"?": "?"} | dict.fromkeys("bhilqn", "i") | dict.fromkeys("BHILQN", "u") | dict.fromkeys("efd", "f")

_BIG_ENDIAN = sys.byteorder == "big"  # the wire is little-endian, as nearly all machines are


def encode_array(view: memoryview) -> tuple[bytes, Buffer]:
    """The content of an array as what stands in front of the numbers, and the numbers.

    The numbers are not copied if they lie in C order and little-endian, as they do in a fresh numpy array.

    :raises EncodeError: for numbers without a code (complex, long double, records, text) or more than 32 dimensions
    """
    shape = view.shape or ()
    order = view.format[0] if view.format[0] in "@=<>!" else "@"
    letter = view.format.lstrip("@=<>!")
    code = _CODES.get((_KINDS.get(letter, ""), view.itemsize))
    if code is None:
        reason = f"an array of format {view.format!r} cannot be carried, only of bool, int and float up to 64 bits"
        raise EncodeError(ErrorKind.UNSUPPORTED, reason)
    if view.ndim > MAX_DIMENSIONS:
        raise EncodeError(ErrorKind.UNSUPPORTED, f"an array of {view.ndim} dimensions, more than {MAX_DIMENSIONS}")
    if max(shape, default=0) > 0xFFFFFFFF:
        raise EncodeError(ErrorKind.TOO_LONG, f"an array of shape {shape}: a dimension is at most 4294967295")
    head = struct.pack(f">BB{view.ndim}I", code, view.ndim, *shape)
    swapped = order in ">!" or (order in "@=" and _BIG_ENDIAN)
    if swapped and view.itemsize > 1:
        return head, _swapped(view.tobytes(), view.itemsize)
    try:
        return head, view.cast("B")
    except TypeError:  # not in C order, empty, or of a format with an explicit byte order
        return head, view.tobytes()


def _swapped(data: Buffer, size: int) -> bytes:
    """The same numbers of `size` bytes each, with their bytes in the other order."""
    result = bytearray(len(data))
    for column in range(size):
        result[column::size] = data[size - 1 - column :: size]
    return bytes(result)


def decode_array(content: memoryview, copy: bool) -> Any:
    """The array with this content: a numpy array, or a typed memoryview where there is no numpy.

    :param copy: whether the array is writable memory of its own; else it is a read-only view of `content`
    :raises ValueError: when the content breaks the rules
    """
    if len(content) < 2:
        raise ValueError("an array without type and number of dimensions")
    code, dimensions = content[0], content[1]
    if code not in _TYPES:
        raise ValueError(f"an array of the unknown number type 0x{code:02x}")
    start = 2 + 4 * dimensions
    if dimensions > MAX_DIMENSIONS or start > len(content):
        raise ValueError(f"an array of {dimensions} dimensions, too many or not all there")
    shape = struct.unpack_from(f">{dimensions}I", content, 2)
    size, letter, name = _TYPES[code]
    data = content[start:]
    if math.prod(shape) * size != len(data):
        raise ValueError(f"an array of shape {shape} and {size} bytes a number in {len(data)} bytes")
    if letter == "?" and bytes(data).translate(None, b"\x00\x01"):
        raise ValueError("an array of bool with a byte that is neither 0 nor 1")
    numpy = _numpy()
    if _BIG_ENDIAN and size > 1:
        data = memoryview(_swapped(data, size))
    memory: Any = bytearray(data) if copy else data.toreadonly()
    if numpy is not None:
        return numpy.frombuffer(memory, name).reshape(shape)
    return _typed_view(memoryview(memory), letter, shape)


def _typed_view(data: memoryview, letter: str, shape: tuple[int, ...]) -> memoryview:
    if letter == "e":  # memoryview reads no half floats: they are widened
        letter = "f"
        data = memoryview(array("f", struct.unpack(f"={len(data) // 2}e", data))).cast("B")
    if not len(data):  # memoryview has no shape with a zero in it, except that of nothing
        return memoryview(array(letter if letter != "?" else "B"))
    # The checker knows casts to literal formats only.
    cast: Any = data.cast
    view: memoryview = cast(letter, shape)
    return view


@functools.cache
def _numpy() -> Any:
    """The module numpy, None where it is not installed. Imported when the first array arrives."""
    try:
        return importlib.import_module("numpy")
    except ImportError:
        return None
