"""`gunicorn.dirty.protocol`: the protocol under the names that other software knows (COMPAT), with messages as dicts.

The protocol itself is `gunicorn_dirty_protocol`, which new code should use. A dict has `type` (the name in lower
case), `id` and the keys of the payload.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from gunicorn_dirty_protocol import (
    DEFAULT_LIMITS,
    HEADER_SIZE,
    ManageOp,
    MessageType,
    ProtocolError,
    StashOp,
    pack_header,
    unpack_header,
)

from .errors import DirtyError, DirtyProtocolError
from .tlv import TLVEncoder

if TYPE_CHECKING:
    import asyncio

__all__ = [
    "HEADER_FORMAT",
    "HEADER_SIZE",
    "MAGIC",
    "MAX_MESSAGE_SIZE",
    "VERSION",
    "BinaryProtocol",
    "DirtyProtocol",
    "DirtyProtocolError",
    "TLVEncoder",
    "make_chunk_message",
    "make_end_message",
    "make_error_response",
    "make_manage_message",
    "make_request",
    "make_response",
    "make_stash_message",
]

HEADER_FORMAT = ">2sBBIQ"
MAGIC = b"GD"
VERSION = 1
MAX_MESSAGE_SIZE = DEFAULT_LIMITS.max_payload

_V1_TYPES = [member for member in MessageType if member is not MessageType.CANCEL]
MSG_TYPE_TO_STR = {int(member): member.name.lower() for member in _V1_TYPES}
MSG_TYPE_FROM_STR = {name: code for code, name in MSG_TYPE_TO_STR.items()}

MSG_TYPE_REQUEST = int(MessageType.REQUEST)
MSG_TYPE_RESPONSE = int(MessageType.RESPONSE)
MSG_TYPE_ERROR = int(MessageType.ERROR)
MSG_TYPE_CHUNK = int(MessageType.CHUNK)
MSG_TYPE_END = int(MessageType.END)
MSG_TYPE_STASH = int(MessageType.STASH)
MSG_TYPE_STATUS = int(MessageType.STATUS)
MSG_TYPE_MANAGE = int(MessageType.MANAGE)

MSG_TYPE_REQUEST_STR = "request"
MSG_TYPE_RESPONSE_STR = "response"
MSG_TYPE_ERROR_STR = "error"
MSG_TYPE_CHUNK_STR = "chunk"
MSG_TYPE_END_STR = "end"
MSG_TYPE_STASH_STR = "stash"
MSG_TYPE_STATUS_STR = "status"
MSG_TYPE_MANAGE_STR = "manage"

STASH_OP_PUT = int(StashOp.PUT)
STASH_OP_GET = int(StashOp.GET)
STASH_OP_DELETE = int(StashOp.DELETE)
STASH_OP_KEYS = int(StashOp.KEYS)
STASH_OP_CLEAR = int(StashOp.CLEAR)
STASH_OP_INFO = int(StashOp.INFO)
STASH_OP_ENSURE = int(StashOp.ENSURE)
STASH_OP_DELETE_TABLE = int(StashOp.DELETE_TABLE)
STASH_OP_TABLES = int(StashOp.TABLES)
STASH_OP_EXISTS = int(StashOp.EXISTS)

MANAGE_OP_ADD = int(ManageOp.ADD)
MANAGE_OP_REMOVE = int(ManageOp.REMOVE)


def make_request(
    request_id: int, app_path: str, action: str, args: Any = None, kwargs: dict[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "type": "request",
        "id": request_id,
        "app_path": app_path,
        "action": action,
        "args": list(args or ()),
        "kwargs": kwargs or {},
    }


def make_response(request_id: int, result: Any) -> dict[str, Any]:
    return {"type": "response", "id": request_id, "result": result}


def make_error_response(request_id: int, error: Any) -> dict[str, Any]:
    """`error` is an exception, or a dict as the wire has it."""
    return {"type": "error", "id": request_id, "error": _error_dict(error)}


def make_chunk_message(request_id: int, data: Any) -> dict[str, Any]:
    return {"type": "chunk", "id": request_id, "data": data}


def make_end_message(request_id: int) -> dict[str, Any]:
    return {"type": "end", "id": request_id}


def make_stash_message(
    request_id: int, op: int, table: str, key: Any = None, value: Any = None, pattern: Any = None
) -> dict[str, Any]:
    optional = {"key": key, "value": value, "pattern": pattern}
    given = {name: value for name, value in optional.items() if value is not None}
    return {"type": "stash", "id": request_id, "op": op, "table": table, **given}


def make_manage_message(request_id: int, op: int, count: int = 1) -> dict[str, Any]:
    return {"type": "manage", "id": request_id, "op": op, "count": count}


def _error_dict(error: Any) -> dict[str, Any]:
    if isinstance(error, DirtyError):
        return error.to_dict()
    if isinstance(error, BaseException):
        return {"error_type": type(error).__name__, "message": str(error), "details": {}}
    return dict(error)


class BinaryProtocol:
    """Frames from and to dicts and sockets. Raises DirtyProtocolError for what is not the protocol."""

    HEADER_SIZE = HEADER_SIZE
    MSG_TYPE_REQUEST = MSG_TYPE_REQUEST_STR
    MSG_TYPE_RESPONSE = MSG_TYPE_RESPONSE_STR
    MSG_TYPE_ERROR = MSG_TYPE_ERROR_STR
    MSG_TYPE_CHUNK = MSG_TYPE_CHUNK_STR
    MSG_TYPE_END = MSG_TYPE_END_STR
    MSG_TYPE_STASH = MSG_TYPE_STASH_STR
    MSG_TYPE_STATUS = MSG_TYPE_STATUS_STR
    MSG_TYPE_MANAGE = MSG_TYPE_MANAGE_STR
    MAX_MESSAGE_SIZE = MAX_MESSAGE_SIZE

    @staticmethod
    def encode_header(msg_type: int, request_id: int, payload_length: int) -> bytes:
        return pack_header(msg_type, request_id, payload_length)

    @staticmethod
    def decode_header(data: bytes) -> tuple[int, int, int]:
        """Type, request id and payload length (bytes)."""
        try:
            header = unpack_header(data)
        except ProtocolError as exc:
            raise DirtyProtocolError(str(exc), data) from exc
        if header.length > MAX_MESSAGE_SIZE:
            raise DirtyProtocolError(f"a payload of {header.length} bytes exceeds {MAX_MESSAGE_SIZE}", data)
        return int(header.type), header.request_id, header.length

    @classmethod
    def encode_message(cls, message: dict[str, Any]) -> bytes:
        """A whole frame of a dict as the `make_*` functions return."""
        fields = dict(message)
        try:
            kind, request_id = fields.pop("type"), fields.pop("id")
            code = MSG_TYPE_FROM_STR[kind]
        except KeyError as exc:
            raise DirtyProtocolError(
                f"a message needs a known 'type' and an 'id': {exc} is missing or unknown"
            ) from None
        payload = TLVEncoder.encode(fields) if fields else b""
        return pack_header(code, request_id, len(payload)) + payload

    @classmethod
    def decode_message(cls, data: bytes) -> tuple[str, int, dict[str, Any]]:
        """Type name, request id and payload of one whole frame."""
        code, request_id, length = cls.decode_header(data)
        if len(data) != HEADER_SIZE + length:
            raise DirtyProtocolError(f"the frame has {len(data) - HEADER_SIZE} bytes of payload, not {length}", data)
        return cls._type_name(code), request_id, cls._payload(data[HEADER_SIZE:])

    @staticmethod
    def _type_name(code: int) -> str:
        name = MSG_TYPE_TO_STR.get(code)
        if name is None:
            raise DirtyProtocolError(f"message type 0x{code:02x} is not of version 1")
        return name

    @staticmethod
    def _payload(data: bytes) -> dict[str, Any]:
        payload = TLVEncoder.decode_full(data) if data else {}
        if not isinstance(payload, dict):
            raise DirtyProtocolError("a payload is a dict", data)
        return payload

    @classmethod
    def _message(cls, code: int, request_id: int, payload: bytes) -> dict[str, Any]:
        return {"type": cls._type_name(code), "id": request_id, **cls._payload(payload)}

    # One function per message type

    @classmethod
    def encode_request(
        cls, request_id: int, app_path: str, action: str, args: Any = None, kwargs: dict[str, Any] | None = None
    ) -> bytes:
        return cls.encode_message(make_request(request_id, app_path, action, args, kwargs))

    @classmethod
    def encode_response(cls, request_id: int, result: Any) -> bytes:
        return cls.encode_message(make_response(request_id, result))

    @classmethod
    def encode_error(cls, request_id: int, error: Any) -> bytes:
        return cls.encode_message(make_error_response(request_id, error))

    @classmethod
    def encode_chunk(cls, request_id: int, data: Any) -> bytes:
        return cls.encode_message(make_chunk_message(request_id, data))

    @classmethod
    def encode_end(cls, request_id: int) -> bytes:
        return cls.encode_message(make_end_message(request_id))

    @classmethod
    def encode_status(cls, request_id: int) -> bytes:
        return cls.encode_message({"type": "status", "id": request_id})

    @classmethod
    def encode_manage(cls, request_id: int, op: int, count: int = 1) -> bytes:
        return cls.encode_message(make_manage_message(request_id, op, count))

    @classmethod
    def encode_stash(
        cls, request_id: int, op: int, table: str, key: Any = None, value: Any = None, pattern: Any = None
    ) -> bytes:
        return cls.encode_message(make_stash_message(request_id, op, table, key, value, pattern))

    # Sockets and streams

    @classmethod
    def write_message(cls, sock: socket.socket, message: dict[str, Any]) -> None:
        sock.sendall(cls.encode_message(message))

    @classmethod
    def read_message(cls, sock: socket.socket) -> dict[str, Any]:
        """The next message. Raises ConnectionError when the peer closes within it or before."""
        code, request_id, length = cls.decode_header(_receive(sock, HEADER_SIZE))
        return cls._message(code, request_id, _receive(sock, length))

    @classmethod
    async def write_message_async(cls, writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
        writer.write(cls.encode_message(message))
        await writer.drain()

    @classmethod
    async def read_message_async(cls, reader: asyncio.StreamReader) -> dict[str, Any]:
        """The next message. Raises asyncio.IncompleteReadError when the peer closes within it or before."""
        code, request_id, length = cls.decode_header(await reader.readexactly(HEADER_SIZE))
        return cls._message(code, request_id, await reader.readexactly(length))


DirtyProtocol = BinaryProtocol


def _receive(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = sock.recv(min(size - len(data), 65536))
        if not part:
            raise ConnectionResetError("the peer closed the connection within a message")
        data += part
    return bytes(data)
