"""The message classes against the whole messages of the wire format's table, and what they refuse."""

from __future__ import annotations

import dataclasses
import types
from typing import Any

import pytest
from gunicorn_dirty_protocol import (
    V1_LIMITS,
    Chunk,
    DecodeError,
    EncodeError,
    End,
    Error,
    ErrorKind,
    ErrorType,
    FrameAssembler,
    FrameError,
    Limits,
    Manage,
    ManageOp,
    MessageError,
    Request,
    Response,
    Stash,
    StashOp,
    Status,
    encode,
    parse,
    parse_frame,
    unpack_header,
)

WHOLE = [
    (
        Request(1, "m:A", "go", [1, "é"], {"k": None}),
        (
            "47440101000000610000000000000001210000000411000000086170705f7061746811000000036d3a411100000006616374696f6e11000000"
            "02676f11000000046172677320000000020500000000000000011100000002c3a911000000066b7761726773210000000111000000016b00"
        ),
    ),
    (
        Response(1, {"1": b"\x00\xff", "f": 1.5}),
        (
            "4744010200000031000000000000000121000000011100000006726573756c742100000002110000000131100000000200ff11000000016606"
            "3ff8000000000000"
        ),
    ),
    (
        Response(2, [True, False, None, -1]),
        "4744010200000023000000000000000221000000011100000006726573756c742000000004010101000005ffffffffffffffff",
    ),
    (
        Error(3, ErrorType.TIMEOUT.value, "late", {"timeout": 5}),
        (
            "47440103000000740000000000000003210000000111000000056572726f722100000003110000000a6572726f725f74797065110000001144"
            "6972747954696d656f75744572726f7211000000076d65737361676511000000046c617465110000000764657461696c732100000001110000"
            "000774696d656f7574050000000000000005"
        ),
    ),
    (Chunk(4, "tok"), "4744010400000016000000000000000421000000011100000004646174611100000003746f6b"),
    (End(4), "47440105000000000000000000000004"),
    (Status(5), "47440111000000000000000000000005"),
    (
        Manage(6, ManageOp.ADD, 2),
        "47440112000000280000000000000006210000000211000000026f700500000000000000011100000005636f756e74050000000000000002",
    ),
    (
        Stash(7, StashOp.PUT, "t", "k", 1),
        (
            "47440110000000460000000000000007210000000411000000026f7005000000000000000111000000057461626c6511000000017411000000"
            "036b657911000000016b110000000576616c7565050000000000000001"
        ),
    ),
    (
        Stash(2**64 - 1, StashOp.KEYS, "t", pattern="u*"),
        (
            "4744011000000038ffffffffffffffff210000000311000000026f7005000000000000000411000000057461626c6511000000017411000000"
            "077061747465726e1100000002752a"
        ),
    ),
]


@pytest.mark.parametrize(("message", "wire"), WHOLE, ids=[f"{m.type.name}-{i}" for i, (m, _) in enumerate(WHOLE)])
def test_whole_message(message: Any, wire: str) -> None:
    assert message.to_bytes().hex() == wire
    assert parse_frame(bytes.fromhex(wire)) == message
    assert b"".join(message.chunks()).hex() == wire


def test_keys_that_are_not_str_are_written_as_str() -> None:
    assert Response(1, {1: b"\x00\xff", "f": 1.5}).to_bytes().hex() == WHOLE[1][1]


def test_every_whole_message_at_every_split() -> None:
    stream = bytes.fromhex("".join(wire for _, wire in WHOLE))
    expected = [message for message, _ in WHOLE]
    for cut in range(len(stream) + 1):
        assembler = FrameAssembler()
        frames = assembler.receive_data(stream[:cut]) + assembler.receive_data(stream[cut:])
        assembler.receive_eof()
        assert [frame.message() for frame in frames] == expected
    assembler = FrameAssembler()
    frames = [frame for i in range(len(stream)) for frame in assembler.receive_data(stream[i : i + 1])]
    assert [frame.message() for frame in frames] == expected


@pytest.mark.parametrize(("message", "wire"), WHOLE)
def test_messages_are_frozen_and_compared_by_their_fields(message: Any, wire: str) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        message.request_id = 2
    assert message == dataclasses.replace(message)
    assert message != dataclasses.replace(message, request_id=999)


def test_args_and_kwargs_may_be_of_any_kind() -> None:
    message = Request(1, "m:A", "go", range(2), types.MappingProxyType({"k": 1}))
    assert message.to_bytes() == Request(1, "m:A", "go", [0, 1], {"k": 1}).to_bytes()
    assert Request(1, "m:A", "go", (0, 1), {"k": 1}).to_bytes() == message.to_bytes()


def test_options_stand_before_the_arguments() -> None:
    payload = Request(1, "m:A", "go", deadline=2, priority=3, traceparent="t", idempotency_key="i").payload()
    assert list(payload) == [
        *("app_path", "action", "deadline", "priority", "traceparent", "idempotency_key"),
        *("args", "kwargs"),
    ]
    assert type(payload["deadline"]) is float
    assert list(Request(1, "m:A", "go").payload()) == ["app_path", "action", "args", "kwargs"]


def test_an_error_of_an_unknown_type_is_a_dirty_error() -> None:
    assert Error(1, "DirtyTimeoutError").kind is ErrorType.TIMEOUT
    assert Error(1, "SomethingOfTomorrow").kind is ErrorType.DIRTY
    assert Error(1, ErrorType.APP).to_bytes() == Error(1, "DirtyAppError").to_bytes()


def test_large_bytes_are_pieces_of_their_own() -> None:
    blob = bytes(100_000)
    header, *pieces = Response(1, blob).chunks()
    assert len(header) == 16
    assert any(piece is blob for piece in pieces)


@pytest.mark.parametrize("request_id", [-1, 2**64, "1"])
def test_a_request_id_beyond_64_bits_is_refused(request_id: Any) -> None:
    with pytest.raises(EncodeError) as caught:
        End(request_id).to_bytes()
    assert caught.value.kind is ErrorKind.INT_RANGE


def test_a_payload_over_the_limit_is_refused_before_it_is_sent() -> None:
    message = Response(1, "x" * 100)
    with pytest.raises(EncodeError, match="exceeds the limit of 50") as caught:
        message.to_bytes(Limits(max_payload=50))
    assert caught.value.kind is ErrorKind.TOO_LONG


def test_extensions_can_be_forbidden() -> None:
    with pytest.raises(EncodeError):
        Response(1, 2**70).to_bytes(V1_LIMITS)
    with pytest.raises(DecodeError):
        parse_frame(Response(1, 2**70).to_bytes(), V1_LIMITS)


def test_a_frame_of_another_length_than_it_says_is_refused() -> None:
    data = Response(1, "x").to_bytes()
    for wrong, kind, offset in ((data[:-1], ErrorKind.TRUNCATED, 0), (data + b"?", ErrorKind.TRAILING, len(data))):
        with pytest.raises(FrameError) as caught:
            parse_frame(wrong)
        assert (caught.value.kind, caught.value.offset) == (kind, offset)


def test_views_of_a_message() -> None:
    data = Chunk(1, b"x" * 100).to_bytes()
    message = parse(unpack_header(data), data[16:], views_from=100)
    assert isinstance(message, Chunk)
    assert type(message.data) is memoryview


def test_nothing_expected_is_not_the_same_as_none_expected() -> None:
    nothing = Stash(1, StashOp.COMPARE_AND_SET, "t", "k", 1)
    none = dataclasses.replace(nothing, expected=None)
    assert nothing != none
    assert "expected" not in nothing.payload()
    assert none.payload()["expected"] is None
    for message in (nothing, none):
        assert parse_frame(message.to_bytes()) == message


def test_what_version_1_knows_of_the_stash_stands_first() -> None:
    message = Stash(1, StashOp.PUT, "t", "k", 1, "*", 2, 3.0, 4, 5, evict=False)
    assert list(message.payload()) == [
        *("op", "table", "key", "value", "pattern"),
        *("ttl", "max_entries", "max_bytes", "evict", "expected"),
    ]
    assert parse_frame(message.to_bytes()) == message


@pytest.mark.parametrize("op", [ManageOp.CANCEL_CALL, ManageOp.STACKS])
def test_which_call_or_worker_is_meant_has_to_be_said(op: ManageOp) -> None:
    with pytest.raises(MessageError, match="'count' of MANAGE is missing"):
        Manage.from_payload(1, encode({"op": int(op)}))
    assert Manage.from_payload(1, encode({"op": int(ManageOp.REMOVE)})).count == 1
