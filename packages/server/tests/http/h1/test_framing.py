"""What delimits a response's body: the framing that a head promises, and what a body becomes under it."""

from __future__ import annotations

from typing import Any

import pytest
from gunicorn.http.errors import InvalidHost, LocalProtocolError
from gunicorn.http.events import Request, ResponseHead
from gunicorn.http.h1.framing import (
    BODILESS,
    CHUNKED,
    NOT_STARTED,
    SIZED,
    UNTIL_CLOSE,
    BodyWriter,
    frame,
    refusal,
)
from gunicorn.http.h1.head import HeadReader
from gunicorn.http.h1.response import Preamble
from gunicorn.http.policy import Policy

PREAMBLE = Preamble("test", 0.0)


def request(line: str = "GET / HTTP/1.1") -> Request:
    return HeadReader(Policy()).read(f"{line}\r\nHost: a".encode(), False, False)


def framed(line: str, event: ResponseHead, close: bool = False) -> tuple[bytes, int, int, bool]:
    """The head without status line and preamble, and the rest of what :func:`frame` says."""
    lines, framing, length, ends = frame(event, request(line), PREAMBLE, close)
    assert lines[1] == PREAMBLE.both
    return b"".join(lines[2:]), framing, length, ends


GET, HEAD, OLD = "GET / HTTP/1.1", "HEAD / HTTP/1.1", "GET / HTTP/1.0"
LENGTH = [("Content-Length", "2")]


@pytest.mark.parametrize(
    ("line", "event", "head", "framing", "length", "ends"),
    [
        (GET, ResponseHead(200, [], b"hi", True), b"Content-Length: 2\r\n\r\n", SIZED, 2, False),
        (GET, ResponseHead(200, LENGTH, b"h"), b"Content-Length: 2\r\n\r\n", SIZED, 2, False),
        (GET, ResponseHead(200, [], b"h"), b"Transfer-Encoding: chunked\r\n\r\n", CHUNKED, -1, False),
        (OLD, ResponseHead(200, [], b"h"), b"Connection: close\r\n\r\n", UNTIL_CLOSE, -1, True),
        (
            OLD,
            ResponseHead(200, [], b"h", True),
            b"Content-Length: 1\r\nConnection: keep-alive\r\n\r\n",
            SIZED,
            1,
            False,
        ),
        (HEAD, ResponseHead(200, [], b"hi", True), b"Content-Length: 2\r\n\r\n", BODILESS, 2, False),
        (GET, ResponseHead(204, [], b"", True), b"\r\n", BODILESS, -1, False),
        (GET, ResponseHead(304, LENGTH, b"", True), b"Content-Length: 2\r\n\r\n", BODILESS, 2, False),
        (
            GET,
            ResponseHead(200, [("Connection", "close")], b"", True),
            b"Content-Length: 0\r\nConnection: close\r\n\r\n",
            SIZED,
            0,
            True,
        ),
    ],
)
def test_framings(line: str, event: ResponseHead, head: bytes, framing: int, length: int, ends: bool) -> None:
    assert framed(line, event) == (head, framing, length, ends)


def test_a_connection_that_ends_says_so() -> None:
    head, *_, ends = framed(GET, ResponseHead(200, [], b"", True), close=True)
    assert ends
    assert head.endswith(b"Connection: close\r\n\r\n")


def test_what_the_application_says_itself_is_not_said_twice() -> None:
    own = [("Server", "mine"), ("Date", "today")]
    lines, *_ = frame(ResponseHead(200, own, b"", True), request(), PREAMBLE, False)
    assert b"".join(lines) == b"HTTP/1.1 200 OK\r\nServer: mine\r\nDate: today\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (ResponseHead(101, [], b"", True), "no final response"),
        (ResponseHead(200, [*LENGTH, ("Content-Length", "3")], b"hi", True), "stands twice"),
        (ResponseHead(200, LENGTH, b"hey"), "has 3 bytes or more"),
        (ResponseHead(200, LENGTH, b"h", True), "has 1 bytes or more"),
    ],
)
def test_contradictions(event: ResponseHead, reason: str) -> None:
    with pytest.raises(LocalProtocolError, match=reason):
        frame(event, request(), PREAMBLE, False)


def writer(framing: int, left: int = 0) -> BodyWriter:
    made = BodyWriter([])
    made.framing, made.left = framing, left
    return made


@pytest.mark.parametrize(
    ("framing", "left", "parts", "wire"),
    [
        (SIZED, 3, [b"a", b"", b"bc"], b"abc"),
        (CHUNKED, -1, [b"a" * 16, b"", b"b"], b"10\r\n" + b"a" * 16 + b"\r\n1\r\nb\r\n0\r\n\r\n"),
        (CHUNKED, -1, [b"a", b""], b"1\r\na\r\n0\r\n\r\n"),
        (UNTIL_CLOSE, -1, [b"a", b"", b"b"], b"ab"),
        (BODILESS, 5, [b"a", b"b"], b""),
    ],
)
def test_bodies(framing: int, left: int, parts: list[bytes], wire: bytes) -> None:
    body = writer(framing, left)
    for place, part in enumerate(parts):
        body.write(part, place == len(parts) - 1)
    assert b"".join(body.out) == wire


def test_a_body_has_the_length_that_was_promised() -> None:
    with pytest.raises(LocalProtocolError, match="longer than its Content-Length by 1 bytes"):
        writer(SIZED, 1).write(b"ab", False)
    with pytest.raises(LocalProtocolError, match="shorter than its Content-Length by 1 bytes"):
        writer(SIZED, 2).write(b"a", True)


@pytest.mark.parametrize("call", [lambda body: body.write(b"", True), lambda body: body.pass_by()])
def test_without_a_head_there_is_no_body(call: Any) -> None:
    with pytest.raises(LocalProtocolError):
        call(writer(NOT_STARTED))


def test_only_a_chunked_body_has_room_for_trailers() -> None:
    body = writer(CHUNKED)
    assert body.end_with([("A", "1")])
    assert b"".join(body.out) == b"0\r\nA: 1\r\n\r\n"
    assert not writer(SIZED, 0).end_with([("A", "1")])


def test_a_body_of_known_length_may_pass_by() -> None:
    assert writer(SIZED, 7).pass_by() == 7
    assert writer(BODILESS, 7).pass_by() == 0


def test_a_refusal_is_a_whole_answer() -> None:
    error = InvalidHost("'a b' is no host")
    head, _, body = b"".join(refusal(error, PREAMBLE, False)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"Content-Length: %d" % len(body) in head
    assert str(error).encode() in body
    assert b"".join(refusal(error, PREAMBLE, True)).endswith(b"Content-Length: 0\r\n\r\n")
