"""A stream of bytes as frames, for any split of the stream: nothing is read from or written to anything here.

:class:`FrameDecoder` hands out a header and then its payload in parts as they arrive, for relays: it never holds one.
:class:`FrameAssembler` hands out whole frames, for clients and workers. Both are given the stream in one of two ways:

    events = decoder.receive_data(data)

    n = sock.recv_into(decoder.get_buffer())        # or asyncio.BufferedProtocol's get_buffer/buffer_updated
    events = decoder.buffer_updated(n)

and told of its end by ``receive_eof()``. After a :exc:`FrameError` the stream is of no more use.
"""

from __future__ import annotations

from typing import NamedTuple

from .errors import ErrorKind, FrameError
from .header import HEADER_SIZE, Buffer, Header, unpack_header
from .limits import DEFAULT_LIMITS, Limits
from .messages import Message, parse

__all__ = ["Frame", "FrameAssembler", "FrameDecoder", "FrameEvent", "PayloadPart"]

READ_SIZE = 65536


class PayloadPart(NamedTuple):
    """Some bytes of the payload of the frame whose header came last. They are the receiver's, nobody changes them.

    :ivar last: whether the frame ends with them; a frame with an empty payload has one empty part
    """

    data: bytes | memoryview
    last: bool


class Frame(NamedTuple):
    """A whole frame."""

    header: Header
    payload: bytes | memoryview

    def message(self, limits: Limits = DEFAULT_LIMITS) -> Message:
        """The frame's message.

        :raises DecodeError, MessageError: when the payload is wrong; the stream is still good
        """
        return parse(self.header, self.payload, limits)


FrameEvent = Header | PayloadPart


def _check_header(header: Header, limits: Limits, at: int) -> Header:
    if header.length > limits.max_payload:
        reason = f"a payload of {header.length} bytes exceeds the limit of {limits.max_payload}"
        raise FrameError(ErrorKind.TOO_LONG, reason, at)
    return header


class FrameDecoder:
    """Headers and payload parts out of a stream.

    :ivar offset: bytes of the stream that were turned into events
    :ivar header: of the frame whose payload is arriving, None between frames
    :ivar left: bytes of that payload which are still to come
    """

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self.limits = limits
        self.offset = 0
        self.header: Header | None = None
        self.left = 0
        self._partial = b""  # the beginning of a header
        self._buffer: bytearray | None = None  # lent out by get_buffer

    def receive_data(self, data: Buffer) -> list[FrameEvent]:
        """Take the next bytes of the stream, return what they complete. Parts are views of `data`, if that is bytes.

        :raises FrameError: when they are no frames, or one is over ``max_payload``
        """
        if type(data) is not bytes:
            data = bytes(data)
        if self._partial:
            data = self._partial + data
            self._partial = b""
        view = memoryview(data)
        events: list[FrameEvent] = []
        pos, end = 0, len(data)
        while True:
            if self.header is None:
                if end - pos < HEADER_SIZE:
                    if pos < end:
                        self._partial = data[pos:]
                    return events
                header = _check_header(unpack_header(data, pos, at=self.offset), self.limits, self.offset)
                pos += HEADER_SIZE
                self.offset += HEADER_SIZE
                self.header, self.left = header, header.length
                events.append(header)
            if pos == end and self.left:
                return events
            part = view[pos : pos + self.left]
            pos += len(part)
            self.offset += len(part)
            self.left -= len(part)
            events.append(PayloadPart(part, not self.left))
            if not self.left:
                self.header = None

    def get_buffer(self, sizehint: int = -1) -> bytearray:
        """A buffer to receive into; what was received is then told to :meth:`buffer_updated`."""
        if self._buffer is None:
            self._buffer = bytearray(READ_SIZE)
        return self._buffer

    def buffer_updated(self, size: int) -> list[FrameEvent]:
        """Take the first `size` bytes of the buffer as the next of the stream. Parts are copies: it is used again.

        :raises FrameError: as :meth:`receive_data`
        """
        return self.receive_data(bytes(memoryview(self.get_buffer())[:size]))

    def receive_eof(self) -> None:
        """The stream has ended.

        :raises FrameError: when it ended inside a frame
        """
        if self.header is not None or self._partial:
            raise FrameError(ErrorKind.TRUNCATED, "the stream ended inside a frame", self.offset + len(self._partial))


class FrameAssembler:
    """Whole frames out of a stream. It holds one payload at most, and of that no more than has arrived, doubled."""

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self.limits = limits
        self._decoder = FrameDecoder(limits)
        self._header: Header | None = None
        self._parts: list[bytes | memoryview] = []

    def receive_data(self, data: Buffer) -> list[Frame]:
        """Take the next bytes of the stream, return the frames they complete.

        :raises FrameError: when they are no frames, or one is over ``max_payload``
        """
        frames: list[Frame] = []
        for event in self._decoder.receive_data(data):
            if isinstance(event, Header):
                self._header = event
                continue
            self._parts.append(event.data)
            if event.last:
                assert self._header is not None
                payload = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
                frames.append(Frame(self._header, payload))
                self._parts = []
        return frames

    def get_buffer(self, sizehint: int = -1) -> bytearray:
        """A buffer to receive into; what was received is then told to :meth:`buffer_updated`."""
        return self._decoder.get_buffer(sizehint)

    def buffer_updated(self, size: int) -> list[Frame]:
        """Take the first `size` bytes of the buffer as the next of the stream.

        :raises FrameError: as :meth:`receive_data`
        """
        return self.receive_data(bytes(memoryview(self.get_buffer())[:size]))

    def receive_eof(self) -> None:
        """The stream has ended.

        :raises FrameError: when it ended inside a frame
        """
        self._decoder.receive_eof()
