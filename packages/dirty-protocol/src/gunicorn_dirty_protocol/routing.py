"""The front of a REQUEST's payload, for relays: what they have to know of a request that they pass on as it is.

Called by the arbiter for every request. Source: docs/protocol.md, "REQUEST".
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .codes import DICT, HEAD_SIZE, STR
from .errors import DecodeError, ErrorKind, MessageError
from .fields import options, take
from .header import Buffer, MessageType
from .limits import DEFAULT_LIMITS, Limits
from .tlv import decode_from

__all__ = ["MAX_ROUTING", "Routing", "read_routing"]

# More than any app path, action and trace context need; a relay need not hold more of a payload than this to route it.
MAX_ROUTING = 65536

_STR = bytes((STR,))


class Routing(NamedTuple):
    """Where a request goes, and how; see :class:`gunicorn_dirty_protocol.Request` for the optional keys."""

    app_path: str
    action: str
    deadline: float | None = None
    priority: int | None = None
    traceparent: str | None = None
    idempotency_key: str | None = None


def read_routing(prefix: Buffer, limits: Limits = DEFAULT_LIMITS) -> Routing | None:
    """Read the fields in front of ``args`` from the first bytes of a REQUEST's payload, without decoding the arguments.

    :return: None when `prefix` is too short: call again with more of the payload
    :raises DecodeError: when the bytes are not well-formed, or `prefix` holds 64 KiB and still not all of the front
    :raises MessageError: when the payload is no dict, or the front lacks a field or has it behind the arguments
    """
    if len(prefix) < HEAD_SIZE:
        return None
    if prefix[0] != DICT:
        raise MessageError(ErrorKind.BAD_PAYLOAD, "the payload of REQUEST is a dict, and this is another value")
    fields: dict[str, Any] = {}
    pos = HEAD_SIZE
    try:
        for _ in range(int.from_bytes(prefix[1:HEAD_SIZE], "big")):
            if prefix[pos : pos + 1] not in (b"", _STR):
                raise DecodeError(ErrorKind.KEY_NOT_STR, "a key of the payload of REQUEST is not a str", pos)
            key, pos = decode_from(prefix, pos, limits)
            if key in ("args", "kwargs"):
                break
            fields[key], pos = decode_from(prefix, pos, limits)
    except DecodeError as error:
        if error.kind is not ErrorKind.TRUNCATED:
            raise
        if len(prefix) < MAX_ROUTING:
            return None
        reason = f"the fields in front of the arguments are longer than {MAX_ROUTING} bytes"
        raise DecodeError(ErrorKind.TOO_LONG, reason, error.offset) from None
    app_path = take(MessageType.REQUEST, fields, "app_path", str)
    action = take(MessageType.REQUEST, fields, "action", str)
    return Routing(app_path, action, **options(fields))
