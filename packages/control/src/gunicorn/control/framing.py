"""The control protocol's framing: a length (u32, big-endian), then that many bytes of UTF-8 JSON (WIRE.md).

Sans-I/O: the endpoint and the client feed it what they received and write what it encodes.
"""

import json
import struct
from typing import Any, NoReturn

from gunicorn.control.errors import FrameTooLargeError, InvalidMessageError

__all__ = ["HEADER_SIZE", "MAX_FRAME_SIZE", "FrameDecoder", "decode_json", "encode_frame"]

MAX_FRAME_SIZE = 16 * 1024 * 1024
"""The protocol's limit for one message, in bytes, without its length field."""

_HEADER = struct.Struct(">I")
HEADER_SIZE = _HEADER.size


def encode_frame(value: Any, limit: int = MAX_FRAME_SIZE) -> bytes:
    """Return ``value`` as one frame.

    :raises FrameTooLargeError: its JSON is longer than ``limit`` bytes.
    :raises TypeError, ValueError: it has no JSON form (also NaN and infinities, which JSON does not know).
    """
    payload = json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")
    if len(payload) > limit:
        raise FrameTooLargeError(len(payload), limit)
    return _HEADER.pack(len(payload)) + payload


def decode_json(payload: bytes) -> Any:
    """Return the value of one frame's payload.

    :raises InvalidMessageError: it is not UTF-8, not JSON, or nested deeper than the interpreter's stack.
    """
    try:
        return json.loads(payload.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as exc:
        raise InvalidMessageError(f"the message is not UTF-8: {exc.reason} at byte {exc.start}") from exc
    except json.JSONDecodeError as exc:
        raise InvalidMessageError(f"the message is not JSON: {exc.msg} at character {exc.pos}") from exc
    except ValueError as exc:  # a constant of JavaScript, or an integer of more digits than int() takes
        raise InvalidMessageError(f"the message is not JSON: {exc}") from exc
    except RecursionError as exc:
        raise InvalidMessageError("the message is nested too deeply") from exc


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


class FrameDecoder:
    """Finds the frames in a stream of bytes, whatever its pieces.

    Holds at most one frame of ``limit`` bytes beyond what was handed to it, as long as the caller takes the frames
    out (until :meth:`next_frame` returns None) before it reads more.
    """

    def __init__(self, limit: int = MAX_FRAME_SIZE) -> None:
        self.limit = limit
        self._buffer = bytearray()

    @property
    def mid_frame(self) -> bool:
        """Whether bytes are held: a frame has begun (or, before :meth:`next_frame` was asked, has arrived)."""
        return bool(self._buffer)

    def receive_data(self, data: bytes) -> None:
        """Take received bytes."""
        self._buffer += data

    def next_frame(self) -> bytes | None:
        """Return the payload of the next complete frame, or None where it has not arrived.

        :raises FrameTooLargeError: its length exceeds the limit. It is raised as soon as the length is there and
            again at every later call.
        """
        buffer = self._buffer
        if len(buffer) < HEADER_SIZE:
            return None
        (size,) = _HEADER.unpack_from(buffer)
        if size > self.limit:
            raise FrameTooLargeError(size, self.limit)
        end = HEADER_SIZE + size
        if len(buffer) < end:
            return None
        payload = bytes(buffer[HEADER_SIZE:end])
        del buffer[:end]
        return payload
