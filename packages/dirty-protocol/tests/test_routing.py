from __future__ import annotations

import sys
from typing import Any

import pytest
from gunicorn_dirty_protocol import (
    DecodeError,
    ErrorKind,
    Limits,
    MessageError,
    ProtocolError,
    Request,
    Routing,
    encode,
    read_routing,
)
from gunicorn_dirty_protocol.routing import MAX_ROUTING

OPTIONS = {"deadline": 2.5, "priority": 3, "traceparent": "00-ab", "idempotency_key": "i"}


@pytest.mark.parametrize("options", [{}, OPTIONS])
@pytest.mark.parametrize("buffer", [bytes, bytearray, memoryview])
def test_routing_is_read_from_the_shortest_prefix_that_holds_it(options: dict[str, Any], buffer: Any) -> None:
    payload = Request(1, "m:A", "go", [b"x" * 900], **options).to_bytes()[16:]
    front = payload.index(b"args") + 4
    for cut in range(front):
        assert read_routing(buffer(payload[:cut])) is None
    for cut in (front, front + 1, len(payload)):
        assert read_routing(buffer(payload[:cut])) == Routing("m:A", "go", **options)


def test_keys_of_others_are_skipped() -> None:
    payload = encode({"app_path": "m:A", "colour": [{"red": 1}], "action": "go", "args": []})
    assert read_routing(payload) == Routing("m:A", "go")


def test_a_payload_without_arguments() -> None:
    assert read_routing(encode({"app_path": "m:A", "action": "go"})) == Routing("m:A", "go")


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (encode([1]), ErrorKind.BAD_PAYLOAD),
        (encode({"args": [], "app_path": "m:A", "action": "go"}), ErrorKind.BAD_PAYLOAD),
        (encode({"app_path": "m:A", "kwargs": {}, "action": "go"}), ErrorKind.BAD_PAYLOAD),
        (encode({"app_path": "m:A", "action": 1}), ErrorKind.BAD_PAYLOAD),
        (encode({}), ErrorKind.BAD_PAYLOAD),
    ],
)
def test_a_front_that_lacks_a_field_is_refused(payload: bytes, kind: ErrorKind) -> None:
    with pytest.raises(MessageError) as caught:
        read_routing(payload)
    assert caught.value.kind is kind


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (b"\x00", ErrorKind.KEY_NOT_STR),
        (b"\x20\x00\x00\x00\x00", ErrorKind.KEY_NOT_STR),
        (b"\x31\x00\x00\x00\x07\x01\x01\x00\x00\x00\x01\x00", ErrorKind.KEY_NOT_STR),
        (b"\x7f", ErrorKind.KEY_NOT_STR),
        (b"\x11\x00\x00\x00\x01\xff", ErrorKind.BAD_UTF8),
        (b"\x11\x00\x00\x00\x01a\x7f", ErrorKind.UNKNOWN_CODE),
    ],
)
def test_a_front_that_is_no_value_is_refused(key: bytes, kind: ErrorKind) -> None:
    with pytest.raises(ProtocolError) as caught:
        read_routing(b"\x21\x00\x00\x00\x05" + key + b"\x00" * 9)
    assert caught.value.kind is kind


def test_a_front_without_an_end_is_refused_at_last() -> None:
    payload = encode({"app_path": "m:A", "junk": "x" * MAX_ROUTING})
    assert read_routing(payload[: MAX_ROUTING - 1]) is None
    with pytest.raises(DecodeError) as caught:
        read_routing(payload[:MAX_ROUTING])
    assert caught.value.kind is ErrorKind.TOO_LONG


def test_a_stack_that_is_not_deep_enough_is_a_typed_error() -> None:
    payload = b"\x21\x00\x00\x00\x02" + encode("junk") + b"\x20\x00\x00\x00\x01" * (sys.getrecursionlimit() * 2)
    with pytest.raises(DecodeError, match="Python's stack"):
        read_routing(payload, Limits(max_depth=2**20))
