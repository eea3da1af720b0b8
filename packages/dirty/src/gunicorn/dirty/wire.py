"""The four messages of a call, made and read with as little work as the codec allows; sans I/O.

Used by the clients (calls.py), the slots and the arbiter. The bytes are those of `gunicorn_dirty_protocol`'s message
classes, which serve wherever a microsecond does not count; a test holds the two to each other.
"""

from __future__ import annotations

import struct
from typing import Any

from gunicorn_dirty_protocol import (
    DEFAULT_LIMITS,
    EncodeError,
    ErrorKind,
    MessageError,
    MessageType,
    decode,
    decode_from,
    encode,
    read_routing,
)

__all__ = [
    "CANCEL",
    "CHUNK",
    "END",
    "ERROR",
    "HEADER",
    "MAGIC",
    "REQUEST",
    "RESPONSE",
    "VERSION",
    "Routes",
    "chunk_frame",
    "read_chunk",
    "read_request",
    "read_response",
    "request_frame",
    "response_frame",
]

HEADER = struct.Struct(">HBBIQ")  # magic, version, type, payload length, request id
HEADER_SIZE = HEADER.size
MAGIC = 0x4744
VERSION = 1
# As plain ints, which compare faster than members of an enum.
REQUEST = int(MessageType.REQUEST)
RESPONSE = int(MessageType.RESPONSE)
ERROR = int(MessageType.ERROR)
CHUNK = int(MessageType.CHUNK)
END = int(MessageType.END)
CANCEL = int(MessageType.CANCEL)

_pack = HEADER.pack
_DICT_OF_ONE = b"\x21\x00\x00\x00\x01"
_RESULT = _DICT_OF_ONE + encode("result")
_DATA = _DICT_OF_ONE + encode("data")
_DICT_OF_FOUR = b"\x21\x00\x00\x00\x04"
_APP_PATH, _ACTION, _ARGS, _KWARGS = (encode(key) for key in ("app_path", "action", "args", "kwargs"))
_NO_KWARGS = _KWARGS + encode({})
_SMALL = 65536  # bytes; payloads up to here are copied once more rather than handled in parts
_MAX_ROUTES = 1024

# What stands before the value of args, by app and action, and (without the key "args" itself) the other way round.
_fronts: dict[tuple[str, str], bytes] = {}
_names: dict[bytes, tuple[str, str]] = {}


def request_frame(request_id: int, app_path: str, action: str, args: Any, kwargs: Any) -> bytes:
    """A REQUEST. Raises EncodeError when an argument cannot be carried."""
    front = _fronts.get((app_path, action))
    if front is None:
        front = _remember_front(app_path, action)
    payload = b"".join((front, encode(args), _KWARGS, encode(kwargs))) if kwargs else front + encode(args) + _NO_KWARGS
    if len(payload) > DEFAULT_LIMITS.max_payload:
        _refuse(len(payload))
    return _pack(MAGIC, VERSION, REQUEST, len(payload), request_id) + payload


def _remember_front(app_path: str, action: str) -> bytes:
    """All of a REQUEST's payload before the value of args."""
    known = _DICT_OF_FOUR + _front_of(app_path, action)
    if len(_fronts) >= _MAX_ROUTES:
        _names.clear()
        _fronts.clear()
    front = _fronts[app_path, action] = known + _ARGS
    _names[known] = (app_path, action)
    return front


def _front_of(app_path: str, action: str) -> bytes:
    return _APP_PATH + encode(app_path) + _ACTION + encode(action)


def response_frame(request_id: int, result: Any) -> bytes:
    """A RESPONSE. Raises EncodeError when the result cannot be carried."""
    return _value_frame(RESPONSE, request_id, _RESULT, result)


def chunk_frame(request_id: int, data: Any) -> bytes:
    """A CHUNK. Raises EncodeError when the item cannot be carried."""
    return _value_frame(CHUNK, request_id, _DATA, data)


def _value_frame(kind: int, request_id: int, front: bytes, value: Any) -> bytes:
    payload = encode(value)
    size = len(front) + len(payload)
    if size > DEFAULT_LIMITS.max_payload:
        _refuse(size)
    return b"".join((_pack(MAGIC, VERSION, kind, size, request_id), front, payload))


def _refuse(size: int) -> None:
    raise EncodeError(
        ErrorKind.TOO_LONG, f"a payload of {size} bytes exceeds the limit of {DEFAULT_LIMITS.max_payload}"
    )


def read_request(payload: bytes | memoryview) -> tuple[str, str, list[Any], dict[str, Any]]:
    """App path, action, args and kwargs of a REQUEST's payload. Raises DecodeError or MessageError."""
    if len(payload) <= _SMALL:
        # Indexing bytes is faster than indexing a view of them, which counts here; large payloads are not copied.
        payload = bytes(payload)
        start = payload.find(_ARGS)
        route = _names.get(payload[:start])
        if route is not None:
            value, end = decode_from(payload, start + len(_ARGS))
            if type(value) is list and payload[end:] == _NO_KWARGS:
                return route[0], route[1], value, {}
    fields = decode(payload)
    try:
        app_path, action = fields["app_path"], fields["action"]
        args, kwargs = fields.get("args", []), fields.get("kwargs", {})
    except (KeyError, TypeError, AttributeError):
        raise MessageError(ErrorKind.BAD_PAYLOAD, "REQUEST needs the fields 'app_path' and 'action'") from None
    if type(app_path) is not str or type(action) is not str or type(args) is not list or type(kwargs) is not dict:
        raise MessageError(ErrorKind.BAD_PAYLOAD, "a field of REQUEST has the wrong type")
    if (app_path, action) not in _fronts:
        _remember_front(app_path, action)
    return app_path, action, args, kwargs


def read_response(payload: bytes | memoryview) -> Any:
    """The result in a RESPONSE's payload. Raises DecodeError or MessageError."""
    return _field(payload, _RESULT, "result")


def read_chunk(payload: bytes | memoryview) -> Any:
    """The item in a CHUNK's payload. Raises DecodeError or MessageError."""
    return _field(payload, _DATA, "data")


def _field(payload: bytes | memoryview, front: bytes, name: str) -> Any:
    if len(payload) <= _SMALL:
        payload = bytes(payload)
    # A dict with this one key is what everybody sends: what follows the front is the value.
    if payload[: len(front)] == front:
        return decode(payload[len(front) :])
    try:
        return decode(payload)[name]
    except (KeyError, TypeError):
        raise MessageError(ErrorKind.BAD_PAYLOAD, f"the answer lacks the field {name!r}") from None


class Routes:
    """App and action of requests, read from the front of their payloads and remembered by those bytes."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[str, str]] = {}

    def find(self, data: bytearray, start: int, stop: int) -> tuple[str, str] | None:
        """App path and action of the payload in `data[start:stop]`; None when more of it is needed.

        :raises DecodeError, MessageError: it is no REQUEST's
        """
        end = data.find(_ARGS, start, stop)
        front = bytes(data[start:end]) if end >= 0 else b""
        route = self._known.get(front)
        if route is not None:
            return route
        routing = read_routing(memoryview(data)[start:stop])
        if routing is None:
            return None
        route = (routing.app_path, routing.action)
        # Only what has nothing but these two fields in front is a key: it then decides the route alone.
        if front[5:] == _front_of(*route):
            if len(self._known) >= _MAX_ROUTES:
                self._known.clear()
            self._known[front] = route
        return route
