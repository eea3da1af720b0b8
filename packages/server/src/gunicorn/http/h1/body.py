"""Reads HTTP/1 message bodies from a buffer: of a known length, or chunked (RFC 9112 sections 6 and 7).

A reader takes what it can from the front of the connection's ``bytearray`` and returns the body bytes found;
:attr:`done` is true once the message is complete and the rest of the buffer belongs to the next one.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

from gunicorn.http.errors import InvalidChunk, InvalidHeader, LimitRequestHeaders, RemoteProtocolError
from gunicorn.http.fields import CONTENT_LENGTH, HOST_FIELD, TOKEN, TRANSFER_ENCODING, FieldTable

_TOKEN: Final = TOKEN.pattern
_QUOTED: Final = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
CHUNK_SIZE: Final = re.compile(
    rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[ \t]*%b(?:[ \t]*=[ \t]*(?:%b|%b))?)*" % (_TOKEN, _TOKEN, _QUOTED)
)
LONGEST_CHUNK_LINE: Final = 4096
"""Bytes of one chunk-size line, extensions included; more is an attack (CVE-2023-39326 and its kin)."""


class BodyReader(Protocol):
    done: bool

    def read(self, buffer: bytearray) -> bytes:
        """Take body bytes from the front of *buffer*; ``b""`` when more are needed or the body has ended."""


class SizedBody:
    """A body of Content-Length bytes (RFC 9112 section 6.2)."""

    __slots__ = ("done", "left")

    def __init__(self, length: int) -> None:
        self.left = length
        self.done = length == 0

    def read(self, buffer: bytearray) -> bytes:
        size = len(buffer)
        if size <= self.left:
            found = bytes(buffer)
            buffer.clear()
        else:
            size = self.left
            found = bytes(buffer[:size])
            del buffer[:size]
        self.left -= size
        self.done = self.left == 0
        return found


class ChunkedBody:
    """A chunked body (RFC 9112 section 7.1). Extensions are checked and dropped, trailer fields too."""

    __slots__ = ("_fields", "_left", "_read", "_table", "done")

    def __init__(self, table: FieldTable) -> None:
        self.done = False
        self._table = table
        self._left = 0
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

    # Each step takes one piece of the grammar and returns its body bytes, or None when the piece is not whole yet.

    def _read_size(self, buffer: bytearray) -> bytes | None:
        line = _take_line(buffer, LONGEST_CHUNK_LINE, InvalidChunk)
        if line is None:
            return None
        match = CHUNK_SIZE.fullmatch(line)
        if match is None:
            raise InvalidChunk(f"chunk size {line[:64]!r} is not a hexadecimal number with extensions")
        self._left = int(match[1], 16)
        self._read = self._read_data if self._left else self._read_trailers
        return b""

    def _read_data(self, buffer: bytearray) -> bytes | None:
        if not buffer:
            return None
        found = bytes(buffer[: self._left])
        del buffer[: self._left]
        self._left -= len(found)
        if not self._left:
            self._read = self._read_end_of_chunk
        return found

    def _read_end_of_chunk(self, buffer: bytearray) -> bytes | None:
        if buffer[:2] == b"\r\n":
            del buffer[:2]
            self._read = self._read_size
            return b""
        if len(buffer) >= 2 or (buffer and buffer[0] != 0x0D):
            raise InvalidChunk(f"a chunk is followed by {bytes(buffer[:2])!r}, not by CRLF")
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
        if field.kind in (CONTENT_LENGTH, TRANSFER_ENCODING, HOST_FIELD):
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
