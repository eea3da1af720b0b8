"""SizedBody and ChunkedBody: what they take from a buffer, and what they leave to the next message."""

import pytest
from gunicorn.http import errors
from gunicorn.http.fields import FieldTable
from gunicorn.http.h1.body import LONGEST_CHUNK_LINE, ChunkedBody, SizedBody
from gunicorn.http.policy import Policy


def chunked(**policy: object) -> ChunkedBody:
    return ChunkedBody(FieldTable(Policy(**policy)))  # type: ignore[arg-type]


def test_a_sized_body_leaves_what_follows() -> None:
    body = SizedBody(5)
    buffer = bytearray(b"hel")
    assert body.read(buffer) == b"hel"
    assert not body.done
    buffer += b"loGET"
    assert body.read(buffer) == b"lo"
    assert body.done
    assert buffer == b"GET"


def test_a_sized_body_takes_a_buffer_of_its_size() -> None:
    body = SizedBody(3)
    buffer = bytearray(b"abc")
    assert body.read(buffer) == b"abc"
    assert body.done
    assert not buffer


def test_an_empty_sized_body_is_done() -> None:
    assert SizedBody(0).done


def test_a_chunked_body_leaves_what_follows() -> None:
    body = chunked()
    buffer = bytearray(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX: 1\r\n\r\nGET")
    assert body.read(buffer) == b"abcde"
    assert body.done
    assert buffer == b"GET"


def test_a_chunked_body_gives_what_has_come_of_a_chunk() -> None:
    body = chunked()
    buffer = bytearray(b"5\r\nab")
    assert body.read(buffer) == b"ab"
    assert body.read(buffer) == b""
    buffer += b"cde\r"
    assert body.read(buffer) == b"cde"
    buffer += b"\n0\r\n\r"
    assert body.read(buffer) == b""
    assert not body.done
    buffer += b"\n"
    assert body.read(buffer) == b""
    assert body.done


def test_a_chunk_line_of_exactly_the_limit_is_read() -> None:
    line = b"1;" + b"a" * (LONGEST_CHUNK_LINE - 2)
    buffer = bytearray(line + b"\r\nx\r\n")
    assert chunked().read(buffer) == b"x"
    with pytest.raises(errors.InvalidChunk):
        chunked().read(bytearray(b"1;" + b"a" * (LONGEST_CHUNK_LINE - 1) + b"\r\nx\r\n"))


def test_trailers_without_limits() -> None:
    body = chunked(limit_request_fields=0, limit_request_field_size=0)
    buffer = bytearray(b"0\r\n" + b"X: 1\r\n" * 200 + b"Y: " + b"y" * 9000 + b"\r\n\r\n")
    assert body.read(buffer) == b""
    assert body.done
