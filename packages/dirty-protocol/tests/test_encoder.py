from __future__ import annotations

import collections
import enum
import sys
from typing import Any

import pytest
from gunicorn_dirty_protocol import EncodeError, ErrorKind, Limits, encode, encode_chunks, encoder


class Colour(str, enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Text(str):
    pass


Point = collections.namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "same"),
    [
        ((1, 2), [1, 2]),
        (Point(1, 2), [1, 2]),
        (collections.OrderedDict(a=1), {"a": 1}),
        (collections.defaultdict(int, a=1), {"a": 1}),
        (Colour.RED, "red"),
        (Text("t"), "t"),
        (Level.HIGH, 3),
        (type("Half", (float,), {})(0.5), 0.5),
        (type("Raw", (bytes,), {})(b"r"), b"r"),
        (type("Items", (list,), {})([1]), [1]),
        (bytearray(b"abc"), b"abc"),
        (memoryview(b"abc"), b"abc"),
        (memoryview(b"abcdef")[::2], b"ace"),
        (memoryview(b"abc").cast("c"), b"abc"),
        ([Text("t"), Level.HIGH, Colour.RED], ["t", 3, "red"]),
        ({"a": Text("t"), "b": Level.HIGH}, {"a": "t", "b": 3}),
        ([bytearray(b"x" * 5000)], [b"x" * 5000]),
        ({"a": memoryview(b"x" * 5000)}, {"a": b"x" * 5000}),
    ],
)
def test_subclasses_and_kin_are_encoded_as_what_they_derive_from(value: Any, same: Any) -> None:
    assert encode(value) == encode(same)


@pytest.mark.parametrize("key", [1, None, True, 1.0, (1, 2), b"a", Level.HIGH])
def test_keys_are_encoded_as_their_str(key: Any) -> None:
    assert encode({key: 0}) == encode({str(key): 0})


def test_keys_that_are_equal_to_known_ones_keep_their_own_str() -> None:
    for _ in range(2):
        assert encode({1: 0}) == encode({"1": 0})
        assert encode({True: 0}) == encode({"True": 0})
        assert encode({1.0: 0}) == encode({"1.0": 0})
    assert encode({Colour.RED: 0}) == encode({"red": 0})


def test_the_table_of_keys_is_bounded() -> None:
    for number in range(5000):
        encode({f"key {number}": 1})
    assert len(encoder._known_keys) <= 4096
    encode({"x" * 65: 1})
    assert "x" * 65 not in encoder._known_keys


@pytest.mark.parametrize(
    ("value", "kind", "offset"),
    [
        (object(), ErrorKind.UNSUPPORTED, 0),
        ([None, 1j], ErrorKind.UNSUPPORTED, 6),
        ({"a": range(3)}, ErrorKind.UNSUPPORTED, 11),
        ({"a": (i for i in "")}, ErrorKind.UNSUPPORTED, 11),
        ("\ud800", ErrorKind.BAD_UTF8, 0),
        (["ok", "\udc80"], ErrorKind.BAD_UTF8, 12),
        ({"k": "\udfff"}, ErrorKind.BAD_UTF8, 11),
        ({"k": 1, "\udfff": 1}, ErrorKind.BAD_UTF8, 20),
        ([1] * 40 + ["\udfff"], ErrorKind.BAD_UTF8, 5 + 40 * 9),
    ],
)
def test_what_cannot_be_carried_is_refused_with_its_offset(value: Any, kind: ErrorKind, offset: int) -> None:
    with pytest.raises(EncodeError) as caught:
        encode(value)
    assert (caught.value.kind, caught.value.offset) == (kind, offset)


def test_the_refusal_of_a_type_names_it_and_the_way_out() -> None:
    with pytest.raises(EncodeError, match=r"type decimal\.Context cannot be carried; make plain data of it"):
        encode(__import__("decimal").getcontext())


@pytest.mark.parametrize(
    ("value", "limits", "kind", "offset"),
    [
        ("abcd", {"max_length": 3}, ErrorKind.TOO_LONG, 0),
        (["abc", "abcd"], {"max_length": 3}, ErrorKind.TOO_LONG, 13),
        ({"abc": "abcd"}, {"max_length": 3}, ErrorKind.TOO_LONG, 13),
        ({"abcd": 1}, {"max_length": 3}, ErrorKind.TOO_LONG, 5),
        ("é" * 100, {"max_length": 199}, ErrorKind.TOO_LONG, 0),
        ({"k": "x" * 200}, {"max_length": 199}, ErrorKind.TOO_LONG, 11),
        (b"abcd", {"max_length": 3}, ErrorKind.TOO_LONG, 0),
        ([None] * 3, {"max_items": 2}, ErrorKind.TOO_MANY_ITEMS, 0),
        ([{"a": 1, "b": 2}], {"max_items": 1}, ErrorKind.TOO_MANY_ITEMS, 5),
        ([[[]]], {"max_depth": 2}, ErrorKind.TOO_DEEP, 10),
        ({"a": {}}, {"max_depth": 1}, ErrorKind.TOO_DEEP, 11),
        ([], {"max_depth": 0}, ErrorKind.TOO_DEEP, 0),
    ],
)
def test_limits(value: Any, limits: dict[str, Any], kind: ErrorKind, offset: int) -> None:
    with pytest.raises(EncodeError) as caught:
        encode(value, Limits(**limits))
    assert (caught.value.kind, caught.value.offset) == (kind, offset)
    ((name, limit),) = limits.items()
    assert encode(value, Limits(**{name: limit + 1}))


@pytest.mark.parametrize("make", [list, dict])
def test_a_value_that_contains_itself_is_too_deep(make: Any) -> None:
    value = make()
    if isinstance(value, list):
        value.append(value)
    else:
        value["self"] = value
    with pytest.raises(EncodeError, match="does a list or dict contain itself") as caught:
        encode(value)
    assert caught.value.kind is ErrorKind.TOO_DEEP


def test_a_stack_that_is_not_deep_enough_is_a_typed_error() -> None:
    value: list[Any] = []
    for _ in range(sys.getrecursionlimit() * 2):
        value = [value]
    with pytest.raises(EncodeError, match="Python's stack") as caught:
        encode(value, Limits(max_depth=2**20))
    assert caught.value.kind is ErrorKind.TOO_DEEP


@pytest.mark.parametrize("size", [31, 32, 33, 64, 200])
@pytest.mark.parametrize("kind", [int, float])
def test_blocks_of_numbers_are_the_numbers_one_by_one(size: int, kind: Any) -> None:
    numbers = [kind(number * 1000003 - 7) for number in range(size)]
    each = b"".join(map(encode, numbers))
    assert encode(numbers) == b"\x20" + size.to_bytes(4, "big") + each
    assert encode(tuple(numbers)) == encode(numbers)
    assert encode([*numbers, True]) == b"\x20" + (size + 1).to_bytes(4, "big") + each + encode(True)


def test_large_bytes_are_pieces_of_their_own_and_not_copied() -> None:
    blob = bytes(5000)
    chunks = encode_chunks({"a": [blob], "b": b"small"})
    assert any(chunk is blob for chunk in chunks)
    assert b"".join(chunks) == encode({"a": [blob], "b": b"small"})
