"""The codec: any JSON value through any split of its bytes, and every kind of bad bytes."""

import itertools
import struct
from typing import Any

import pytest
from gunicorn.control.errors import FrameTooLargeError, InvalidMessageError
from gunicorn.control.framing import MAX_FRAME_SIZE, FrameDecoder, decode_json, encode_frame
from hypothesis import given, settings
from hypothesis import strategies as st

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def test_bytes_are_those_of_the_wire_document() -> None:
    assert encode_frame({"id": 1, "x": "é"}) == b"\x00\x00\x00\x15" + rb'{"id":1,"x":"\u00e9"}'
    assert MAX_FRAME_SIZE == 16 * 1024 * 1024


@settings(deadline=None)
@given(st.lists(json_values, max_size=4), st.lists(st.integers(1, 100), min_size=1, max_size=8))
def test_round_trip_in_any_pieces(values: list[Any], sizes: list[int]) -> None:
    stream = b"".join(encode_frame(value) for value in values)
    decoder = FrameDecoder()
    received = []
    for size in itertools.cycle(sizes):
        if not stream:
            break
        decoder.receive_data(stream[:size])
        stream = stream[size:]
        while (frame := decoder.next_frame()) is not None:
            received.append(decode_json(frame))
    assert received == values
    assert not decoder.mid_frame


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_hostile_bytes_raise_only_typed_errors(data: bytes) -> None:
    decoder = FrameDecoder(limit=100)
    decoder.receive_data(data)
    try:
        while (frame := decoder.next_frame()) is not None:
            decode_json(frame)
    except (FrameTooLargeError, InvalidMessageError):
        pass


def test_mid_frame_is_true_from_the_first_byte_to_the_last() -> None:
    decoder = FrameDecoder()
    stream = encode_frame([1])
    for byte in stream:
        assert decoder.next_frame() is None
        decoder.receive_data(bytes([byte]))
        assert decoder.mid_frame
    assert decoder.next_frame() == b"[1]"
    assert not decoder.mid_frame


def test_a_length_over_the_limit_is_refused_before_its_bytes_arrive() -> None:
    decoder = FrameDecoder(limit=10)
    decoder.receive_data(encode_frame("12345678") + struct.pack(">I", 11))
    assert decoder.next_frame() == b'"12345678"'
    for _ in range(2):
        with pytest.raises(FrameTooLargeError, match="11 bytes exceeds the limit of 10") as caught:
            decoder.next_frame()
        assert (caught.value.size, caught.value.limit) == (11, 10)


def test_a_value_over_the_limit_is_not_encoded() -> None:
    assert len(encode_frame("x" * 8, limit=10)) == 14
    with pytest.raises(FrameTooLargeError):
        encode_frame("x" * 9, limit=10)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON: .* at character 1"),
        (b"{} {}", "not JSON: Extra data"),
        (b"\xff", "not UTF-8: .* at byte 0"),
        (b"NaN", "NaN is no JSON number"),
        (b"-Infinity", "no JSON number"),
        (b"9" * 5000, "not JSON"),
        (b"[" * 60000, "nested too deeply"),
    ],
)
def test_payloads_that_are_no_json(payload: bytes, reason: str) -> None:
    with pytest.raises(InvalidMessageError, match=reason):
        decode_json(payload)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), b"bytes"])
def test_values_without_a_json_form_are_not_encoded(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        encode_frame(value)
