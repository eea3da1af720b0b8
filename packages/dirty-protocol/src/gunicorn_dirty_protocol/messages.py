"""The messages: one frozen, typed class for each, from and to the bytes of a frame.

Called by clients, workers and the control endpoint; relays need routing.py only.
Source: docs/protocol.md, "Messages".

Every class has ``type``, ``request_id``, ``to_bytes()`` (a whole frame), ``chunks()`` (the same as pieces, large bytes
not copied) and ``from_payload(request_id, payload)``. :func:`parse` finds the class for a frame.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from .errors import EncodeError, ErrorKind, FrameError, MessageError
from .fields import REQUIRED, fields_of, options, take
from .header import HEADER_SIZE, Buffer, Header, MessageType, pack_header, unpack_header
from .limits import DEFAULT_LIMITS, Limits
from .operations import ManageOp, StashOp, operation
from .tlv import encode_chunks

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
    "Stash",
    "StashOp",
    "Status",
    "parse",
    "parse_frame",
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
    OVERLOADED = "DirtyOverloadedError"
    CANCELLED = "DirtyCancelledError"
    MAPPING = "DirtyMappingError"
    PROTOCOL = "DirtyProtocolError"
    STASH = "StashError"
    STASH_TABLE_NOT_FOUND = "StashTableNotFoundError"
    STASH_KEY_NOT_FOUND = "StashKeyNotFoundError"
    STASH_FULL = "StashFullError"

    def __str__(self) -> str:
        return self.value


_ERROR_TYPES = {member.value: member for member in ErrorType}


class _Message:
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
class Request(_Message):
    """Call `action` of the app at `app_path` ("module:Class") with `args` and `kwargs`.

    The optional keys are left out of the payload when they are None, which makes it a v1 payload:

    :ivar deadline: seconds that the caller is going to wait, counted from when the message is sent
    :ivar priority: requests with a higher number are taken first; none means 0
    :ivar traceparent: W3C trace context, passed on to the app
    :ivar idempotency_key: the caller's name for this call, the same when it is tried again
    :ivar shared: token of a mapping, and how many bytes in it are the whole payload, of which only the front is here;
        0 bytes: all is here, and the result may go there
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
    shared: Sequence[int] | None = None

    def payload(self) -> dict[str, Any]:
        payload: dict[str, Any] = {} if self.shared is None else {"shared": list(self.shared)}
        payload |= {"app_path": self.app_path, "action": self.action}
        # The options stand before args, so that a relay finds them at the front.
        if self.deadline is not None:
            payload["deadline"] = float(self.deadline)
        if self.priority is not None:
            payload["priority"] = self.priority
        if self.traceparent is not None:
            payload["traceparent"] = self.traceparent
        if self.idempotency_key is not None:
            payload["idempotency_key"] = self.idempotency_key
        if self.shared is not None and self.shared[1]:
            return payload
        payload["args"] = self.args if isinstance(self.args, (list, tuple)) else list(self.args)
        payload["kwargs"] = self.kwargs if isinstance(self.kwargs, dict) else dict(self.kwargs)
        return payload

    @classmethod
    def from_payload(
        cls, request_id: int, payload: Buffer, limits: Limits = DEFAULT_LIMITS, views_from: int | None = None
    ) -> Request:
        fields = fields_of(cls.type, payload, limits, views_from)
        return cls(
            request_id,
            take(cls.type, fields, "app_path", str),
            take(cls.type, fields, "action", str),
            take(cls.type, fields, "args", list, []),
            take(cls.type, fields, "kwargs", dict, {}),
            **options(fields),
        )


@dataclass(frozen=True)
class Response(_Message):
    """The answer to a REQUEST, STASH, STATUS or MANAGE with the same id.

    :ivar shared: how many bytes in the request's mapping are the whole payload, which is not here then
    """

    type: ClassVar[MessageType] = MessageType.RESPONSE
    request_id: int
    result: Any = None
    shared: int | None = None

    def payload(self) -> dict[str, Any]:
        return {"result": self.result} if self.shared is None else {"shared": self.shared}

    @classmethod
    def from_payload(
        cls, request_id: int, payload: Buffer, limits: Limits = DEFAULT_LIMITS, views_from: int | None = None
    ) -> Response:
        fields = fields_of(cls.type, payload, limits, views_from)
        if "result" not in fields and type(fields.get("shared")) is int:
            return cls(request_id, None, fields["shared"])
        return cls(request_id, _only(cls.type, fields, "result"))


@dataclass(frozen=True)
class Error(_Message):
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
    def from_payload(
        cls, request_id: int, payload: Buffer, limits: Limits = DEFAULT_LIMITS, views_from: int | None = None
    ) -> Error:
        error = take(cls.type, fields_of(cls.type, payload, limits, views_from), "error", dict)
        return cls(
            request_id,
            take(cls.type, error, "error_type", str),
            take(cls.type, error, "message", str, ""),
            take(cls.type, error, "details", dict, {}),
        )


@dataclass(frozen=True)
class Chunk(_Message):
    """One item of a streamed answer."""

    type: ClassVar[MessageType] = MessageType.CHUNK
    request_id: int
    data: Any = None

    def payload(self) -> dict[str, Any]:
        return {"data": self.data}

    @classmethod
    def from_payload(
        cls, request_id: int, payload: Buffer, limits: Limits = DEFAULT_LIMITS, views_from: int | None = None
    ) -> Chunk:
        return cls(request_id, _only(cls.type, fields_of(cls.type, payload, limits, views_from), "data"))


@dataclass(frozen=True)
class _Empty(_Message):
    """A message whose payload is empty; a payload that is sent nevertheless is ignored, as it may hold later keys."""

    request_id: int

    @classmethod
    def from_payload(
        cls, request_id: int, payload: Buffer, limits: Limits = DEFAULT_LIMITS, views_from: int | None = None
    ) -> Any:
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
class Stash(_Message):
    """An operation on the stash. What is None is not given, and left out.

    The fields from `expected` on are not in v1:

    :ivar expected: the value that COMPARE_AND_SET wants to find, of any type; ``...`` for none at all, and left out
    :ivar ttl: seconds that what is written is to live
    :ivar max_entries, max_bytes, evict: the bounds that ENSURE gives a table
    """

    type: ClassVar[MessageType] = MessageType.STASH
    request_id: int
    op: StashOp
    table: str = ""
    key: Any = None
    value: Any = None
    pattern: str | None = None
    expected: Any = ...
    ttl: float | None = None
    max_entries: int | None = None
    max_bytes: int | None = None
    evict: bool | None = None

    def payload(self) -> dict[str, Any]:
        payload: dict[str, Any] = {"op": int(self.op), "table": self.table}
        for name in ("key", "value", "pattern", "ttl", "max_entries", "max_bytes", "evict"):
            value = getattr(self, name)
            if value is not None:
                payload[name] = value
        if self.expected is not ...:
            payload["expected"] = self.expected
        return payload

    @classmethod
    def from_payload(
        cls, request_id: int, payload: Buffer, limits: Limits = DEFAULT_LIMITS, views_from: int | None = None
    ) -> Stash:
        fields = fields_of(cls.type, payload, limits, views_from)
        return cls(
            request_id,
            operation(StashOp, cls.type, fields),
            take(cls.type, fields, "table", str, ""),
            fields.get("key"),
            fields.get("value"),
            take(cls.type, fields, "pattern", str, None),
            fields.get("expected", ...),
            take(cls.type, fields, "ttl", int if type(fields.get("ttl")) is int else float, None),
            take(cls.type, fields, "max_entries", int, None),
            take(cls.type, fields, "max_bytes", int, None),
            take(cls.type, fields, "evict", bool, None),
        )


@dataclass(frozen=True)
class Manage(_Message):
    """Add workers to the pool or remove some, end a call, ask what a worker's threads do, or for shared memory.

    :ivar count: how many workers; for CANCEL_CALL the id of the call, for STACKS the pid of the worker; SHARE has none
    """

    type: ClassVar[MessageType] = MessageType.MANAGE
    request_id: int
    op: ManageOp
    count: int = 1

    def payload(self) -> dict[str, Any]:
        return {"op": int(self.op), "count": self.count}

    @classmethod
    def from_payload(
        cls, request_id: int, payload: Buffer, limits: Limits = DEFAULT_LIMITS, views_from: int | None = None
    ) -> Manage:
        fields = fields_of(cls.type, payload, limits, views_from)
        op = operation(ManageOp, cls.type, fields)
        # Which call or worker is meant is for the sender to say.
        counts = op in (ManageOp.ADD, ManageOp.REMOVE, ManageOp.SHARE)
        return cls(request_id, op, take(cls.type, fields, "count", int, 1 if counts else REQUIRED))


def _only(message: MessageType, fields: dict[str, Any], name: str) -> Any:
    """The one field of a payload, which may be of any type."""
    try:
        return fields[name]
    except KeyError:
        raise MessageError(ErrorKind.BAD_PAYLOAD, f"the field {name!r} of {message.name} is missing") from None


Message = Request | Response | Error | Chunk | End | Cancel | Stash | Status | Manage

_CLASSES: dict[MessageType, Any] = {
    c.type: c for c in (Request, Response, Error, Chunk, End, Cancel, Stash, Status, Manage)
}


def parse(
    header: Header, payload: Buffer, limits: Limits = DEFAULT_LIMITS, *, views_from: int | None = None
) -> Message:
    """The message of a frame, given as its header and its whole payload.

    :param views_from: as for :func:`gunicorn_dirty_protocol.decode`
    :raises DecodeError: when the payload is no well-formed value
    :raises MessageError: when it is, but not one of this message type
    """
    message: Message = _CLASSES[header.type].from_payload(header.request_id, payload, limits, views_from)
    return message


def parse_frame(data: Buffer, limits: Limits = DEFAULT_LIMITS) -> Message:
    """The message of one whole frame, header included.

    :raises FrameError: when the header is wrong, or the payload has not the length that it says
    :raises DecodeError, MessageError: as :func:`parse`; their offset counts from the start of the payload
    """
    header = unpack_header(data)
    payload = data[HEADER_SIZE:]
    if len(payload) != header.length:
        reason = f"the header says {header.length} bytes of payload, here are {len(payload)}"
        if len(payload) < header.length:
            raise FrameError(ErrorKind.TRUNCATED, reason)
        raise FrameError(ErrorKind.TRAILING, reason, HEADER_SIZE + header.length)
    return parse(header, payload, limits)
