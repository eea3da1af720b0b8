"""The names that others rely on, over the protocol library."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from gunicorn.dirty import protocol
from gunicorn.dirty.errors import DirtyProtocolError, DirtyTimeoutError
from gunicorn.dirty.protocol import BinaryProtocol, DirtyProtocol

# The whole messages of the wire's description.
WIRE = [
    (
        protocol.make_request(1, "m:A", "go", (1, "é"), {"k": None}),
        (
            "47440101000000610000000000000001210000000411000000086170705f7061746811000000036d3a411100000006616374696f6e1100000002"
            "676f11000000046172677320000000020500000000000000011100000002c3a911000000066b7761726773210000000111000000016b00"
        ),
    ),
    (
        protocol.make_error_response(3, DirtyTimeoutError("late", 5)),
        (
            "47440103000000740000000000000003210000000111000000056572726f722100000003110000000a6572726f725f747970651100000011446972"
            "747954696d656f75744572726f7211000000076d65737361676511000000046c617465110000000764657461696c732100000001110000000774"
            "696d656f7574050000000000000005"
        ),
    ),
    (
        protocol.make_chunk_message(4, "tok"),
        "4744010400000016000000000000000421000000011100000004646174611100000003746f6b",
    ),
    (protocol.make_end_message(4), "47440105000000000000000000000004"),
    ({"type": "status", "id": 5}, "47440111000000000000000000000005"),
    (
        protocol.make_manage_message(6, protocol.MANAGE_OP_ADD, 2),
        "47440112000000280000000000000006210000000211000000026f700500000000000000011100000005636f756e74050000000000000002",
    ),
    (
        protocol.make_stash_message(7, protocol.STASH_OP_PUT, "t", "k", 1),
        (
            "47440110000000460000000000000007210000000411000000026f7005000000000000000111000000057461626c6511000000017411000000036b"
            "657911000000016b110000000576616c7565050000000000000001"
        ),
    ),
]


@pytest.mark.parametrize(("message", "data"), WIRE, ids=lambda value: value["type"] if isinstance(value, dict) else "")
def test_messages_have_the_bytes_of_the_wire(message: dict[str, Any], data: str) -> None:
    frame = BinaryProtocol.encode_message(message)
    assert frame.hex() == data
    kind, request_id, payload = BinaryProtocol.decode_message(frame)
    assert {"type": kind, "id": request_id, **payload} == message


def test_one_function_per_message() -> None:
    encoded = [
        BinaryProtocol.encode_request(1, "m:A", "go", (1, "é"), {"k": None}),
        BinaryProtocol.encode_error(3, DirtyTimeoutError("late", 5)),
        BinaryProtocol.encode_chunk(4, "tok"),
        BinaryProtocol.encode_end(4),
        BinaryProtocol.encode_status(5),
        BinaryProtocol.encode_manage(6, 1, 2),
        BinaryProtocol.encode_stash(7, 1, "t", "k", 1),
    ]
    assert [frame.hex() for frame in encoded] == [data for _, data in WIRE]
    frame = BinaryProtocol.encode_response(2, [True])
    assert BinaryProtocol.decode_message(frame) == ("response", 2, {"result": [True]})


def test_headers() -> None:
    header = BinaryProtocol.encode_header(protocol.MSG_TYPE_CHUNK, 9, 5)
    assert BinaryProtocol.decode_header(header) == (protocol.MSG_TYPE_CHUNK, 9, 5)
    assert BinaryProtocol.HEADER_SIZE == protocol.HEADER_SIZE == len(header) == 16


@pytest.mark.parametrize(
    "data",
    [b"", b"short", b"XX" + bytes(14), bytes.fromhex("47440104ffffffff0000000000000001"), b"GD\x01\x05" + bytes(13)],
)
def test_what_is_no_message_is_a_protocol_error(data: bytes) -> None:
    with pytest.raises(DirtyProtocolError):
        BinaryProtocol.decode_message(data)


def test_messages_that_cannot_be_encoded() -> None:
    with pytest.raises(DirtyProtocolError, match="'type'"):
        BinaryProtocol.encode_message({"id": 1})
    with pytest.raises(DirtyProtocolError, match="unknown"):
        BinaryProtocol.encode_message({"id": 1, "type": "nope"})
    with pytest.raises(DirtyProtocolError):
        BinaryProtocol.encode_response(1, object())


def test_any_exception_can_be_an_error_response() -> None:
    assert protocol.make_error_response(1, ValueError("x"))["error"]["error_type"] == "ValueError"
    assert protocol.make_error_response(1, {"error_type": "E"})["error"] == {"error_type": "E"}


def test_sockets() -> None:
    left, right = socket.socketpair()
    with left, right:
        for message, _ in WIRE:
            BinaryProtocol.write_message(left, message)
        for message, _ in WIRE:
            assert BinaryProtocol.read_message(right) == message
        left.sendall(b"GD\x01")
        left.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionError):
            BinaryProtocol.read_message(right)


def test_streams() -> None:
    async def main() -> None:
        left, right = socket.socketpair()
        reader, _unused = await asyncio.open_connection(sock=left)
        _, writer = await asyncio.open_connection(sock=right)
        await BinaryProtocol.write_message_async(writer, WIRE[0][0])
        assert await BinaryProtocol.read_message_async(reader) == WIRE[0][0]
        for stream in (writer, _unused):
            stream.close()
            await stream.wait_closed()

    asyncio.run(main())


def test_names() -> None:
    assert DirtyProtocol is BinaryProtocol
    assert protocol.MAX_MESSAGE_SIZE == 64 * 1024 * 1024
    assert [protocol.MSG_TYPE_FROM_STR[name] for name in ("request", "manage")] == [1, 0x12]
    assert protocol.STASH_OP_EXISTS == 10
    assert protocol.MANAGE_OP_REMOVE == 2
