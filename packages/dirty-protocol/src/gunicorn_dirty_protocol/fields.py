"""A message's fields out of its payload's dict, checked.

Called by the message classes and by the routing of requests. Source: docs/protocol.md, "Messages".
"""

from __future__ import annotations

import math
from typing import Any

from .errors import ErrorKind, MessageError
from .header import Buffer, MessageType
from .limits import Limits
from .tlv import decode

__all__ = ["OPTIONS", "REQUIRED", "fields_of", "options", "take"]

REQUIRED: Any = object()  # the default of a field that has none


def fields_of(message: MessageType, payload: Buffer, limits: Limits, views_from: int | None) -> dict[str, Any]:
    """The dict that `payload` encodes.

    :raises DecodeError: when it is no well-formed value
    :raises MessageError: when it is one, but no dict
    """
    fields = decode(payload, limits, views_from=views_from)
    if type(fields) is not dict:
        reason = f"the payload of {message.name} is a dict, not of type {type(fields).__name__}"
        raise MessageError(ErrorKind.BAD_PAYLOAD, reason)
    return fields


def take(message: MessageType, fields: dict[str, Any], name: str, kind: type, default: Any = REQUIRED) -> Any:
    """The field `name`, of exactly the type `kind`; `default` where it is not there, or None.

    :raises MessageError: when a required field is not there, or the field is of another type
    """
    value = fields.get(name)
    if type(value) is kind:
        return value
    if value is None and default is not REQUIRED:
        return default
    what = f"of type {type(value).__name__}, not {kind.__name__}" if name in fields else "missing"
    raise MessageError(ErrorKind.BAD_PAYLOAD, f"the field {name!r} of {message.name} is {what}")


def _seconds(value: Any) -> float | None:
    if type(value) is float and math.isfinite(value):
        return value
    if type(value) is int and -(2**63) <= value < 2**63:
        return float(value)
    return None


def _number(value: Any) -> int | None:
    return value if type(value) is int else None


def _text(value: Any) -> str | None:
    return value if type(value) is str else None


def _place(value: Any) -> list[int] | None:
    if type(value) is list and len(value) == 2 and all(_number(number) is not None for number in value):
        return value
    return None


# The optional keys of a REQUEST and how each is read.
OPTIONS = {
    "deadline": _seconds,
    "priority": _number,
    "traceparent": _text,
    "idempotency_key": _text,
    "shared": _place,
}


def options(fields: dict[str, Any]) -> dict[str, Any]:
    """The optional keys that are there. What has not the right type is someone else's key and is left out."""
    return {name: read(fields[name]) for name, read in OPTIONS.items() if name in fields}
