"""Any value, there and back: the codec as a whole."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from gunicorn_dirty_protocol import V1_LIMITS, DecodeError, ErrorKind, ProtocolError, decode, encode
from hypothesis import given, settings
from hypothesis import strategies as st

V1_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.binary(max_size=100)
    | st.text(max_size=150)
)


def nested(scalars: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=70), inner, max_size=4),
        max_leaves=12,
    )


OFFSETS = st.none() | st.integers(-86399, 86399).map(lambda seconds: timezone(timedelta(seconds=seconds)))
HASHABLE = (
    st.integers()
    | st.text()
    | st.binary()
    | st.uuids()
    | st.datetimes(timezones=st.just(timezone.utc))
    | st.decimals(allow_nan=False)
)
EXTENSIONS = (
    V1_SCALARS
    | HASHABLE
    | st.builds(lambda when, offset: when.replace(tzinfo=offset), st.datetimes(), OFFSETS)
    | st.sets(HASHABLE | st.tuples(HASHABLE, HASHABLE), max_size=5)
    | st.frozensets(HASHABLE, max_size=5)
)


@given(nested(V1_SCALARS))
@settings(max_examples=100, deadline=None)
def test_v1_values_come_back(value: Any) -> None:
    data = encode(value, V1_LIMITS)
    assert data == encode(value)
    for buffer in (data, bytearray(data), memoryview(data)):
        assert decode(buffer, V1_LIMITS) == value


@given(nested(EXTENSIONS))
@settings(max_examples=100, deadline=None)
def test_extensions_come_back_with_their_types(value: Any) -> None:
    again = decode(encode(value))
    assert again == value
    assert type(again) is type(value)


@given(st.binary(max_size=200))
@settings(max_examples=500, deadline=None)
def test_any_bytes_are_a_value_or_a_typed_error(data: bytes) -> None:
    try:
        value = decode(data)
    except DecodeError as error:
        assert 0 <= error.offset <= len(data)  # noqa: PT017
    else:
        decode(encode(value))


@given(nested(V1_SCALARS), st.data())
@settings(max_examples=100, deadline=None)
def test_a_changed_byte_is_a_value_or_a_typed_error(value: Any, data: st.DataObject) -> None:
    encoded = bytearray(encode(value))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] = data.draw(st.integers(0, 255))
    try:
        decode(bytes(encoded))
    except ProtocolError:
        pass


@given(nested(V1_SCALARS), st.binary(min_size=1, max_size=3))
@settings(max_examples=50, deadline=None)
def test_bytes_behind_the_value_are_trailing(value: Any, more: bytes) -> None:
    data = encode(value)
    with pytest.raises(DecodeError) as caught:
        decode(data + more)
    assert (caught.value.kind, caught.value.offset) == (ErrorKind.TRAILING, len(data))


def test_decimals_keep_their_zeros_and_their_kind_of_nan() -> None:
    for text in ("1.10", "-0", "0E-10", "sNaN12", "-NaN", "-Infinity", "1E+30"):
        assert str(decode(encode(Decimal(text)))) == text


def test_datetimes_keep_their_offset() -> None:
    value = datetime(2026, 7, 28, 12, 0, tzinfo=timezone(timedelta(hours=-5, minutes=-30)))
    again = decode(encode(value))
    assert again.isoformat() == value.isoformat()
    assert decode(encode(value.replace(tzinfo=None))).tzinfo is None
