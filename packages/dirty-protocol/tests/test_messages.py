"""The message classes against the whole messages of the wire format's table, and what they refuse."""

from __future__ import annotations

import pytest
from gunicorn_dirty_protocol import (
    Chunk,
    End,
    Error,
    ErrorType,
    FrameAssembler,
    Manage,
    ManageOp,
    MessageError,
    Request,
    Response,
    Routing,
    Stash,
    StashOp,
    Status,
    parse_frame,
    read_routing,
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
def test_whole_message(message, wire):
    assert message.to_bytes().hex() == wire
    assert parse_frame(bytes.fromhex(wire)) == message
    assert b"".join(message.chunks()).hex() == wire


def test_keys_that_are_not_str_are_written_as_str():
    assert Response(1, {1: b"\x00\xff", "f": 1.5}).to_bytes().hex() == WHOLE[1][1]


def test_every_whole_message_at_every_split():
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


def test_routing_is_read_from_the_shortest_prefix_that_holds_it():
    request = Request(1, "m:A", "go", [b"x" * 9000], deadline=2.5, priority=3, traceparent="00-ab", idempotency_key="i")
    payload = request.to_bytes()[16:]
    front = payload.index(b"args") + 4
    for cut in range(front):
        assert read_routing(payload[:cut]) is None
    for cut in range(front, front + 20):
        assert read_routing(payload[:cut]) == Routing("m:A", "go", 2.5, 3, "00-ab", "i")


def test_routing_fields_behind_the_arguments_are_refused():
    with pytest.raises(MessageError, match="the field 'app_path' of REQUEST is missing"):
        read_routing(bytes.fromhex("2100000001") + b"\x11\x00\x00\x00\x04args")
