"""`gunicorn.dirty.tlv`: the codec under the name that other software knows (COMPAT). The codec is
gunicorn_dirty_protocol."""

from __future__ import annotations

from typing import Any

from gunicorn_dirty_protocol import ProtocolError, decode, decode_from, encode

from .errors import DirtyProtocolError

__all__ = ["TLVEncoder"]


class TLVEncoder:
    """Values as bytes and back. Everything raises DirtyProtocolError for what the protocol cannot carry or is not."""

    @staticmethod
    def encode(value: Any) -> bytes:
        try:
            return encode(value)
        except ProtocolError as exc:
            raise DirtyProtocolError(str(exc)) from exc

    @staticmethod
    def decode(data: bytes, offset: int = 0) -> tuple[Any, int]:
        """The value at `offset`, and the offset behind it."""
        try:
            return decode_from(data, offset)
        except ProtocolError as exc:
            raise DirtyProtocolError(str(exc), data[offset:]) from exc

    @staticmethod
    def decode_full(data: bytes) -> Any:
        """The one value that `data` is."""
        try:
            return decode(data)
        except ProtocolError as exc:
            raise DirtyProtocolError(str(exc), data) from exc
