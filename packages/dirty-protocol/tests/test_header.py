from __future__ import annotations

import struct

import pytest
from gunicorn_dirty_protocol import (
    HEADER_SIZE,
    MAX_REQUEST_ID,
    ErrorKind,
    FrameError,
    Header,
    MessageType,
    pack_header,
    unpack_header,
)


@pytest.mark.parametrize("message_type", MessageType)
def test_a_header_is_what_was_packed(message_type: MessageType) -> None:
    data = pack_header(message_type, MAX_REQUEST_ID, 2**32 - 1)
    assert len(data) == HEADER_SIZE
    assert unpack_header(data) == Header(message_type, MAX_REQUEST_ID, 2**32 - 1)
    assert unpack_header(memoryview(b"..." + data), 3) == Header(message_type, MAX_REQUEST_ID, 2**32 - 1)


@pytest.mark.parametrize(
    ("data", "kind", "offset"),
    [
        (b"GD\x01", ErrorKind.TRUNCATED, 100),
        (b"HTTP" + bytes(12), ErrorKind.BAD_MAGIC, 100),
        (b"GD\x02\x01" + bytes(12), ErrorKind.BAD_VERSION, 102),
        (b"GD\x01\x00" + bytes(12), ErrorKind.UNKNOWN_TYPE, 103),
    ],
)
def test_a_wrong_header_is_refused_with_its_place_in_the_stream(data: bytes, kind: ErrorKind, offset: int) -> None:
    with pytest.raises(FrameError) as caught:
        unpack_header(data, at=100)
    assert (caught.value.kind, caught.value.offset) == (kind, offset)


@pytest.mark.parametrize(("request_id", "length"), [(-1, 0), (2**64, 0), (0, -1), (0, 2**32)])
def test_what_does_not_fit_a_header_is_refused(request_id: int, length: int) -> None:
    with pytest.raises(struct.error):
        pack_header(MessageType.END, request_id, length)
