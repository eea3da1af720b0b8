from __future__ import annotations

from typing import Any

import pytest
from gunicorn_dirty_protocol import ErrorKind, ManageOp, MessageError, MessageType, StashOp, operations


def test_a_number_is_read_as_its_operation() -> None:
    assert operations.operation(StashOp, MessageType.STASH, {"op": 17}) is StashOp.WATCH
    assert operations.operation(ManageOp, MessageType.MANAGE, {"op": 3}) is ManageOp.CANCEL_CALL


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({}, "the field 'op' of MANAGE is missing"),
        ({"op": True}, "is of type bool, not int"),
        ({"op": 0}, "MANAGE has no operation 0"),
        ({"op": 6}, "MANAGE has no operation 6"),
    ],
)
def test_another_number_is_refused(found: dict[str, Any], words: str) -> None:
    with pytest.raises(MessageError, match=words) as caught:
        operations.operation(ManageOp, MessageType.MANAGE, found)
    assert caught.value.kind is ErrorKind.BAD_PAYLOAD
