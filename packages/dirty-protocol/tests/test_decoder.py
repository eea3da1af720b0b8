from __future__ import annotations

import struct
import sys
import tracemalloc
from typing import Any

import pytest
from gunicorn_dirty_protocol import DecodeError, ErrorKind, Limits, decode, decode_from, decoder, encode


@pytest.mark.parametrize("code", [0x10, 0x11, 0x20, 0x21, 0x30, 0x31, 0x35])
@pytest.mark.parametrize("claim", [2**32 - 1, 2**26, 2**20])
def test_a_claim_makes_no_room(code: int, claim: int) -> None:
    data = struct.pack(">BI", code, claim)
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError):
            decode(data, Limits(max_length=2**32 - 1, max_items=2**32 - 1))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


def test_the_table_of_keys_is_bounded() -> None:
    for number in range(5000):
        assert decode(encode({f"key {number}": 1})) == {f"key {number}": 1}
    assert len(decoder._known_keys) <= 4096
    long = encode("x" * 65)
    decode(encode({"x" * 65: 1}))
    assert long not in decoder._known_keys


def test_known_keys_do_not_get_around_a_limit() -> None:
    data = encode({"a known key": 1})
    assert decode(data) == {"a known key": 1}
    with pytest.raises(DecodeError) as caught:
        decode(data, Limits(max_length=5))
    assert (caught.value.kind, caught.value.offset) == (ErrorKind.TOO_LONG, 5)


@pytest.mark.parametrize("size", [31, 32, 33, 64, 65, 200])
@pytest.mark.parametrize("kind", [int, float])
@pytest.mark.parametrize("buffer", [bytes, bytearray, memoryview])
def test_blocks_of_numbers(size: int, kind: Any, buffer: Any) -> None:
    numbers = [kind(number * 1000003 - 7) for number in range(size)]
    assert decode(buffer(encode(numbers))) == numbers
    assert decode(buffer(encode({"n": numbers, "m": [*numbers[:-1], None]}))) == {
        "n": numbers,
        "m": [*numbers[:-1], None],
    }


@pytest.mark.parametrize("value", [None, True, 5, 0.5, "é", b"b", [None, True, 5, 0.5, "é", b"b", [], {}], {"k": b"b"}])
@pytest.mark.parametrize("buffer", [bytes, bytearray, memoryview])
def test_a_value_within_other_bytes(value: Any, buffer: Any) -> None:
    data = encode(value)
    assert decode_from(buffer(b"..." + data + b"..."), 3) == (value, 3 + len(data))


def test_large_bytes_are_views_on_demand() -> None:
    data = encode({"large": b"x" * 100, "small": b"y" * 99})
    value = decode(data, views_from=100)
    assert type(value["large"]) is memoryview
    assert value["large"].obj is data
    assert value["large"] == b"x" * 100
    assert type(value["small"]) is bytes
    assert type(decode(data)["large"]) is bytes
    assert type(decode(bytearray(data))["large"]) is bytes


def test_a_stack_that_is_not_deep_enough_is_a_typed_error() -> None:
    data = b"\x20\x00\x00\x00\x01" * sys.getrecursionlimit() * 2 + b"\x00"
    for read in (decode, decode_from):
        with pytest.raises(DecodeError, match="Python's stack") as caught:
            read(data, limits=Limits(max_depth=2**20))
        assert caught.value.kind is ErrorKind.TOO_DEEP


@pytest.mark.parametrize("text", ["", "a", "é" * 30, "x" * 200])
def test_strs_in_data_that_is_longer_than_the_limit_of_one(text: str) -> None:
    value = ["x", {"k": text}, text]
    data = encode(value)
    assert decode(data, Limits(max_length=max(1, len(text.encode())))) == value
    if text:
        for part in (value, [text], {"k": text}, text):
            with pytest.raises(DecodeError) as caught:
                decode(encode(part), Limits(max_length=len(text.encode()) - 1))
            assert caught.value.kind is ErrorKind.TOO_LONG


def test_bad_utf8_says_how_and_where() -> None:
    with pytest.raises(DecodeError, match="invalid start byte, 2 bytes into it") as caught:
        decode(encode(["ok", "abc"]).replace(b"abc", b"ab\xff"))
    assert caught.value.offset == 12
