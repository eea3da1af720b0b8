from __future__ import annotations

import pickle

import pytest
from gunicorn_dirty_protocol import DecodeError, EncodeError, ErrorKind, FrameError, MessageError, ProtocolError


@pytest.mark.parametrize("kind", [EncodeError, DecodeError, FrameError, MessageError])
def test_every_error_is_a_protocol_error_and_says_why_and_where(kind: type[ProtocolError]) -> None:
    error = kind(ErrorKind.TRUNCATED, "the bytes end", 7)
    assert isinstance(error, ProtocolError)
    assert (error.kind, error.reason, error.offset) == ("truncated", "the bytes end", 7)
    assert str(error) == "the bytes end (at byte 7)"


def test_errors_survive_pickling() -> None:
    error = pickle.loads(pickle.dumps(DecodeError(ErrorKind.BAD_UTF8, "no", 3)))
    assert (type(error), error.kind, error.offset) == (DecodeError, ErrorKind.BAD_UTF8, 3)


def test_a_kind_is_written_as_its_word() -> None:
    assert f"{ErrorKind.TOO_DEEP}" == "too_deep"
