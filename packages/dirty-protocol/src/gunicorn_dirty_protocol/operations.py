"""What STASH and MANAGE can ask for, as the numbers on the wire.

Called by the message classes. Source: docs/protocol.md, "STASH" and "STATUS and MANAGE".
"""

from __future__ import annotations

import enum
from typing import Any, TypeVar

from .errors import ErrorKind, MessageError
from .fields import take
from .header import MessageType

__all__ = ["ManageOp", "StashOp", "operation"]


class StashOp(enum.IntEnum):
    """The ``op`` of a STASH message. Up to EXISTS they are of version 1, the others are extensions."""

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
    INCR = 11
    PUT_IF_ABSENT = 12
    COMPARE_AND_SET = 13
    POP = 14
    UPDATE = 15
    ITEMS = 16
    WATCH = 17


class ManageOp(enum.IntEnum):
    """The ``op`` of a MANAGE message. ADD and REMOVE are of version 1, the others are extensions."""

    ADD = 1
    REMOVE = 2
    CANCEL_CALL = 3
    STACKS = 4
    SHARE = 5


_Operations = TypeVar("_Operations", StashOp, ManageOp)


def operation(operations: type[_Operations], message: MessageType, fields: dict[str, Any]) -> _Operations:
    """The field `op` as one of `operations`.

    :raises MessageError: when it is not there, or no such number
    """
    number = take(message, fields, "op", int)
    try:
        return operations(number)
    except ValueError:
        raise MessageError(ErrorKind.BAD_PAYLOAD, f"{message.name} has no operation {number}") from None
