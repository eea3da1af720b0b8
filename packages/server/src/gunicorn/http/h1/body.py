"""Reads HTTP/1 message bodies from a buffer: of a known length, or chunked (RFC 9112 sections 6 and 7).

A reader takes what it can from the front of the connection's ``bytearray`` and returns the body bytes found;
:attr:`done` is true once the message is complete and the rest of the buffer belongs to the next one. Bytes that can be
nothing but body, as most of an upload, need no buffer: see :meth:`BodyReader.skip`.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

from gunicorn.http.errors import InvalidChunk, InvalidHeader, LimitRequestHeaders, RemoteProtocolError
from gunicorn.http.fields import (
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    HOST_FIELD,
    TOKEN,
    TRANSFER_ENCODING,
    FieldTable,
)

_TOKEN: Final = TOKEN.pattern
_QUOTED: Final = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
CHUNK_SIZE: Final = re.compile(
    rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[ \t]*%b(?:[ \t]*=[ \t]*(?:%b|%b))?)*" % (_TOKEN, _TOKEN, _QUOTED)
)
LONGEST_CHUNK_LINE: Final = 4096
"""Bytes of one chunk-size line, extensions included; more is an attack."""

MOST_SURPLUS: Final = 16384
"""Bytes by which a body's chunk extensions may outgrow its data, however many chunks they are spread over.

Otherwise a client could have a server read for ever and hand on next to nothing (CVE-2023-39326).
"""

NOT_IN_TRAILERS: Final = (HOST_FIELD, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, EXPECT)


class BodyReader(Protocol):
    done: bool
    left: int
    """How many bytes are body, whatever they are, before anything else can come; 0 while that is not known."""

    def skip(self, size: int) -> None:
        """Count *size* bytes of body, at most :attr:`left`, that the caller has taken itself."""

    def read(self, buffer: bytearray) -> bytes:
        """Take body bytes from the front of *buffer*; ``b""`` when more are needed or the body has ended."""


class SizedBody:
    """A body of Content-Length bytes (RFC 9112 section 6.2)."""

    __slots__ = ("done", "left")

    def __init__(self, length: int) -> None:
        self.left = length
        self.done = length == 0

    def skip(self, size: int) -> None:
        self.left -= size
        self.done = self.left == 0

    def read(self, buffer: bytearray) -> bytes:
        size = len(buffer)
        if size <= self.left:
            found = bytes(buffer)
            buffer.clear()
        else:
            size = self.left
            found = bytes(buffer[:size])
            del buffer[:size]
        self.skip(size)
        return found


class ChunkedBody:
    """A chunked body (RFC 9112 section 7.1). Extensions are checked and dropped, trailer fields too."""

    __slots__ = ("_fields", "_read", "_surplus", "_table", "done", "left")

    def __init__(self, table: FieldTable) -> None:
        self.done = False
        self._table = table
        self.left = 0  # of the chunk at hand
        self._surplus = 0
        self._fields = 0
        self._read = self._read_size

    def read(self, buffer: bytearray) -> bytes:
        parts = []
        while not self.done:
            found = self._read(buffer)
            if found is None:
                break
            if found:
                parts.append(found)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def skip(self, size: int) -> None:
        self.left -= size
        if not self.left:
            self._read = self._read_end_of_chunk

    # Each step takes one piece of the grammar and returns its body bytes, or None when the piece is not whole yet.

    def _read_size(self, buffer: bytearray) -> bytes | None:
        line = _take_line(buffer, LONGEST_CHUNK_LINE, InvalidChunk)
        if line is None:
            return None
        match = CHUNK_SIZE.fullmatch(line)
        if match is None:
            raise InvalidChunk(f"chunk size {line[:64]!r} is not a hexadecimal number with extensions")
        digits = match[1]
        self.left = size = int(digits, 16)
        if len(line) != len(digits) or self._surplus:
            self._surplus = max(0, self._surplus + len(line) - len(digits) - size)
            if self._surplus > MOST_SURPLUS:
                raise InvalidChunk("the chunk extensions of a body are longer than its data")
        self._read = self._read_data if size else self._read_trailers
        return b""

    def _read_data(self, buffer: bytearray) -> bytes | None:
        if not buffer:
            return None
        found = bytes(buffer[: self.left])
        del buffer[: self.left]
        self.skip(len(found))
        return found

    def _read_end_of_chunk(self, buffer: bytearray) -> bytes | None:
        if buffer[:2] == b"\r\n":
            del buffer[:2]
            self._read = self._read_size
            return b""
        if len(buffer) >= 2 or (buffer and buffer[0] != 0x0D):
            raise InvalidChunk("a chunk is longer than its size, or not followed by CRLF")
        return None

    def _read_trailers(self, buffer: bytearray) -> bytes | None:
        limit = self._table.policy.limit_request_field_size
        line = _take_line(buffer, limit or 1 << 40, LimitRequestHeaders)
        if line is None:
            return None
        if not line:
            self.done = True
            return b""
        self._fields += 1
        if self._fields > (self._table.policy.limit_request_fields or 1 << 30):
            raise LimitRequestHeaders(f"{self._fields} trailer fields are over the limit")
        field = self._table.known.get(line) or self._table.read(line)
        if field.kind in NOT_IN_TRAILERS:
            raise InvalidHeader(f"field {field.pair[0]!r} may not stand in a trailer", "RFC 9110 section 6.5.1")
        return b""


def _take_line(buffer: bytearray, limit: int, too_long: type[RemoteProtocolError]) -> bytes | None:
    end = buffer.find(b"\r\n")
    if end > limit or (end < 0 and len(buffer) > limit + 1):
        raise too_long(f"a line of a chunked body is over {limit} bytes")
    if end < 0:
        return None
    line = bytes(buffer[:end])
    del buffer[: end + 2]
    return line
