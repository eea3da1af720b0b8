"""H1Connection: bodies that drivers take past the events, and answers that are sent whole."""

from collections.abc import Callable
from typing import Any

import pytest
from gunicorn.http.errors import LocalProtocolError
from gunicorn.http.events import Data, Disconnected, Request, ResponseHead
from gunicorn.http.h1.connection import H1Connection

Connect = Callable[..., H1Connection]

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def begun(http: H1Connection, data: bytes) -> H1Connection:
    """*http* when it has read the head of the request in *data*."""
    http.receive_data(data)
    assert isinstance(http.next_event(), Request)
    return http


def data(http: H1Connection) -> tuple[bytes, bool]:
    event = http.next_event()
    assert isinstance(event, Data)
    return event.data, event.end_stream


def answer(http: H1Connection) -> bytes:
    http.send(ResponseHead(200, [], b"ok", True))
    return http.data_to_send()


# ---------------------------------------------------------------- whole_body


def test_a_body_that_came_with_its_head(connect: Connect) -> None:
    http = begun(connect(), POST + b"hello")
    assert http.whole_body() == b"hello"
    assert http.whole_body() is None
    assert http.next_event() is None
    assert b"close" not in answer(http)
    assert http.idle
    assert begun(http, POST + b"again").whole_body() == b"again"


@pytest.mark.parametrize(
    "sent", [POST, POST + b"hell", POST + b"hello" + GET, CHUNKED + b"5\r\nhello\r\n0\r\n\r\n", GET]
)
def test_what_is_not_the_body_and_nothing_else_comes_as_events(connect: Connect, sent: bytes) -> None:
    http = begun(connect(), sent)
    assert http.whole_body() is None
    body = b""
    while isinstance(event := http.next_event(), Data):
        body += event.data
    assert body == sent.partition(b"\r\n\r\n")[2].removesuffix(GET).removeprefix(b"5\r\n").removesuffix(
        b"\r\n0\r\n\r\n"
    )


def test_a_whole_body_asks_for_no_continue(connect: Connect) -> None:
    http = begun(connect(), POST.replace(b"Host", b"Expect: 100-continue\r\nHost") + b"hello")
    assert http.whole_body() == b"hello"
    assert http.data_to_send() == b""


# ---------------------------------------------------------------- body_ahead, skip_body


def test_a_driver_receives_the_rest_of_a_body_itself(connect: Connect) -> None:
    http = begun(connect(), POST)
    assert http.body_ahead() == 5
    assert not http.skip_body(2)
    assert http.body_ahead() == 3
    assert http.skip_body(3)
    assert http.body_ahead() == 0
    assert http.next_event() is None
    assert b"close" not in answer(http)
    assert isinstance(begun(http, GET).request, Request)


def test_nothing_is_ahead_that_has_come_already(connect: Connect) -> None:
    http = begun(connect(), POST + b"he")
    assert http.body_ahead() == 0
    assert data(http) == (b"he", False)
    assert http.body_ahead() == 3


def test_of_a_chunked_body_the_chunk_at_hand_is_ahead(connect: Connect) -> None:
    http = begun(connect(), CHUNKED)
    assert http.body_ahead() == 0
    http.receive_data(b"5\r\nhe")
    assert data(http) == (b"he", False)
    assert http.body_ahead() == 3
    assert not http.skip_body(3)
    assert http.body_ahead() == 0
    http.receive_data(b"\r\n0\r\n\r\n")
    assert data(http) == (b"", True)


def test_continue_is_sent_first(connect: Connect) -> None:
    http = begun(connect(), POST.replace(b"Host", b"Expect: 100-continue\r\nHost"))
    assert http.body_ahead() == 0
    assert http.next_event() is None
    assert b" 100 " in http.data_to_send()
    assert http.body_ahead() == 5


def test_after_the_peers_end_nothing_is_ahead(connect: Connect) -> None:
    http = begun(connect(), POST)
    assert not http.skip_body(2)
    http.receive_eof()
    assert http.body_ahead() == 0
    assert isinstance(http.next_event(), Disconnected)


def test_the_rest_of_a_body_may_be_skipped_behind_its_answer(connect: Connect) -> None:
    http = begun(connect(), POST)
    http.send(ResponseHead(200, [("Content-Length", "2")]))
    http.send(Data(b"ok", True))
    assert not http.idle
    assert http.skip_body(5)
    assert http.closing  # as it has said


# ---------------------------------------------------------------- send_whole


@pytest.mark.parametrize("request_", [GET, GET.replace(b"GET", b"HEAD"), GET.replace(b"1.1", b"1.0")])
def test_a_whole_answer_is_what_send_makes_of_it(connect: Connect, request_: bytes) -> None:
    headers: list[Any] = [("X-A", "b"), ("Content-Type", "text/plain")]
    for reason in (None, "Fine"):
        one, other = connect(), connect()
        for body in (b"hello", b"again", b"longer than these"):
            if one.closing:
                break
            begun(one, request_).send_whole(200, headers, body, reason)
            begun(other, request_).send(ResponseHead(200, headers, body, True, reason))
            assert one.data_to_send() == other.data_to_send()


def test_there_is_one_answer_to_a_request(connect: Connect) -> None:
    http = begun(connect(), GET)
    http.send_whole(200, [], b"ok")
    with pytest.raises(LocalProtocolError):
        http.send_whole(200, [], b"ok")
