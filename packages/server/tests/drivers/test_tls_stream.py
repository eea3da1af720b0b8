"""TLSStream: what it wants and takes, with a socket that wants what it is told to."""

import ssl
from typing import Any

import pytest
from gunicorn.drivers.channel import RECEIVE_SIZE
from gunicorn.drivers.tls_stream import RECORD, SEND_SIZE, TLSStream


class FakeTLS:
    """An ssl.SSLSocket that wants what it is told to want."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.sent: list[bytes] = []

    def pending(self) -> int:
        return 0

    def recv(self, size: int) -> bytes:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, bytes)
        return answer

    def send(self, data: Any) -> int:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        self.sent.append(bytes(data))
        return len(data)


def test_a_stream_says_what_it_waits_for() -> None:
    fake = FakeTLS()
    stream = TLSStream(fake)  # type: ignore[arg-type]
    fake.answers = [ssl.SSLWantWriteError()]
    with pytest.raises(BlockingIOError) as caught:
        stream.recv(65536)
    assert (stream.wants, caught.value.mask) == (4, 4)  # type: ignore[attr-defined]
    fake.answers = [ssl.SSLWantReadError()]
    with pytest.raises(BlockingIOError) as caught:
        stream.send(b"x")
    assert (stream.wants, caught.value.mask) == (1, 1)  # type: ignore[attr-defined]
    fake.answers = [b"x"]
    assert stream.recv(65536) == b"x"
    assert stream.wants == 0


def test_a_stream_takes_all_records_that_are_here() -> None:
    fake = FakeTLS()
    stream = TLSStream(fake)  # type: ignore[arg-type]
    record = b"x" * RECORD
    fake.answers = [record, record, b"end", ssl.SSLWantReadError()]
    assert stream.recv(RECEIVE_SIZE) == record * 2 + b"end"
    fake.answers = [record, ConnectionResetError()]
    assert stream.recv(RECEIVE_SIZE) == record
    fake.answers = [record] * 5
    assert stream.recv(RECEIVE_SIZE) == record * 4


def test_a_stream_offers_again_what_was_not_taken() -> None:
    fake = FakeTLS()
    stream = TLSStream(fake)  # type: ignore[arg-type]
    fake.answers = [None, ssl.SSLWantWriteError()]
    data = b"a" * SEND_SIZE + b"b" * 10
    assert stream.send(data) == SEND_SIZE
    assert stream.wants == 4
    fake.answers = [None]
    assert stream.send(data[SEND_SIZE:]) == 10
    assert fake.sent == [data[:SEND_SIZE], b"b" * 10]
