"""The lines of a response's head: how they are written, and what is kept of them."""

from email.utils import formatdate

import pytest
from gunicorn.http.errors import LocalProtocolError
from gunicorn.http.events import Header
from gunicorn.http.h1 import response
from gunicorn.http.h1.response import Preamble, field_line, informational, status_line
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("status", "reason", "line"),
    [
        (200, None, b"HTTP/1.1 200 OK\r\n"),
        (404, "Nope", b"HTTP/1.1 404 Nope\r\n"),
        (200, "", b"HTTP/1.1 200 \r\n"),
        (599, None, b"HTTP/1.1 599 \r\n"),
        (200, "d\xe9j\xe0", b"HTTP/1.1 200 d\xe9j\xe0\r\n"),
    ],
)
def test_status_lines(status: int, reason: str | None, line: bytes) -> None:
    assert status_line(status, reason) == line
    assert response.known_status_lines[status, reason] == line


@pytest.mark.parametrize(("status", "reason"), [(20, None), (1000, None), (200, "a\nb"), (200, "a\0"), (200, "€")])
def test_bad_status_lines(status: int, reason: str | None) -> None:
    with pytest.raises(LocalProtocolError):
        status_line(status, reason)
    assert (status, reason) not in response.known_status_lines


@pytest.mark.parametrize(
    ("header", "line", "kind", "number"),
    [
        (("X-A", "1"), b"X-A: 1\r\n", response.PLAIN, 0),
        ((b"x-a", b"1"), b"x-a: 1\r\n", response.PLAIN, 0),
        (("A", " \t1 "), b"A: 1\r\n", response.PLAIN, 0),
        (("A", ""), b"A: \r\n", response.PLAIN, 0),
        (("Content-Length", "12"), b"Content-Length: 12\r\n", response.LENGTH, 12),
        (("Connection", "Close"), b"Connection: Close\r\n", response.CLOSE, 0),
        (("Connection", "upgrade"), b"Connection: upgrade\r\n", response.HOP_BY_HOP, 0),
        (("Transfer-Encoding", "chunked"), b"Transfer-Encoding: chunked\r\n", response.HOP_BY_HOP, 0),
        (("Date", "x"), b"Date: x\r\n", response.DATE, 0),
        (("Server", "x"), b"Server: x\r\n", response.SERVER, 0),
    ],
)
def test_field_lines(header: Header, line: bytes, kind: int, number: int) -> None:
    assert field_line(header) == (line, kind, number)
    assert response.known_lines[header] == (line, kind, number)


@pytest.mark.parametrize(
    "header",
    [
        ("A\r\nB", "1"),
        ("", "1"),
        ("A:", "1"),
        ("A", "1\r\n2"),
        ("A", "1\r2"),
        ("A", "1\n2"),
        ("A", "1\0"),
        ("A", "€"),
        ("€", "1"),
        ("A", 1),
        ("A", None),
        ("Content-Length", "-1"),
        ("Content-Length", "1,1"),
        ("Content-Length", ""),
    ],
)
def test_what_could_break_out_of_its_line_is_refused(header: Header) -> None:
    with pytest.raises(LocalProtocolError):
        field_line(header)
    assert header not in response.known_lines


def test_the_memory_has_bounds() -> None:
    for number in range(response.MOST_KEPT + 10):
        field_line(("X", str(number)))
    assert len(response.known_lines) <= response.MOST_KEPT
    long = ("X", "x" * response.LONGEST_KEPT)
    field_line(long)
    assert long not in response.known_lines


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_header_can_make_a_second_line(name: str, value: str) -> None:
    try:
        line = field_line((name, value))[0]
    except LocalProtocolError:
        return
    assert line.endswith(b"\r\n")
    assert not set(b"\r\n\0") & set(line[:-2])


def test_informational_leaves_out_what_frames_a_message() -> None:
    headers = [("Link", "</a>"), ("Content-Length", "1"), ("Connection", "close"), ("Upgrade", "x")]
    assert informational(103, headers) == b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


@given(st.integers(0, 4102444800))
def test_dates_are_those_of_the_standard_library(now: int) -> None:
    preamble = Preamble("x", now)
    assert preamble.date == b"Date: " + formatdate(now, usegmt=True).encode() + b"\r\n"
    assert preamble.both == b"Server: x\r\n" + preamble.date


def test_a_preamble_changes_with_the_second() -> None:
    preamble = Preamble("x", 0.0)
    before = preamble.both
    preamble.renew(0.9)
    assert preamble.both is before
    preamble.renew(1.0)
    assert preamble.both != before
