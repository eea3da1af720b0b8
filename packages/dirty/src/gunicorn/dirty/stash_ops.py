"""The stash's operations as numbers on the wire. Used by its clients (stash.py) and by the arbiter (stash_desk.py)."""

from __future__ import annotations

import enum

__all__ = ["Op"]


class Op(enum.IntEnum):
    """What a STASH message asks for. Up to EXISTS they are version 1's; the others are ours."""

    PUT = 1  # and `ttl`
    GET = 2
    DELETE = 3
    KEYS = 4
    CLEAR = 5
    INFO = 6
    ENSURE = 7  # and `max_entries`, `max_bytes`, `evict`
    DELETE_TABLE = 8
    TABLES = 9
    EXISTS = 10
    INCR = 11  # `value` is what to add; and `ttl`
    PUT_IF_ABSENT = 12  # and `ttl`
    COMPARE_AND_SET = 13  # `expected`, left out for "there is none"; and `ttl`
    POP = 14
    UPDATE = 15  # `value` is a dict; and `ttl`
    ITEMS = 16  # `pattern`; a list of pairs
    WATCH = 17  # `pattern`; a stream of changes
