"""The front of a REQUEST's payload, for relays: what they have to know of a request that they pass on as it is.

Called by the arbiter for every request. Source: docs/protocol.md, "REQUEST".
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .codes import DICT, HEAD_SIZE
from .decoder import context, decode_key, decode_value
from .errors import DecodeError, ErrorKind, MessageError
from .fields import options, take
from .header import Buffer, MessageType
from .limits import DEFAULT_LIMITS, Limits

__all__ = ["MAX_ROUTING", "Routing", "read_routing"]

# More than any app path, action and trace context need; a relay need not hold more of a payload than this to route it.
MAX_ROUTING = 65536
_USUAL = 512  # bytes; nearly all fronts are shorter


class Routing(NamedTuple):
    """Where a request goes, and how; see :class:`gunicorn_dirty_protocol.Request` for the optional keys."""

    app_path: str
    action: str
    deadline: float | None = None
    priority: int | None = None
    traceparent: str | None = None
    idempotency_key: str | None = None
    shared: list[int] | None = None


def read_routing(prefix: Buffer, limits: Limits = DEFAULT_LIMITS) -> Routing | None:
    """Read the fields in front of ``args`` from the first bytes of a REQUEST's payload, without decoding the arguments.

    :return: None when `prefix` is too short: call again with more of the payload
    :raises DecodeError: when the bytes are not well-formed, or `prefix` holds 64 KiB and still not all of the front
    :raises MessageError: when the payload is no dict, or the front lacks a field or has it behind the arguments
    """
    # The front is short and what follows may be long, so most of the prefix is not even copied.
    for size in (_USUAL, MAX_ROUTING):
        routing = _read_front(bytes(prefix[:size]), limits)
        if routing is not None or len(prefix) < size:
            return routing
    raise DecodeError(ErrorKind.TOO_LONG, f"the fields in front of the arguments are longer than {MAX_ROUTING} bytes")


def _read_front(front: bytes, limits: Limits) -> Routing | None:
    if len(front) < HEAD_SIZE:
        return None
    if front[0] != DICT:
        raise MessageError(ErrorKind.BAD_PAYLOAD, "the payload of REQUEST is a dict, and this is another value")
    ctx = context(front, limits, None)
    fields: dict[str, Any] = {}
    pos = HEAD_SIZE
    try:
        for _ in range(int.from_bytes(front[1:HEAD_SIZE], "big")):
            key, pos = decode_key(front, pos, ctx)
            if key in ("args", "kwargs"):
                break
            fields[key], pos = decode_value(front, pos, limits.max_depth - 1, ctx)
    except RecursionError:
        raise DecodeError(ErrorKind.TOO_DEEP, "nested deeper than Python's stack allows", pos) from None
    except DecodeError as error:
        if error.kind is ErrorKind.TRUNCATED:
            return None
        raise
    app_path = take(MessageType.REQUEST, fields, "app_path", str)
    action = take(MessageType.REQUEST, fields, "action", str)
    return Routing(app_path, action, **options(fields))
