"""body_stream: a body that is still arriving, as a file."""

from collections.abc import Callable
from typing import Any, BinaryIO

import pytest
from gunicorn.drivers.body_stream import BUFFER_SIZE, body_stream
from gunicorn.drivers.runner import PeerGoneError
from gunicorn.http.errors import InvalidChunk, RemoteProtocolError
from gunicorn.http.events import Data, Disconnected


class Source:
    """Gives *parts*, then the end: of the body, of the client, or a refusal."""

    def __init__(self, parts: list[bytes], end: Any = None) -> None:
        self.events: list[Any] = [Data(part) for part in parts]
        self.events.append(Data(b"", True) if end is None else end)
        self.given = 0
        self.reported: list[RemoteProtocolError] = []

    def next_data(self) -> Data | Disconnected:
        self.given += 1
        event = self.events.pop(0)
        if isinstance(event, Exception):
            raise event
        assert isinstance(event, (Data, Disconnected))
        return event

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
        read(body_stream(Source([b"x"], Disconnected())))


@pytest.mark.parametrize("read", [lambda file: file.read(), lambda file: file.read(5), lambda file: file.readline()])
def test_a_refusal_is_reported_and_raised(read: Callable[[BinaryIO], Any]) -> None:
    source = Source([b"x"], InvalidChunk("bad"))
    with pytest.raises(InvalidChunk):
        read(body_stream(source))
    assert [str(error) for error in source.reported] == ["bad (RFC 9112 section 7.1)"]
