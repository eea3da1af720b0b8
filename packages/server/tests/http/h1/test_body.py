"""SizedBody and ChunkedBody: what they take from a buffer, and what they leave to the next message."""

import pytest
from gunicorn.http import errors
from gunicorn.http.fields import FieldTable
from gunicorn.http.h1.body import LONGEST_CHUNK_LINE, MOST_SURPLUS, ChunkedBody, SizedBody
from gunicorn.http.policy import Policy
from hypothesis import given
from hypothesis import strategies as st


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


def test_bytes_that_can_be_nothing_but_body_are_counted() -> None:
    sized = SizedBody(5)
    assert sized.left == 5
    sized.skip(5)
    assert sized.done
    body = chunked()
    assert body.left == 0
    buffer = bytearray(b"5\r\na")
    assert body.read(buffer) == b"a"
    assert body.left == 4
    body.skip(4)
    assert body.left == 0
    assert not body.done
    buffer += b"\r\n0\r\n\r\n"
    assert body.read(buffer) == b""
    assert body.done


def test_extensions_may_not_outweigh_the_data() -> None:
    line = b"1;" + b"a" * 1000 + b"\r\nx\r\n"
    most = MOST_SURPLUS // 1000
    assert chunked().read(bytearray(line * most)) == b"x" * most
    with pytest.raises(errors.InvalidChunk, match="longer than its data"):
        chunked().read(bytearray(line * (most + 1)))
    # What signs each chunk of a large upload does not.
    signed = b"1000;chunk-signature=" + b"f" * 64 + b"\r\n" + b"x" * 4096 + b"\r\n"
    assert len(chunked().read(bytearray(signed * 300))) == 300 * 4096


TOKENS = st.text("abcXYZ019!#$%&'*+-.^_`|~", min_size=1, max_size=6)
QUOTED = st.text("ab;= ,\t(){}", max_size=6).map(lambda text: f'"{text}"')
EXTENSIONS = st.lists(
    st.one_of(TOKENS, st.tuples(TOKENS, TOKENS | QUOTED).map("=".join)).map(lambda text: f";{text}"), max_size=2
).map("".join)
CHUNKS = st.lists(
    st.tuples(st.binary(min_size=1, max_size=50), EXTENSIONS, st.integers(0, 5), st.booleans()), max_size=6
)
TRAILERS = st.lists(st.tuples(TOKENS.map(lambda name: f"X-{name}"), TOKENS), max_size=3)


@given(CHUNKS, EXTENSIONS, TRAILERS, st.lists(st.integers(1, 40), max_size=30), st.binary(max_size=10))
def test_any_chunked_body_is_read_as_it_was_written(
    chunks: list[tuple[bytes, str, int, bool]], extension: str, trailers: list[tuple[str, str]], cuts: list[int],
    rest: bytes,
) -> None:  # fmt: skip
    raw = b""
    for data, each, zeros, upper in chunks:
        digits = "0" * zeros + (f"{len(data):X}" if upper else f"{len(data):x}")
        raw += f"{digits}{each}\r\n".encode() + data + b"\r\n"
    raw += f"0{extension}\r\n".encode() + "".join(f"{name}: {value}\r\n" for name, value in trailers).encode()
    raw += b"\r\n" + rest
    body, buffer, found = chunked(), bytearray(), b""
    for size in [*cuts, len(raw)]:
        buffer += raw[:size]
        raw = raw[size:]
        if body.left >= len(buffer) and buffer:
            found += buffer
            body.skip(len(buffer))
            buffer.clear()
        elif not body.done:
            found += body.read(buffer)
    assert body.done
    assert found == b"".join(data for data, *_ in chunks)
    assert buffer == rest
