from __future__ import annotations

import array
import ctypes
import sys
from collections.abc import Iterator
from typing import Any, cast

import pytest
from gunicorn_dirty_protocol import EncodeError, ErrorKind, arrays, decode, encode, encode_chunks


@pytest.fixture
def without_numpy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "numpy", None)
    arrays._numpy.cache_clear()
    yield
    arrays._numpy.cache_clear()


@pytest.fixture
def numpy() -> Any:
    arrays._numpy.cache_clear()
    return pytest.importorskip("numpy", reason="numpy is not installed")


@pytest.mark.parametrize("letter", "bBhHiIqQfd")
def test_arrays_without_numpy_are_typed_views(letter: str, without_numpy: None) -> None:
    value = array.array(letter, [0, 1, 2, 100])
    again = decode(encode(value))
    assert type(again) is memoryview
    assert (again.format, again.shape, again.tolist()) == (letter, (4,), value.tolist())
    again[0] = 9
    assert again[0] == 9


def test_shapes_without_numpy(without_numpy: None) -> None:
    value = memoryview(array.array("d", range(6))).cast("B").cast("d", (2, 3))
    assert decode(encode({"a": value}))["a"].tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert decode(encode(memoryview(bytes(8)).cast("d", ()))).shape == ()
    assert decode(encode(memoryview(b"\x01\x00").cast("?"))).tolist() == [True, False]
    for hexed in ("310000000a0c02" + "00000000" + "00000003", "310000000a0102" + "00000003" + "00000000"):
        empty = decode(bytes.fromhex(hexed))
        assert (empty.shape, empty.nbytes) == ((0,), 0)


def test_half_floats_without_numpy_are_widened(without_numpy: None) -> None:
    value = decode(bytes.fromhex("310000000a" + "0a01" + "00000002" + "003e" + "00c0"))
    assert (value.format, value.tolist()) == ("f", [1.5, -2.0])


def test_views_of_arrays(without_numpy: None) -> None:
    data = encode(array.array("i", range(100)))
    view = decode(data, views_from=0)
    assert view.readonly
    assert view.obj is data
    assert view.tolist() == list(range(100))


def test_a_large_array_is_a_piece_of_its_own_and_not_copied() -> None:
    value = array.array("d", bytes(80000))
    pieces = [piece for piece in encode_chunks([value]) if type(piece) is memoryview]
    assert [piece.obj for piece in pieces] == [value]


def test_other_byte_orders_are_turned(without_numpy: None) -> None:
    value = (ctypes.c_int32.__ctype_be__ * 3)(1, -2, 3)
    assert decode(encode(value)).tolist() == [1, -2, 3]
    value = (ctypes.c_int32.__ctype_le__ * 3)(1, -2, 3)
    assert decode(encode(value)).tolist() == [1, -2, 3]


def test_a_big_endian_machine_writes_little_endian(monkeypatch: pytest.MonkeyPatch, without_numpy: None) -> None:
    value = array.array("i", [1, -2])
    value.byteswap()
    expected = encode(array.array("i", [1, -2]))
    monkeypatch.setattr(arrays, "_BIG_ENDIAN", True)
    assert encode(value) == expected
    assert decode(expected).tolist() == value.tolist()
    assert encode(array.array("b", [1, -2])) == b"\x31\x00\x00\x00\x08\x02\x01\x00\x00\x00\x02\x01\xfe"


@pytest.mark.parametrize("value", [(ctypes.c_wchar * 2)(), (ctypes.c_longdouble * 2)()])
def test_arrays_of_other_things_are_refused(value: Any) -> None:
    with pytest.raises(EncodeError, match="only of bool, int and float") as caught:
        encode(value)
    assert caught.value.kind is ErrorKind.UNSUPPORTED


class FakeView:
    """A memoryview of a size that no test has memory for."""

    format = "d"
    itemsize = 8
    ndim = 1
    shape = (2**32,)


def test_too_many_dimensions_or_too_long_ones_are_refused() -> None:
    with pytest.raises(EncodeError, match="33 dimensions"):
        encode(memoryview(bytes(8)).cast("d", [1] * 33))
    with pytest.raises(EncodeError) as caught:
        arrays.encode_array(cast(memoryview, FakeView()))
    assert caught.value.kind is ErrorKind.TOO_LONG


DTYPES = ["bool", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", ">f4", ">i8"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_of_numpy_come_back(dtype: str, numpy: Any) -> None:
    for shape in ((), (0,), (7,), (2, 3), (2, 0, 3), (2, 1, 2, 2)):
        size = int(numpy.prod(shape))
        value = (numpy.arange(size) % 2).astype(dtype).reshape(shape)
        again = decode(encode([value]))[0]
        assert again.dtype == value.dtype.newbyteorder("=")
        assert again.shape == value.shape
        assert (again == value).all()
        assert again.flags.writeable


def test_arrays_of_numpy_in_any_order_of_memory(numpy: Any) -> None:
    value = numpy.arange(24.0).reshape(2, 3, 4)
    for other in (value.T, numpy.asfortranarray(value), value[:, ::2], value[::-1]):
        assert (decode(encode(other)) == other).all()


def test_views_of_arrays_of_numpy(numpy: Any) -> None:
    data = encode(numpy.arange(100))
    again = decode(data, views_from=10)
    assert not again.flags.writeable
    assert (again == numpy.arange(100)).all()


@pytest.mark.parametrize("dtype", ["c8", "U3", "O", "i4,f8"])
def test_arrays_of_numpy_without_a_code_are_refused(dtype: str, numpy: Any) -> None:
    with pytest.raises(EncodeError) as caught:
        encode(numpy.zeros(2, dtype))
    assert caught.value.kind is ErrorKind.UNSUPPORTED


@pytest.mark.parametrize("dtype", ["M8[s]", "m8[s]"])
def test_arrays_of_numpy_without_a_buffer_are_refused(dtype: str, numpy: Any) -> None:
    with pytest.raises(EncodeError) as caught:
        encode(numpy.zeros(2, dtype))
    assert caught.value.kind is ErrorKind.UNSUPPORTED
