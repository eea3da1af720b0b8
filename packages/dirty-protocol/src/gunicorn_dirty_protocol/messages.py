"""The messages: one frozen, typed class for each, from and to the bytes of a frame.

Called by clients, workers and the control endpoint; a relay only calls :func:`read_routing`.
Source: docs/protocol.md, "Messages".

Every class has ``type``, ``request_id``, ``to_bytes()`` (a whole frame), ``chunks()`` (the same as pieces, large bytes
not copied) and ``from_payload(request_id, payload)``. :func:`parse` finds the class for a frame.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from .errors import DecodeError, EncodeError, ErrorKind, MessageError
from .header import HEADER_SIZE, Buffer, Header, MessageType, pack_header, unpack_header
from .limits import DEFAULT_LIMITS, Limits
from .tlv import decode, decode_from, encode_chunks

__all__ = [
    "Cancel",
    "Chunk",
    "End",
    "Error",
    "ErrorType",
    "Manage",
    "ManageOp",
    "Message",
    "Request",
    "Response",
    "Routing",
    "Stash",
    "StashOp",
    "Status",
    "parse",
    "parse_frame",
    "read_routing",
]


class ErrorType(str, enum.Enum):
    """The names that an ERROR's ``error_type`` can have; a name that is none of these is read as `DirtyError`."""

    DIRTY = "DirtyError"
    TIMEOUT = "DirtyTimeoutError"
    CONNECTION = "DirtyConnectionError"
    WORKER = "DirtyWorkerError"
    APP = "DirtyAppError"
    APP_NOT_FOUND = "DirtyAppNotFoundError"
    NO_WORKERS_AVAILABLE = "DirtyNoWorkersAvailableError"
    PROTOCOL = "DirtyProtocolError"
    STASH = "StashError"
    STASH_TABLE_NOT_FOUND = "StashTableNotFoundError"
    STASH_KEY_NOT_FOUND = "StashKeyNotFoundError"

    def __str__(self) -> str:
        return self.value


_ERROR_TYPES = {member.value: member for member in ErrorType}


class StashOp(enum.IntEnum):
    """The ``op`` of a STASH message."""

    PUT = 1
    GET = 2
    DELETE = 3
    KEYS = 4
    CLEAR = 5
    INFO = 6
    ENSURE = 7
    DELETE_TABLE = 8
    TABLES = 9
    EXISTS = 10


class ManageOp(enum.IntEnum):
    """The ``op`` of a MANAGE message."""

    ADD = 1
    REMOVE = 2


class _Base:
    """What all messages have in common: a payload dict (None where the payload is empty) between two headers."""

    __slots__ = ()
    type: ClassVar[MessageType]
    request_id: int

    def payload(self) -> dict[str, Any] | None:
        """The payload as the dict that goes over the wire, None for an empty payload."""
        return None

    def chunks(self, limits: Limits = DEFAULT_LIMITS) -> list[Buffer]:
        """The frame as pieces for ``sendmsg`` or ``writelines``; large bytes values are not copied.

        :raises EncodeError: when a value cannot be carried or a limit is passed
        """
        value = self.payload()
        pieces: list[Buffer] = [] if value is None else encode_chunks(value, limits)
        size = sum(map(len, pieces))
        if size > limits.max_payload:
            raise EncodeError(
                ErrorKind.TOO_LONG, f"a payload of {size} bytes exceeds the limit of {limits.max_payload}"
            )
        try:
            pieces.insert(0, pack_header(self.type, self.request_id, size))
        except struct.error:
            raise EncodeError(ErrorKind.INT_RANGE, f"request id {self.request_id!r} is not within 64 bits") from None
        return pieces

    def to_bytes(self, limits: Limits = DEFAULT_LIMITS) -> bytes:
        """The whole frame, header included.

        :raises EncodeError: when a value cannot be carried or a limit is passed
        """
        return b"".join(self.chunks(limits))


@dataclass(frozen=True)
class Request(_Base):
    """Call `action` of the app at `app_path` ("module:Class") with `args` and `kwargs`.

    The optional keys are left out of the payload when they are None, which makes it a v1 payload:

    :ivar deadline: seconds that the caller is going to wait, counted from when the message is sent
    :ivar priority: requests with a higher number are taken first; none means 0
    :ivar traceparent: W3C trace context, passed on to the app
    :ivar idempotency_key: the caller's name for this call, the same when it is tried again
    """

    type: ClassVar[MessageType] = MessageType.REQUEST
    request_id: int
    app_path: str
    action: str
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    deadline: float | None = None
    priority: int | None = None
    traceparent: str | None = None
    idempotency_key: str | None = None

    def payload(self) -> dict[str, Any]:
        payload: dict[str, Any] = {"app_path": self.app_path, "action": self.action}
        # Before args, so that a relay finds them at the front.
        if self.deadline is not None:
            payload["deadline"] = float(self.deadline)
        if self.priority is not None:
            payload["priority"] = self.priority
        if self.traceparent is not None:
            payload["traceparent"] = self.traceparent
        if self.idempotency_key is not None:
            payload["idempotency_key"] = self.idempotency_key
        payload["args"] = list(self.args)
        payload["kwargs"] = dict(self.kwargs)
        return payload

    @classmethod
    def from_payload(cls, request_id: int, payload: Buffer, limits: Limits = DEFAULT_LIMITS) -> Request:
        get = _fields(cls.type, payload, limits)
        return cls(
            request_id,
            get("app_path", str),
            get("action", str),
            get("args", list, []),
            get("kwargs", dict, {}),
            **_options(get),
        )


@dataclass(frozen=True)
class Response(_Base):
    """The answer to a REQUEST, STASH, STATUS or MANAGE with the same id."""

    type: ClassVar[MessageType] = MessageType.RESPONSE
    request_id: int
    result: Any = None

    def payload(self) -> dict[str, Any]:
        return {"result": self.result}

    @classmethod
    def from_payload(cls, request_id: int, payload: Buffer, limits: Limits = DEFAULT_LIMITS) -> Response:
        return cls(request_id, _fields(cls.type, payload, limits)("result", object))


@dataclass(frozen=True)
class Error(_Base):
    """The failure of a request, as data: whoever receives it makes an exception of it, or does not."""

    type: ClassVar[MessageType] = MessageType.ERROR
    request_id: int
    error_type: str = ErrorType.DIRTY.value
    message: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> ErrorType:
        """`error_type` as one of the known types, `ErrorType.DIRTY` when it is none of them."""
        return _ERROR_TYPES.get(self.error_type, ErrorType.DIRTY)

    def payload(self) -> dict[str, Any]:
        error = {"error_type": str(self.error_type), "message": self.message, "details": dict(self.details)}
        return {"error": error}

    @classmethod
    def from_payload(cls, request_id: int, payload: Buffer, limits: Limits = DEFAULT_LIMITS) -> Error:
        get = _getter(cls.type, _fields(cls.type, payload, limits)("error", dict))
        return cls(request_id, get("error_type", str), get("message", str, ""), get("details", dict, {}))


@dataclass(frozen=True)
class Chunk(_Base):
    """One item of a streamed answer."""

    type: ClassVar[MessageType] = MessageType.CHUNK
    request_id: int
    data: Any = None

    def payload(self) -> dict[str, Any]:
        return {"data": self.data}

    @classmethod
    def from_payload(cls, request_id: int, payload: Buffer, limits: Limits = DEFAULT_LIMITS) -> Chunk:
        return cls(request_id, _fields(cls.type, payload, limits)("data", object))


@dataclass(frozen=True)
class _Empty(_Base):
    """A message whose payload is empty; a payload that is sent nevertheless is ignored, as it may hold later keys."""

    request_id: int

    @classmethod
    def from_payload(cls, request_id: int, payload: Buffer, limits: Limits = DEFAULT_LIMITS) -> Any:
        return cls(request_id)


@dataclass(frozen=True)
class End(_Empty):
    """The end of a streamed answer."""

    type: ClassVar[MessageType] = MessageType.END


@dataclass(frozen=True)
class Cancel(_Empty):
    """The caller no longer wants the answer to the request with this id. Not in v1."""

    type: ClassVar[MessageType] = MessageType.CANCEL


@dataclass(frozen=True)
class Status(_Empty):
    """Ask for the state of the pool."""

    type: ClassVar[MessageType] = MessageType.STATUS


@dataclass(frozen=True)
class Stash(_Base):
    """An operation on the stash. A `key`, `value` or `pattern` of None is not given, and left out."""

    type: ClassVar[MessageType] = MessageType.STASH
    request_id: int
    op: StashOp
    table: str = ""
    key: Any = None
    value: Any = None
    pattern: str | None = None

    def payload(self) -> dict[str, Any]:
        payload: dict[str, Any] = {"op": int(self.op), "table": self.table}
        for name in ("key", "value", "pattern"):
            value = getattr(self, name)
            if value is not None:
                payload[name] = value
        return payload

    @classmethod
    def from_payload(cls, request_id: int, payload: Buffer, limits: Limits = DEFAULT_LIMITS) -> Stash:
        get = _fields(cls.type, payload, limits)
        return cls(
            request_id,
            _op(StashOp, cls.type, get),
            get("table", str, ""),
            get("key", object, None),
            get("value", object, None),
            get("pattern", (str, type(None)), None),
        )


@dataclass(frozen=True)
class Manage(_Base):
    """Add workers to the pool, or remove some."""

    type: ClassVar[MessageType] = MessageType.MANAGE
    request_id: int
    op: ManageOp
    count: int = 1

    def payload(self) -> dict[str, Any]:
        return {"op": int(self.op), "count": self.count}

    @classmethod
    def from_payload(cls, request_id: int, payload: Buffer, limits: Limits = DEFAULT_LIMITS) -> Manage:
        get = _fields(cls.type, payload, limits)
        return cls(request_id, _op(ManageOp, cls.type, get), get("count", int, 1))


Message = Request | Response | Error | Chunk | End | Cancel | Stash | Status | Manage

_CLASSES: dict[MessageType, Any] = {
    c.type: c for c in (Request, Response, Error, Chunk, End, Cancel, Stash, Status, Manage)
}


def parse(header: Header, payload: Buffer, limits: Limits = DEFAULT_LIMITS) -> Message:
    """The message of a frame, given as its header and its whole payload.

    :raises DecodeError: when the payload is no well-formed value
    :raises MessageError: when it is, but not one of this message type
    """
    message: Message = _CLASSES[header.type].from_payload(header.request_id, payload, limits)
    return message


def parse_frame(data: Buffer, limits: Limits = DEFAULT_LIMITS) -> Message:
    """The message of one whole frame, header included.

    :raises FrameError: when the header is wrong or the payload has not the length that it says
    """
    header = unpack_header(data)
    payload = memoryview(data)[HEADER_SIZE:]
    if len(payload) != header.length:
        kind = ErrorKind.TRUNCATED if len(payload) < header.length else ErrorKind.TRAILING
        raise MessageError(
            kind, f"the header says {header.length} bytes of payload, here are {len(payload)}", HEADER_SIZE
        )
    return parse(header, payload, limits)


_REQUIRED: Any = object()


def _fields(message_type: MessageType, payload: Buffer, limits: Limits) -> Any:
    value = decode(payload, limits)
    if type(value) is not dict:
        raise MessageError(ErrorKind.BAD_PAYLOAD, f"the payload of {message_type.name} is a dict, not {_name(value)}")
    return _getter(message_type, value)


def _getter(message_type: MessageType, fields: dict[str, Any]) -> Any:
    """A function (name, type, default) -> value of a checked field."""

    def get(name: str, kind: Any, default: Any = _REQUIRED) -> Any:
        value = fields.get(name, default)
        if value is _REQUIRED:
            raise MessageError(ErrorKind.BAD_PAYLOAD, f"{message_type.name} lacks the field {name!r}")
        if not isinstance(value, kind):
            raise MessageError(ErrorKind.BAD_PAYLOAD, f"the field {name!r} of {message_type.name} is {_name(value)}")
        return value

    return get


def _name(value: object) -> str:
    return f"a value of type {type(value).__name__}"


def _op(enumeration: Any, message_type: MessageType, get: Any) -> Any:
    number = get("op", int)
    try:
        return enumeration(number)
    except ValueError:
        raise MessageError(ErrorKind.BAD_PAYLOAD, f"{message_type.name} has no operation {number}") from None


def _options(get: Any) -> dict[str, Any]:
    """The optional keys of a REQUEST; what has not the right type is a key of someone else's and is ignored."""
    deadline = get("deadline", object, None)
    priority = get("priority", object, None)
    traceparent = get("traceparent", object, None)
    idempotency_key = get("idempotency_key", object, None)
    return {
        "deadline": float(deadline) if type(deadline) in (int, float) else None,
        "priority": priority if type(priority) is int else None,
        "traceparent": traceparent if type(traceparent) is str else None,
        "idempotency_key": idempotency_key if type(idempotency_key) is str else None,
    }


class Routing(NamedTuple):
    """The front of a REQUEST's payload: all that a relay has to know of it."""

    app_path: str
    action: str
    deadline: float | None = None
    priority: int | None = None
    traceparent: str | None = None
    idempotency_key: str | None = None


# More than any app path, action and trace context need; a relay need not hold more of a payload to route it.
MAX_ROUTING = 65536


def read_routing(prefix: Buffer, limits: Limits = DEFAULT_LIMITS) -> Routing | None:
    """Read the fields in front of ``args`` from the first bytes of a REQUEST's payload, without decoding the arguments.

    :return: None when `prefix` is too short: call again with more of the payload
    :raises DecodeError: when the bytes are not well-formed, or `prefix` holds 64 KiB and still not all of the front
    :raises MessageError: when the front lacks a field or has it behind the arguments
    """
    try:
        return _read_routing(prefix, limits)
    except DecodeError as error:
        if error.kind is not ErrorKind.TRUNCATED:
            raise
    if len(prefix) >= MAX_ROUTING:
        raise DecodeError(
            ErrorKind.TOO_LONG, f"the fields before the arguments exceed {MAX_ROUTING} bytes", MAX_ROUTING
        )
    return None


def _read_routing(prefix: Buffer, limits: Limits) -> Routing:
    if len(prefix) >= 5 and prefix[0] != 0x21:
        raise MessageError(ErrorKind.BAD_PAYLOAD, "the payload of REQUEST is not a dict")
    if len(prefix) < 5:
        raise DecodeError(ErrorKind.TRUNCATED, "the bytes end inside the payload's head", 0)
    left = int.from_bytes(prefix[1:5], "big")
    pos = 5
    fields: dict[str, Any] = {}
    while left:
        key, pos = decode_from(prefix, pos, limits)
        if key == "args" or key == "kwargs":
            break
        fields[key], pos = decode_from(prefix, pos, limits)
        left -= 1
    get = _getter(MessageType.REQUEST, fields)
    return Routing(get("app_path", str), get("action", str), **_options(get))
