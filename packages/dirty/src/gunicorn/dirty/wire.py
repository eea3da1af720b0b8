"""The four messages of a call, made and read with as little work as the codec allows; sans I/O.

Used by the clients (calls.py), the slots and the arbiter. The bytes are those of `gunicorn_dirty_protocol`'s message
classes, which serve wherever a microsecond does not count; a test holds the two to each other.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from gunicorn_dirty_protocol import (
    EncodeError,
    Error,
    ErrorKind,
    Limits,
    MessageError,
    MessageType,
    ProtocolError,
    Request,
    decode,
    decode_from,
    encode,
    encode_chunks,
    read_routing,
)

from .errors import DirtyError

__all__ = [
    "CANCEL",
    "CHUNK",
    "END",
    "ERROR",
    "ERROR_HEAD",
    "HEAD",
    "HEADER",
    "LIMITS",
    "MAGIC",
    "NO_FRONT",
    "NO_OPTIONS",
    "REQUEST",
    "REQUEST_HEAD",
    "RESPONSE",
    "RESPONSE_HEAD",
    "STASH",
    "STASH_HEAD",
    "VERSION",
    "Frame",
    "Front",
    "Options",
    "Piece",
    "Route",
    "Routes",
    "chunk_frame",
    "error_frame",
    "front_of",
    "payload_of",
    "printable",
    "read_chunk",
    "read_deadline",
    "read_encoded",
    "read_request",
    "read_response",
    "read_shared",
    "request_frame",
    "response_frame",
    "shared_request",
    "shared_response",
    "value_of",
    "whole",
    "write_deadline",
]

HEADER = struct.Struct(">HBBIQ")  # magic, version, type, payload length, request id
HEADER_SIZE = HEADER.size
HEAD = struct.Struct(">IIQ")  # the same with the first three as one number, which is less to make and to compare
MAGIC = 0x4744
VERSION = 1
# As plain ints, which compare faster than members of an enum.
REQUEST = int(MessageType.REQUEST)
RESPONSE = int(MessageType.RESPONSE)
ERROR = int(MessageType.ERROR)
CHUNK = int(MessageType.CHUNK)
END = int(MessageType.END)
CANCEL = int(MessageType.CANCEL)
STASH = int(MessageType.STASH)
REQUEST_HEAD, RESPONSE_HEAD, ERROR_HEAD, STASH_HEAD = (
    MAGIC << 16 | VERSION << 8 | kind for kind in (REQUEST, RESPONSE, ERROR, STASH)
)

#: What a message of the pool may be: as large as its header can say. Peers of one pool trust each other, and room is
#: made for what has come, not for what is announced.
LIMITS = Limits(max_payload=0xFFFFFFFF, max_length=0xFFFFFFFF)
Piece = bytes | bytearray | memoryview
Frame = bytes | list[Piece]  # in pieces when it is large, so that nothing is copied

_pack = HEADER.pack
_LARGE = 262144  # bytes from which on a frame is not joined
_DICT_OF_ONE = b"\x21\x00\x00\x00\x01"
_RESULT = _DICT_OF_ONE + encode("result")
_RESULT_SIZE = len(_RESULT)
_DATA = _DICT_OF_ONE + encode("data")
_SHARED = encode("shared")
_SHARED_LENGTH = _DICT_OF_ONE + _SHARED
_APP_PATH, _ACTION, _ARGS, _KWARGS = (encode(key) for key in ("app_path", "action", "args", "kwargs"))
_DEADLINE, _PRIORITY = encode("deadline"), encode("priority")
_TRACEPARENT, _IDEMPOTENCY_KEY = encode("traceparent"), encode("idempotency_key")
_NO_KWARGS = _KWARGS + encode({})
_SMALL = 65536  # bytes; payloads up to here are copied once more rather than handled in parts
_MAX_ROUTES = 1024
_DEADLINE_HEAD = _DEADLINE + b"\x06"
_DEADLINE_SIZE = 8
_deadline = struct.Struct(">d")
_int = struct.Struct(">q")
_INT = encode(0)[0]
_INT_SIZE = 9
_CONSTANTS: dict[bytes, Any] = {encode(value): value for value in (None, False, True)}
_MISSING: Any = object()


class Options(NamedTuple):
    """The optional keys of a REQUEST (docs/protocol.md, 3.1); `deadline` in seconds from when it is sent."""

    deadline: float | None = None
    priority: int | None = None
    traceparent: str | None = None
    idempotency_key: str | None = None
    shared: Sequence[int] | None = None  # a mapping's token, and the bytes there that are the payload


NO_OPTIONS = Options()


class Route(NamedTuple):
    """What the front of a REQUEST says.

    :ivar deadline_at: where in the payload the eight bytes of the deadline's float are. One Route then serves requests
        of any deadline, and its own option is None. 0: see the option
    """

    app_path: str
    action: str
    options: Options = NO_OPTIONS
    deadline_at: int = 0


class Front(NamedTuple):
    """The bytes that a payload begins with, the key of args included, and the route that they decide.

    :ivar head: up to the deadline's float, or to the end
    :ivar tail_at: where `tail`, which is behind the float, begins; 0 where there is no deadline
    """

    head: bytes
    tail_at: int
    tail: bytes
    route: Route | None


NO_FRONT = Front(b"", 0, b"", None)


# What stands before the value of args, by what it says; and, without the key "args" itself and without the bytes of the
# deadline, which differ from call to call, the other way round.
_fronts: dict[tuple[str, str, Options], bytes] = {}
_names: dict[bytes, Route] = {}
_last = NO_FRONT  # of the last request that was read: most are like the one before


def request_frame(
    request_id: int, app_path: str, action: str, args: Any, kwargs: Any, options: Options = NO_OPTIONS
) -> Frame:
    """A REQUEST. Raises EncodeError when an argument cannot be carried."""
    front = _fronts.get((app_path, action, options))
    if front is None:
        front = _remember(Route(app_path, action, options)) + _ARGS
    pieces = encode_chunks(args, LIMITS)
    if kwargs:
        pieces.append(_KWARGS)
        pieces += encode_chunks(kwargs, LIMITS)
    else:
        pieces.append(_NO_KWARGS)
    size = len(front) + sum(map(len, pieces))
    if size < _SMALL:
        return b"".join((_pack(MAGIC, VERSION, REQUEST, size, request_id), front, *pieces))
    return _frame(REQUEST, request_id, front, pieces)


def _frame(kind: int, request_id: int, front: bytes, pieces: list[bytes | bytearray | memoryview]) -> Frame:
    if len(pieces) == 1 and len(pieces[0]) < _SMALL:
        piece = pieces[0]
        return _pack(MAGIC, VERSION, kind, len(front) + len(piece), request_id) + front + piece
    size = len(front) + sum(map(len, pieces))
    if size > LIMITS.max_payload:
        _refuse(size)
    header = _pack(MAGIC, VERSION, kind, size, request_id)
    if size < _LARGE:
        return b"".join((header, front, *pieces))
    return [header + front, *pieces]


def _remember(route: Route) -> bytes:
    """All of a REQUEST's payload before the key of args. It is remembered if it can be that of another request, too."""
    known = _front_of(route)
    if _is_recurring(route):
        if len(_fronts) >= _MAX_ROUTES:
            _names.clear()
            _fronts.clear()
        _fronts[route[:3]] = known + _ARGS
        _names[_without_deadline(known, len(known))[0]] = _any_deadline(route)
    return known


def _any_deadline(route: Route) -> Route:
    """The route for requests that differ from this one in the deadline only."""
    if route.options.deadline is None:
        return route
    at = len(_front_of(Route(route.app_path, route.action))) + len(_DEADLINE_HEAD)
    return Route(route.app_path, route.action, route.options._replace(deadline=None), at)


def _without_deadline(payload: bytes | bytearray, end: int, start: int = 0) -> tuple[bytes, int]:
    """The front in `payload[start:end]` without the bytes of its deadline, and where these are (0: nowhere)."""
    at = payload.find(_DEADLINE_HEAD, start, end)
    if at < 0:
        return bytes(payload[start:end]), 0
    at += len(_DEADLINE_HEAD)
    return bytes(payload[start:at] + payload[at + _DEADLINE_SIZE : end]), at - start


def _front_in(payload: bytes | bytearray, at: int, end: int, route: Route) -> Front:
    """What `payload[:end]` is, whose deadline is at `at` (0: nowhere)."""
    if not at:
        return Front(bytes(payload[:end]), 0, b"", route)
    tail_at = at + _DEADLINE_SIZE
    return Front(bytes(payload[:at]), tail_at, bytes(payload[tail_at:end]), route)


def _is_recurring(route: Route) -> bool:
    # A trace, and a call that may be repeated, have names of their own.
    return route.options[2:] == (None, None, None)


def _front_of(route: Route) -> bytes:
    app_path, action, (deadline, priority, traceparent, key, _shared), _ = route
    parts = [_APP_PATH, encode(app_path), _ACTION, encode(action)]
    for name, value in (
        (_DEADLINE, None if deadline is None else float(deadline)),
        (_PRIORITY, priority),
        (_TRACEPARENT, traceparent),
        (_IDEMPOTENCY_KEY, key),
    ):
        if value is not None:
            parts += (name, encode(value))
    return b"\x21" + (len(parts) // 2 + 2).to_bytes(4, "big") + b"".join(parts)


def response_frame(request_id: int, result: Any) -> Frame:
    """A RESPONSE. Raises EncodeError when the result cannot be carried."""
    pieces = encode_chunks(result, LIMITS)
    if len(pieces) == 1 and len(pieces[0]) < _SMALL:
        piece = pieces[0]
        return _pack(MAGIC, VERSION, RESPONSE, _RESULT_SIZE + len(piece), request_id) + _RESULT + piece
    return _frame(RESPONSE, request_id, _RESULT, pieces)


def chunk_frame(request_id: int, data: Any) -> Frame:
    """A CHUNK. Raises EncodeError when the item cannot be carried."""
    return _frame(CHUNK, request_id, _DATA, encode_chunks(data, LIMITS))


def payload_of(frame: Frame) -> list[Piece]:
    """The frame without its header."""
    first, *rest = [frame] if isinstance(frame, bytes) else frame
    return [memoryview(first)[HEADER_SIZE:], *rest]


def front_of(frame: Frame) -> bytes:
    """What a REQUEST begins with, up to its arguments; empty for another message."""
    first = frame if isinstance(frame, bytes) else frame[0]
    if first[3] != REQUEST:
        return b""
    return bytes(first[HEADER_SIZE : bytes(first).find(_ARGS, HEADER_SIZE)])


def shared_request(frame: Frame, token: int, length: int) -> Frame:
    """This REQUEST, whose payload is in the first `length` bytes of a mapping; or, of length 0, whose result may go
    there."""
    first = bytes(frame if isinstance(frame, bytes) else frame[0])
    _, _, _, size, request_id = HEADER.unpack_from(first)
    count = int.from_bytes(first[HEADER_SIZE + 1 : HEADER_SIZE + 5], "big")
    place = _SHARED + encode([token, length])
    fields = first[HEADER_SIZE + 5 :]
    if length:  # without args and kwargs, of which the key of the first is here
        fields = fields[: -len(_ARGS)]
        size = 5 + len(fields)
        count -= 2
    header = _pack(MAGIC, VERSION, REQUEST, size + len(place), request_id)
    front = header + b"\x21" + (count + 1).to_bytes(4, "big") + place + fields
    return front if length or isinstance(frame, bytes) else [front, *frame[1:]]


def shared_response(request_id: int, length: int) -> bytes:
    """A RESPONSE whose payload is in the first `length` bytes of the request's mapping."""
    payload = _SHARED_LENGTH + encode(length)
    return _pack(MAGIC, VERSION, RESPONSE, len(payload), request_id) + payload


def read_shared(payload: bytes | memoryview) -> int | None:
    """How many bytes of the mapping are the RESPONSE's payload; None where that is here."""
    if len(payload) != len(_SHARED_LENGTH) + _INT_SIZE or payload[: len(_SHARED_LENGTH)] != _SHARED_LENGTH:
        return None
    length: int = _int.unpack_from(payload, len(_SHARED_LENGTH) + 1)[0]
    return length


def whole(frame: Frame) -> bytes:
    """The frame in one piece."""
    return frame if isinstance(frame, bytes) else b"".join(frame)


def _refuse(size: int) -> None:
    raise EncodeError(ErrorKind.TOO_LONG, f"a payload of {size} bytes exceeds the limit of {LIMITS.max_payload}")


def error_frame(request_id: int, error: DirtyError) -> bytes:
    """An ERROR; what of it the protocol cannot carry is left out."""
    data = error.to_dict()
    try:
        return Error(request_id, data["error_type"], data["message"], data["details"]).to_bytes()
    except ProtocolError:
        return Error(request_id, data["error_type"], printable(data["message"])).to_bytes()


def printable(text: object) -> str:
    """Text that UTF-8 can carry: surrogates, which file names may contain, are escaped."""
    return str(text).encode("utf-8", "backslashreplace").decode()


def read_request(
    payload: bytes | memoryview, fetch: Callable[[int, int], memoryview]
) -> tuple[Route, float | None, list[Any], dict[str, Any]]:
    """Route, deadline (seconds), args and kwargs of a REQUEST's payload.

    :param fetch: gives the payload that lies in the mapping with this token and has so many bytes
    :raises DecodeError, MessageError: it is malformed
    """
    global _last
    if len(payload) <= _SMALL:
        # Indexing bytes is faster than indexing a view of them, which counts here; large payloads are not copied.
        payload = bytes(payload)
        head, tail_at, tail, route = _last
        if route is not None and payload.startswith(head) and (not tail_at or payload.startswith(tail, tail_at)):
            value, end = decode_from(payload, tail_at + len(tail) if tail_at else len(head))
            if payload[end:] == _NO_KWARGS and type(value) is list:
                return route, read_deadline(route, payload, 0) if tail_at else None, value, {}
        start = payload.find(_ARGS)
        if payload.find(_DEADLINE_HEAD, 0, start) < 0:
            front, at = payload[:start], 0
        else:
            front, at = _without_deadline(payload, start)
        route = _names.get(front)
        if route is not None and at == route[3]:
            _last = _front_in(payload, at, start + len(_ARGS), route)
            value, end = decode_from(payload, start + len(_ARGS))
            if type(value) is list and payload[end:] == _NO_KWARGS:
                return route, read_deadline(route, payload, 0) if at else None, value, {}
    request = Request.from_payload(0, payload, LIMITS)
    deadline = request.deadline
    route = Route(
        request.app_path,
        request.action,
        Options(deadline, request.priority, request.traceparent, request.idempotency_key, request.shared),
    )
    if request.shared is not None and request.shared[1]:
        request = Request.from_payload(0, fetch(*request.shared), LIMITS)
    if len(payload) <= _SMALL and _is_recurring(route) and route[:3] not in _fronts:
        _remember(route)
    return route, deadline, request.args, request.kwargs  # type: ignore[return-value]


def read_deadline(route: Route, payload: bytes | bytearray | memoryview, start: int) -> float | None:
    """The deadline (seconds) of the request whose payload begins at `start`."""
    if not route.deadline_at:
        return route.options.deadline
    seconds: float = _deadline.unpack_from(payload, start + route.deadline_at)[0]
    return seconds if math.isfinite(seconds) else None


def write_deadline(route: Route, payload: bytearray, start: int, seconds: float) -> None:
    """Change the deadline of such a request, if it has one that can be changed."""
    if route.deadline_at:
        _deadline.pack_into(payload, start + route.deadline_at, seconds)


def read_response(payload: bytes | memoryview) -> Any:
    """The result in a RESPONSE's payload. Raises DecodeError or MessageError."""
    if type(payload) is bytes and payload.startswith(_RESULT):
        return value_of(payload[_RESULT_SIZE:])
    return _field(payload, _RESULT, "result")


def read_chunk(payload: bytes | memoryview) -> Any:
    """The item in a CHUNK's payload. Raises DecodeError or MessageError."""
    return _field(payload, _DATA, "data")


def read_encoded(payload: bytes | memoryview) -> bytes:
    """The result in a RESPONSE's payload as the bytes that it is encoded with. Raises DecodeError or MessageError."""
    payload = bytes(payload)
    if payload.startswith(_RESULT):
        return payload[_RESULT_SIZE:]
    return encode(read_response(payload), LIMITS)


def value_of(data: bytes | memoryview) -> Any:
    """The value that is encoded so, in fewer steps where it is an int, None or a bool. Raises DecodeError."""
    if len(data) == _INT_SIZE and data[0] == _INT:
        return _int.unpack_from(data, 1)[0]
    if len(data) <= 2:
        found = _CONSTANTS.get(bytes(data), _MISSING)
        if found is not _MISSING:
            return found
    return decode(data, LIMITS)


def _field(payload: bytes | memoryview, front: bytes, name: str) -> Any:
    if len(payload) <= _SMALL:
        payload = bytes(payload)
    # A dict with this one key is what everybody sends: what follows the front is the value.
    if payload[: len(front)] == front:
        return value_of(payload[len(front) :])
    try:
        return decode(payload, LIMITS)[name]
    except (KeyError, TypeError):
        raise MessageError(ErrorKind.BAD_PAYLOAD, f"the answer lacks the field {name!r}") from None


class Routes:
    """What requests say, read from the front of their payloads and remembered by those bytes.

    :ivar front: of what :meth:`find` found last, if these bytes decide the route of other requests, too
    """

    def __init__(self) -> None:
        self.front = NO_FRONT
        self._known: dict[bytes, Front] = {}

    def find(self, data: bytearray, start: int, stop: int) -> Route | None:
        """The route of the payload in `data[start:stop]`; None when more of it is needed.

        :raises DecodeError, MessageError: it is no REQUEST's
        """
        end = data.find(_ARGS, start, stop)
        if end < 0:
            front, at = b"", 0
        elif data.find(_DEADLINE_HEAD, start, end) < 0:
            front, at = bytes(data[start:end]), 0
        else:
            front, at = _without_deadline(data, end, start)
        self.front = known = self._known.get(front, NO_FRONT)
        if known.route is not None and at == known.route[3]:
            return known.route
        self.front = NO_FRONT
        routing = read_routing(memoryview(data)[start:stop])
        if routing is None:
            return None
        options = Options(routing.deadline, routing.priority, routing.traceparent, routing.idempotency_key)
        route = Route(routing.app_path, routing.action, options)
        # Only what has nothing but these fields in front, written the one way, is a key: it then decides the route
        # alone. The number of fields, which a client may give otherwise, is part of the key.
        if end >= 0 and data[start + 5 : end] == _front_of(route)[5:]:
            route = _any_deadline(route)
            if _is_recurring(route):
                if len(self._known) >= _MAX_ROUTES:
                    self._known.clear()
                self.front = self._known[front] = _front_in(data[start:], at, end + len(_ARGS) - start, route)
        return route
