"""The server's side of a connection without a socket: order, refusals, ends."""

import struct
from typing import Any

from gunicorn.control.connection import MAX_REQUEST_SIZE, ServerConnection
from gunicorn.control.framing import FrameDecoder, decode_json, encode_frame
from gunicorn.control.messages import Reply, Request


def frame(id: int, command: Any) -> bytes:
    return encode_frame({"id": id, "command": command})


def sent(connection: ServerConnection) -> list[Any]:
    decoder = FrameDecoder()
    decoder.receive_data(connection.data_to_send())
    replies = []
    while (payload := decoder.next_frame()) is not None:
        replies.append(decode_json(payload))
    assert not decoder.mid_frame
    return replies


def test_one_request_at_a_time_in_order() -> None:
    connection = ServerConnection()
    connection.receive_data(frame(1, "help") + frame(2, "show stats") + frame(3, "reload")[:7])
    assert connection.next_request() == Request(1, "help")
    connection.send_reply(Reply(1, data={"a": 1}))
    assert sent(connection) == [{"id": 1, "status": "ok", "data": {"a": 1}}]
    assert connection.data_to_send() == b""
    assert connection.next_request() == Request(2, "show stats")
    assert connection.next_request() is None
    assert connection.mid_request
    connection.receive_data(frame(3, "reload")[7:])
    assert connection.next_request() == Request(3, "reload")
    assert not connection.mid_request


def test_what_is_no_request_is_answered_and_the_next_one_is_read() -> None:
    connection = ServerConnection()
    connection.receive_data(struct.pack(">I", 3) + b"{]}" + frame(5, None) + frame(6, "help"))
    assert connection.next_request() is None
    (reply,) = sent(connection)
    assert (reply["id"], reply["status"]) == (0, "error")
    assert connection.next_request() is None
    (reply,) = sent(connection)
    assert (reply["id"], reply["error"]) == (5, "'command' is a string, not null")
    assert not connection.finished
    assert connection.next_request() == Request(6, "help")


def test_a_request_over_the_limit_ends_the_connection() -> None:
    connection = ServerConnection()
    connection.receive_data(struct.pack(">I", MAX_REQUEST_SIZE + 1))
    assert connection.next_request() is None
    (reply,) = sent(connection)
    assert "65537 bytes exceeds the limit of 65536 bytes" in reply["error"]
    assert connection.finished
    assert connection.next_request() is None
    assert sent(connection) == []


def test_what_came_before_the_end_is_still_answered() -> None:
    connection = ServerConnection()
    connection.receive_data(frame(1, "help"))
    connection.receive_eof()
    assert connection.next_request() == Request(1, "help")
    connection.send_reply(Reply(1))
    assert connection.finished
    assert len(sent(connection)) == 1


def test_an_answer_without_a_json_form_becomes_an_error() -> None:
    connection = ServerConnection()
    for data in ({"a": object()}, {"a": float("nan")}, {"a": "x" * (16 << 20)}):
        connection.send_reply(Reply(4, data=data))
        (reply,) = sent(connection)
        assert (reply["id"], reply["status"]) == (4, "error")
        assert reply["error"].startswith("the server's answer cannot be sent: ")
