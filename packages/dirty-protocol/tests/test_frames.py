from __future__ import annotations

from typing import Any

import pytest
from gunicorn_dirty_protocol import (
    Chunk,
    End,
    ErrorKind,
    FrameAssembler,
    FrameDecoder,
    FrameError,
    Header,
    Limits,
    MessageType,
    PayloadPart,
    Response,
    pack_header,
)

STREAM = b"".join(
    message.to_bytes() for message in (Response(1, "one"), End(2), Chunk(3, b"x" * 200), End(4), Response(5, None))
)
LENGTHS = [24, 0, 219, 0, 17]
LARGE = Response(9, bytes(range(256)) * 12000)  # 3 MB


def received(decoder: Any, pieces: Any) -> Any:
    return [found for piece in pieces for found in decoder.receive_data(piece)]


def lent(decoder: Any, stream: bytes, most: int) -> Any:
    """The same through the decoder's own buffer, at most this many bytes at once."""
    found, pos = [], 0
    while pos < len(stream):
        buffer = decoder.get_buffer()
        size = min(most, len(buffer), len(stream) - pos)
        memoryview(buffer)[:size] = stream[pos : pos + size]
        found += decoder.buffer_updated(size)
        pos += size
    return found


def split(stream: bytes, step: int) -> list[bytes]:
    return [stream[start : start + step] for start in range(0, len(stream), step)]


def as_frames(events: Any) -> Any:
    """Headers and parts as the whole frames they are of."""
    frames = []
    for event in events:
        if isinstance(event, Header):
            frames.append((event, b""))
        else:
            header, payload = frames.pop()
            frames.append((header, payload + event.data))
            assert event.last == (len(frames[-1][1]) == header.length)
    return frames


@pytest.mark.parametrize("step", [1, 2, 3, 7, 15, 16, 17, 100, 10_000])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_frames_whatever_the_split(step: int, kind: Any) -> None:
    expected = received(FrameAssembler(), [STREAM])
    assert [frame.header.length for frame in expected] == LENGTHS
    assert [frame.header.request_id for frame in expected] == [1, 2, 3, 4, 5]
    pieces = [kind(piece) for piece in split(STREAM, step)]
    for frames in (received(FrameAssembler(), pieces), lent(FrameAssembler(), STREAM, step)):
        assert frames == expected
        assert all(type(frame.payload) is bytes for frame in frames)
    for events in (received(FrameDecoder(), pieces), lent(FrameDecoder(), STREAM, step)):
        assert as_frames(events) == [(frame.header, frame.payload) for frame in expected]


def test_a_part_is_handed_out_when_it_arrives() -> None:
    decoder = FrameDecoder()
    header = Header(MessageType.CHUNK, 7, 4)
    assert decoder.receive_data(pack_header(MessageType.CHUNK, 7, 4)) == [header]
    assert (decoder.header, decoder.left, decoder.frame_offset) == (header, 4, 0)
    assert decoder.receive_data(b"ab") == [PayloadPart(b"ab", False)]
    assert decoder.left == 2
    assert decoder.receive_data(b"") == []
    assert decoder.receive_data(b"cdGD") == [PayloadPart(b"cd", True)]
    assert (decoder.header, decoder.left, decoder.frame_offset) == (None, 0, 20)


def test_parts_are_views_of_what_arrived_and_safe_to_keep() -> None:
    data = Chunk(1, b"x" * 100).to_bytes()
    _, part = FrameDecoder().receive_data(data)
    assert isinstance(part, PayloadPart)
    assert isinstance(part.data, memoryview)
    assert part.data.obj is data
    decoder = FrameDecoder()
    decoder.get_buffer()[: len(data)] = data
    _, part = decoder.buffer_updated(len(data))
    decoder.get_buffer()[: len(data)] = b"?" * len(data)
    assert isinstance(part, PayloadPart)
    assert part.data == data[16:]


@pytest.mark.parametrize("step", [1000, 65536, 1_000_000, 10_000_000])
def test_large_payloads_are_views(step: int) -> None:
    stream = STREAM + LARGE.to_bytes() + STREAM
    for frames in (received(FrameAssembler(), split(stream, step)), lent(FrameAssembler(), stream, step)):
        assert len(frames) == 11
        assert type(frames[5].payload) is memoryview
        assert frames[5].payload.readonly
        assert frames[5].message() == LARGE
        assert frames[5].message(views_from=1000).result == LARGE.result
        assert type(frames[5].message(views_from=1000).result) is memoryview


def test_a_whole_large_frame_is_not_copied() -> None:
    data = LARGE.to_bytes()
    (frame,) = FrameAssembler().receive_data(data)
    assert isinstance(frame.payload, memoryview)
    assert frame.payload.obj is data
    mutable = bytearray(data)
    (frame,) = FrameAssembler().receive_data(mutable)
    mutable[:] = bytes(len(data))
    assert frame.message() == LARGE


def test_a_length_alone_makes_little_room() -> None:
    for decoder in (FrameAssembler(), FrameDecoder()):
        decoder.receive_data(pack_header(MessageType.RESPONSE, 1, 60_000_000) + b"a")
        assert len(decoder.get_buffer()) <= 1024 * 1024


def test_the_buffer_is_lent_once() -> None:
    assembler = FrameAssembler()
    assert assembler.get_buffer() is assembler.get_buffer(100)
    assembler.receive_data(LARGE.to_bytes()[:100_000])
    assert assembler.get_buffer() is assembler.get_buffer(100)


def test_a_buffer_of_which_nothing_was_filled() -> None:
    data = LARGE.to_bytes()
    assembler = FrameAssembler()
    assert assembler.receive_data(data[:100_000]) == []
    assembler.get_buffer()
    assert assembler.buffer_updated(0) == []
    assert [frame.message() for frame in assembler.receive_data(data[100_000:])] == [LARGE]


BAD = [
    (b"HTTP/1.1 200 OK\r\n", ErrorKind.BAD_MAGIC, 0),
    (b"GD\x02\x05" + bytes(12), ErrorKind.BAD_VERSION, 2),
    (b"GD\x01\x77" + bytes(12), ErrorKind.UNKNOWN_TYPE, 3),
    (pack_header(MessageType.CHUNK, 1, 301), ErrorKind.TOO_LONG, 4),
]


@pytest.mark.parametrize("decoder", [FrameAssembler, FrameDecoder])
@pytest.mark.parametrize(("data", "kind", "offset"), BAD)
def test_a_fault_is_raised_after_what_came_before_it_and_then_always(
    decoder: Any, data: bytes, kind: ErrorKind, offset: int
) -> None:
    decoder = decoder(Limits(max_payload=300))
    expected = len(received(type(decoder)(), [STREAM]))
    assert len(decoder.receive_data(STREAM + data)) == expected
    assert (decoder.error.kind, decoder.error.offset) == (kind, len(STREAM) + offset)
    for again in (lambda: decoder.receive_data(b""), lambda: decoder.receive_data(STREAM), decoder.receive_eof):
        with pytest.raises(FrameError) as caught:
            again()
        assert caught.value is decoder.error
    with pytest.raises(FrameError) as caught:
        type(decoder)(Limits(max_payload=300)).receive_data(data)
    assert (caught.value.kind, caught.value.offset) == (kind, offset)


@pytest.mark.parametrize("decoder", [FrameAssembler, FrameDecoder])
def test_the_end_of_the_stream(decoder: Any) -> None:
    decoder().receive_eof()
    whole = decoder()
    whole.receive_data(STREAM)
    whole.receive_eof()
    assert whole.error is None
    for cut in (1, 15, 16, 20, 39):
        part = decoder()
        part.receive_data(STREAM[:cut])
        with pytest.raises(FrameError) as caught:
            part.receive_eof()
        assert (caught.value.kind, caught.value.offset) == (ErrorKind.TRUNCATED, 0)
    part = decoder()
    part.receive_data(STREAM[:50])
    with pytest.raises(FrameError) as caught:
        part.receive_eof()
    assert caught.value.offset == 40
