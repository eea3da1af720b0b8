"""What the stash's operations send, read back by the protocol's library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from gunicorn.dirty.errors import DirtyProtocolError
from gunicorn.dirty.stash_operations import NAMES, REPEATABLE, Operations, stash_frame
from gunicorn_dirty_protocol import Stash, StashOp, parse_frame


class Sent(Operations):
    """Gives the message that is sent, as the protocol's library reads it."""

    def _ask(self, op: StashOp, table: str, default: Any = None, **fields: Any) -> Any:
        message = parse_frame(stash_frame(7, {"op": int(op), "table": table, **fields}))
        assert message.request_id == 7
        return message


CASES: list[tuple[Callable[[Sent], Any], Stash]] = [
    (lambda stash: stash.put("t", "k", [1, None]), Stash(7, StashOp.PUT, "t", "k", [1, None])),
    (lambda stash: stash.put("t", "é", None), Stash(7, StashOp.PUT, "t", "é", None)),
    (lambda stash: stash.put("t", b"k", 1, ttl=2.5), Stash(7, StashOp.PUT, "t", b"k", 1, ttl=2.5)),
    (lambda stash: stash.get("t", 5), Stash(7, StashOp.GET, "t", 5)),
    (lambda stash: stash.pop("t", "k"), Stash(7, StashOp.POP, "t", "k")),
    (lambda stash: stash.delete("t", "k"), Stash(7, StashOp.DELETE, "t", "k")),
    (lambda stash: stash.exists("t"), Stash(7, StashOp.EXISTS, "t")),
    (lambda stash: stash.exists("t", "k"), Stash(7, StashOp.EXISTS, "t", "k")),
    (lambda stash: stash.put_if_absent("t", "k", 1), Stash(7, StashOp.PUT_IF_ABSENT, "t", "k", 1)),
    (
        lambda stash: stash.compare_and_set("t", "k", None, 1),
        Stash(7, StashOp.COMPARE_AND_SET, "t", "k", 1, expected=None),
    ),
    (lambda stash: stash.incr("t", "k", ttl=3), Stash(7, StashOp.INCR, "t", "k", 1, ttl=3)),
    (lambda stash: stash.update("t", {"a": 1}), Stash(7, StashOp.UPDATE, "t", value={"a": 1})),
    (lambda stash: stash.keys("t", "a*"), Stash(7, StashOp.KEYS, "t", pattern="a*")),
    (lambda stash: stash.items("t"), Stash(7, StashOp.ITEMS, "t")),
    (lambda stash: stash.clear("t"), Stash(7, StashOp.CLEAR, "t")),
    (lambda stash: stash.info("t"), Stash(7, StashOp.INFO, "t")),
    (
        lambda stash: stash.ensure("t", max_bytes=9, evict=True),
        Stash(7, StashOp.ENSURE, "t", max_bytes=9, evict=True),
    ),
    (lambda stash: stash.delete_table("t"), Stash(7, StashOp.DELETE_TABLE, "t")),
    (lambda stash: stash.tables(), Stash(7, StashOp.TABLES)),
]


@pytest.mark.parametrize(("ask", "message"), CASES, ids=[message.op.name for _, message in CASES])
def test_each_sends_what_the_protocol_says(ask: Callable[[Sent], Any], message: Stash) -> None:
    assert ask(Sent()) == message


def test_every_operation_is_there() -> None:
    assert {message.op for _, message in CASES} == set(StashOp) - {StashOp.WATCH}
    assert set(NAMES) == set(StashOp)
    assert StashOp.INCR not in REPEATABLE


def test_what_cannot_be_sent_is_the_callers_error() -> None:
    for value in (object(), "\udce4"):
        with pytest.raises(DirtyProtocolError, match="cannot be put into the stash"):
            Sent().put("t", "k", value)
