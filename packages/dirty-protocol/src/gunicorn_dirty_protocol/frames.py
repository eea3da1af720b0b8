"""A stream of bytes as frames, for any split of the stream: nothing is read from or written to anything here.

:class:`FrameDecoder` hands out a header and then its payload in parts as they arrive, for relays: it never holds one.
:class:`FrameAssembler` hands out whole frames, for clients and workers. Both are given the stream in one of two ways:

    events = decoder.receive_data(data)

    n = sock.recv_into(decoder.get_buffer())        # or asyncio.BufferedProtocol's get_buffer/buffer_updated
    events = decoder.buffer_updated(n)

and told of its end by ``receive_eof()``. After a :exc:`FrameError` the stream is of no more use.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, NamedTuple, TypeVar

from .errors import ErrorKind, FrameError
from .header import HEADER_SIZE, Buffer, Header, unpack_header
from .limits import DEFAULT_LIMITS, Limits
from .messages import Message, parse

__all__ = ["Frame", "FrameAssembler", "FrameDecoder", "FrameEvent", "PayloadPart"]

READ_SIZE = 65536  # bytes that are read at once
_STEP = 1024 * 1024
_VIEW_SIZE = 65536  # payloads from this size on are not copied


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

    def message(self, limits: Limits = DEFAULT_LIMITS, *, views_from: int | None = None) -> Message:
        """The frame's message.

        :param views_from: as for :func:`gunicorn_dirty_protocol.decode`
        :raises DecodeError, MessageError: when the payload is wrong; the stream is still good
        """
        return parse(self.header, self.payload, limits, views_from=views_from)


FrameEvent = Header | PayloadPart


def _header(data: Buffer, pos: int, at: int, limits: Limits) -> Header:
    """The header at `pos` of `data`, which is at byte `at` of the stream."""
    header = unpack_header(data, pos, at=at)
    if header.length > limits.max_payload:
        reason = f"a payload of {header.length} bytes exceeds the limit of {limits.max_payload}"
        raise FrameError(ErrorKind.TOO_LONG, reason, at + 4)
    return header


_Found = TypeVar("_Found")


class _Stream(ABC, Generic[_Found]):
    """What both decoders have in common: where they are in the stream, and how it ends.

    :ivar limits: of which ``max_payload`` is heeded
    :ivar frame_offset: where in the stream the frame at hand (or, between frames, the next one) starts
    :ivar error: what is wrong with the stream, None while nothing is. What came before it is handed out first: the call
        that finds both returns, and the next one raises
    """

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self.limits = limits
        self.frame_offset = 0
        self.error: FrameError | None = None

    def receive_data(self, data: Buffer) -> list[_Found]:
        """Take the next bytes of the stream, return what they complete.

        :raises FrameError: when they are no frames, or one is over ``max_payload``; from then on always
        """
        if self.error is not None:
            raise self.error
        found: list[_Found] = []
        try:
            self._receive(data, found)
        except FrameError as error:
            self.error = error
            if not found:
                raise
        return found

    def receive_eof(self) -> None:
        """The stream has ended.

        :raises FrameError: when it ended inside a frame, or was wrong before
        """
        if self.error is None and self._inside():
            self.error = FrameError(
                ErrorKind.TRUNCATED, "the stream ended inside the frame that starts here", self.frame_offset
            )
        if self.error is not None:
            raise self.error

    @abstractmethod
    def _receive(self, data: Buffer, found: list[_Found]) -> None:
        """Append to `found` what `data` completes."""

    @abstractmethod
    def _inside(self) -> bool:
        """Whether a frame has begun and not ended."""


class FrameDecoder(_Stream["FrameEvent"]):
    """Headers and payload parts out of a stream. Parts are views of the data received, if that is bytes.

    :ivar header: of the frame whose payload is arriving, None between frames
    :ivar left: bytes of that payload which are still to come
    """

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        super().__init__(limits)
        self.header: Header | None = None
        self.left = 0
        self._partial = b""  # the beginning of a header
        self._buffer: bytearray | None = None  # lent out by get_buffer

    def _receive(self, data: Buffer, found: list[FrameEvent]) -> None:
        data = self._partial + data if self._partial else bytes(data)
        self._partial = b""
        view = memoryview(data)
        pos, end = 0, len(data)
        while True:
            if self.header is None:
                if end - pos < HEADER_SIZE:
                    self._partial = data[pos:]
                    return
                self.header = _header(data, pos, self.frame_offset, self.limits)
                self.left = self.header.length
                pos += HEADER_SIZE
                found.append(self.header)
            if pos == end and self.left:
                return
            part = view[pos : pos + self.left]
            pos += len(part)
            self.left -= len(part)
            found.append(PayloadPart(part, not self.left))
            if self.left:
                return
            self.frame_offset += HEADER_SIZE + self.header.length
            self.header = None

    def get_buffer(self, sizehint: int = -1) -> bytearray:
        """A buffer to receive into; how much was received is then told to :meth:`buffer_updated`."""
        if self._buffer is None:
            self._buffer = bytearray(READ_SIZE)
        return self._buffer

    def buffer_updated(self, size: int) -> list[FrameEvent]:
        """Take the first `size` bytes of the buffer as the next of the stream. Parts are copies: it is used again.

        :raises FrameError: as :meth:`receive_data`
        """
        return self.receive_data(bytes(memoryview(self.get_buffer())[:size]))

    def _inside(self) -> bool:
        return self.header is not None or bool(self._partial)


class FrameAssembler(_Stream[Frame]):
    """Whole frames out of a stream. It holds one frame at most, in memory that grows with what arrives of it."""

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        super().__init__(limits)
        self._header: Header | None = None
        self._body = bytearray()  # what is there of the frame at hand: of its header, then of its payload
        self._scratch: bytearray | None = None  # lent for all but large payloads; no frame refers to it
        self._lent: memoryview | None = None
        self._lent_body = False  # whether what is lent is the end of the body
        self._filled = 0  # bytes of the body that are received, while its end is lent

    def _receive(self, data: Buffer, found: list[Frame]) -> None:
        pos, end = 0, len(data)
        while True:
            if self._header is None:
                if self._body or end - pos < HEADER_SIZE:
                    taken = min(HEADER_SIZE - len(self._body), end - pos)
                    self._body += data[pos : pos + taken]
                    pos += taken
                    if len(self._body) < HEADER_SIZE:
                        return
                    self._header = _header(self._body, 0, self.frame_offset, self.limits)
                    self._body = bytearray()
                else:
                    self._header = _header(data, pos, self.frame_offset, self.limits)
                    pos += HEADER_SIZE
            length = self._header.length
            left = length - len(self._body)
            if left > end - pos:
                self._body += data[pos:]
                return
            if self._body:
                self._body += data[pos : pos + left]
                found.append(self._complete(self._body))
            else:
                found.append(self._complete(memoryview(data)[pos : pos + left]))
            pos += left

    def _complete(self, payload: bytearray | memoryview) -> Frame:
        assert self._header is not None
        # Small payloads are decoded faster from bytes than the copy takes; of large ones there is none.
        if len(payload) < _VIEW_SIZE or (type(payload) is memoryview and type(payload.obj) is not bytes):
            frame = Frame(self._header, bytes(payload))
        else:
            frame = Frame(self._header, memoryview(payload).toreadonly())
        self.frame_offset += HEADER_SIZE + self._header.length
        self._header = None
        self._body = bytearray()
        return frame

    def get_buffer(self, sizehint: int = -1) -> memoryview:
        """A buffer to receive into; how much was received is then told to :meth:`buffer_updated`.

        Inside a large payload it is the payload's own memory, so that nothing is copied later.
        """
        if self._lent is not None:
            return self._lent
        left = 0 if self._header is None else self._header.length - len(self._body)
        self._lent_body = left >= READ_SIZE
        if self._lent_body:
            # As much again as there is, so that a length alone makes us hold no more than one step of memory.
            self._filled = len(self._body)
            self._body += bytes(min(left, max(self._filled, _STEP)))
            self._lent = memoryview(self._body)[self._filled :]
        else:
            if self._scratch is None:
                self._scratch = bytearray(READ_SIZE)
            self._lent = memoryview(self._scratch)
        return self._lent

    def buffer_updated(self, size: int) -> list[Frame]:
        """Take the first `size` bytes of the buffer as the next of the stream.

        :raises FrameError: as :meth:`receive_data`
        """
        lent = self.get_buffer()
        self._lent = None
        if not self._lent_body:
            return self.receive_data(lent[:size])
        lent.release()
        del self._body[self._filled + size :]
        return self.receive_data(b"")

    def _inside(self) -> bool:
        return self._header is not None or bool(self._body)
