from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from gunicorn_dirty_protocol import V1_LIMITS, DecodeError, EncodeError, ErrorKind, Limits, decode, encode

VALUES = [
    2**63,
    -(2**63) - 1,
    datetime(2026, 1, 1),
    Decimal("1.5"),
    UUID(int=5),
    {1},
    frozenset({1}),
    memoryview(bytes(4)).cast("i"),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_extensions_can_be_forbidden_in_both_directions(value: Any) -> None:
    kind = ErrorKind.INT_RANGE if isinstance(value, int) else ErrorKind.UNSUPPORTED
    for around, offset in ((value, 0), ([None, value], 6), ({"k": value}, 11), ([1] * 40 + [value], 365)):
        with pytest.raises(EncodeError, match="which the limits forbid") as caught:
            encode(around, V1_LIMITS)
        assert (caught.value.kind, caught.value.offset) == (kind, offset)
        with pytest.raises(DecodeError) as refused:
            decode(encode(around), V1_LIMITS)
        assert (refused.value.kind, refused.value.offset) == (ErrorKind.FORBIDDEN_CODE, offset)


@pytest.mark.parametrize("value", [2**100, Decimal("1234567890123"), memoryview(bytes(16)).cast("d"), {"a long str"}])
def test_an_extension_over_the_limit_of_length_is_refused(value: Any) -> None:
    with pytest.raises(EncodeError) as caught:
        encode(value, Limits(max_length=12))
    assert caught.value.kind is ErrorKind.TOO_LONG


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, 2**71 - 1, 2**71, -(2**71), -(2**71) - 1, 10**500, -(10**500)])
def test_integers_of_any_size(value: int) -> None:
    data = encode(value)
    assert decode(data) == value
    assert int.from_bytes(data[1:5], "big") == len(data) - 5 == (value if value > 0 else ~value).bit_length() // 8 + 1
    assert decode(encode({"k": [value, 1]})) == {"k": [value, 1]}


def test_subclasses_of_int_may_be_big_too() -> None:
    big = type("Big", (int,), {})
    assert decode(encode([big(2**70), big(7)])) == [2**70, 7]


def test_an_offset_that_is_not_whole_seconds_is_refused() -> None:
    with pytest.raises(EncodeError, match="whole seconds"):
        encode(datetime(2026, 1, 1, tzinfo=timezone(timedelta(microseconds=1))))


def test_sets_obey_the_limits_of_items_and_depth() -> None:
    assert decode(encode({1, 2}, Limits(max_items=2))) == {1, 2}
    for limits in (Limits(max_items=1), Limits(max_depth=0)):
        with pytest.raises(EncodeError):
            encode({1, 2}, limits)
        with pytest.raises(DecodeError):
            decode(encode({1, 2}), limits)
    with pytest.raises(EncodeError) as caught:
        encode([frozenset({frozenset()})], Limits(max_depth=2))
    assert caught.value.kind is ErrorKind.TOO_DEEP


def test_lists_within_sets_are_tuples_again() -> None:
    value = {(1, ("a", (b"b",))), ()}
    assert decode(encode(value)) == value


def test_bytes_within_sets_are_never_views() -> None:
    assert decode(encode({b"x" * 100}), views_from=0) == {b"x" * 100}


def test_a_value_within_a_set_that_cannot_be_carried_is_refused_at_the_set() -> None:
    with pytest.raises(EncodeError) as caught:
        encode([None, {object()}])
    assert (caught.value.kind, caught.value.offset) == (ErrorKind.UNSUPPORTED, 6)


def test_a_decimal_beyond_pythons_exponents_is_refused() -> None:
    text = b"15E+999999999999999999"
    with pytest.raises(DecodeError) as caught:
        decode(b"\x33" + len(text).to_bytes(4, "big") + text)
    assert caught.value.kind is ErrorKind.BAD_EXTENSION


def test_a_buffer_that_cannot_be_read_is_refused() -> None:
    released = memoryview(b"abc")
    released.release()
    with pytest.raises(EncodeError) as caught:
        encode([released])
    assert caught.value.kind is ErrorKind.UNSUPPORTED


@pytest.mark.parametrize(
    ("name", "value"), [("bool_", True), ("int64", -5), ("uint8", 7), ("float32", 0.5), ("float64", 0.5)]
)
def test_scalars_of_numpy_are_pythons(name: str, value: Any) -> None:
    numpy = pytest.importorskip("numpy", reason="numpy is not installed")
    again = decode(encode([getattr(numpy, name)(value)]))
    assert again == [value]
    assert type(again[0]) is type(value)


def test_scalars_of_numpy_without_a_code_are_refused() -> None:
    numpy = pytest.importorskip("numpy", reason="numpy is not installed")
    for value in (numpy.complex128(1j), numpy.datetime64("2026-01-01"), numpy.longdouble(1)):
        with pytest.raises(EncodeError):
            encode(value)


def test_numpy_is_not_imported_for_a_value() -> None:
    script = "import sys, gunicorn_dirty_protocol as p; p.encode([2**70, {1}]); sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
