"""body_stream: a body that is still arriving, as a file."""

from collections.abc import Callable
from typing import Any, BinaryIO

import pytest
from gunicorn.drivers.body_stream import BUFFER_SIZE, LARGE, body_stream
from gunicorn.drivers.errors import PeerGoneError
from gunicorn.http.errors import InvalidChunk, RemoteProtocolError


class Source:
    """Gives *parts*, then the end: of the body, of the client, or a refusal."""

    def __init__(self, parts: list[bytes], end: Any = None) -> None:
        self.parts: list[Any] = [*parts, b"" if end is None else end]
        self.given = 0
        self.asked: list[int] = []
        self.reported: list[RemoteProtocolError] = []

    def next_part(self, size: int) -> tuple[bytes, bool]:
        self.given += 1
        self.asked.append(size)
        part = self.parts.pop(0)
        if isinstance(part, Exception):
            raise part
        assert isinstance(part, bytes)
        return part, self.parts == []

    def report(self, error: RemoteProtocolError) -> None:
        self.reported.append(error)


PARTS = [b"one\ntw", b"o\n", b"", b"thr", b"ee"]


@pytest.mark.parametrize(
    ("read", "found"),
    [
        (lambda file: file.read(), b"one\ntwo\nthree"),
        (lambda file: file.read(-1), b"one\ntwo\nthree"),
        (lambda file: file.read(5), b"one\nt"),
        (lambda file: file.read(500), b"one\ntwo\nthree"),
        (lambda file: (file.read(7), file.read(2), file.read(), file.read()), (b"one\ntwo", b"\nt", b"hree", b"")),
        (lambda file: (file.read(13), file.read(1)), (b"one\ntwo\nthree", b"")),
        (lambda file: (file.readline(), file.readline(), file.readline(), file.readline()),
         (b"one\n", b"two\n", b"three", b"")),
        (lambda file: (file.readline(2), file.readline(5)), (b"on", b"e\n")),
        (lambda file: file.readlines(), [b"one\n", b"two\n", b"three"]),
        (lambda file: file.readlines(5), [b"one\n", b"two\n"]),
        (list, [b"one\n", b"two\n", b"three"]),
        (lambda file: (file.read(0), file.read()), (b"", b"one\ntwo\nthree")),
    ],
)  # fmt: skip
def test_the_methods_of_pep_3333(read: Callable[[BinaryIO], Any], found: Any) -> None:
    assert read(body_stream(Source(PARTS))) == found


def test_nothing_is_read_ahead_of_the_buffer() -> None:
    source = Source([b"x" * BUFFER_SIZE] * 5)
    file = body_stream(source)
    assert source.given == 0
    assert file.read(10) == b"x" * 10
    assert source.given == 1


def test_a_line_is_given_before_the_next_part_has_come() -> None:
    source = Source([b"one\n", b"two\n"])
    assert body_stream(source).readline() == b"one\n"
    assert source.given == 1


def test_the_end_is_asked_for_once() -> None:
    source = Source([b"x"])
    file = body_stream(source)
    assert file.read() == b"x"
    assert file.read() == b""
    assert file.read(1) == b""
    assert source.given == 2


@pytest.mark.parametrize("read", [lambda file: file.read(), lambda file: file.read(5), lambda file: file.readline()])
def test_a_client_that_goes_is_an_error(read: Callable[[BinaryIO], Any]) -> None:
    with pytest.raises(PeerGoneError):
        read(body_stream(Source([b"x"], PeerGoneError("gone"))))


@pytest.mark.parametrize("read", [lambda file: file.read(), lambda file: file.read(5), lambda file: file.readline()])
def test_a_refusal_is_reported_and_raised(read: Callable[[BinaryIO], Any]) -> None:
    source = Source([b"x"], InvalidChunk("bad"))
    with pytest.raises(InvalidChunk):
        read(body_stream(source))
    assert [str(error) for error in source.reported] == ["bad (RFC 9112 section 7.1)"]


# ---------------------------------------------------------------- large reads, past the buffer


def test_a_large_read_asks_for_what_it_needs_and_hands_it_on_as_it_came() -> None:
    part = b"x" * LARGE
    source = Source([part, part])
    file = body_stream(source)
    assert file.read(LARGE) is part
    assert file.read(LARGE) is part
    assert file.read(LARGE) == b""
    assert source.asked == [LARGE] * 3


def test_a_large_read_is_filled_from_several_parts() -> None:
    source = Source([b"b" * 10, b"c" * 20, b"d" * LARGE])
    file = body_stream(source, b"a" * 5)
    assert file.read(LARGE) == b"a" * 5 + b"b" * 10 + b"c" * 20 + b"d" * (LARGE - 35)
    assert source.asked == [LARGE - 5, LARGE - 15, LARGE - 35]
    assert file.read(LARGE) == b"d" * 35


def test_large_reads_and_small_ones_in_turn() -> None:
    body = bytes(range(256)) * 2000
    file = body_stream(Source([body[place : place + 10_000] for place in range(0, len(body), 10_000)]))
    found: list[bytes] = []
    while part := file.read((LARGE, 10, LARGE * 2, BUFFER_SIZE)[len(found) % 4]):
        found.append(part)
        line = file.readline()
        assert b"\n" not in line[:-1]
        found.append(line)
    assert b"".join(found) == body


@pytest.mark.parametrize("end", [PeerGoneError("gone"), InvalidChunk("bad")])
def test_errors_come_out_of_large_reads(end: Exception) -> None:
    with pytest.raises(type(end)):
        body_stream(Source([b"x"], end)).read(LARGE)
