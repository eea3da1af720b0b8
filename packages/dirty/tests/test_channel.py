"""The side channel: lines in any pieces, and ends."""

from __future__ import annotations

from typing import Any

import pytest
from gunicorn.dirty.channel import Channel, LineBuffer
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.dictionaries(st.text(max_size=5), st.integers()), max_size=5), st.integers(1, 9))
def test_lines_come_whole_however_they_are_cut(messages: list[dict[str, int]], size: int) -> None:
    import json

    data = b"".join(json.dumps(message).encode() + b"\n" for message in messages)
    buffer = LineBuffer()
    seen = [message for i in range(0, len(data), size) for message in buffer.feed(data[i : i + size])]
    assert seen == messages


@pytest.mark.parametrize("data", [b"nonsense\n", b"[1]\n", b"x" * 2_000_000])
def test_what_is_no_object_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        LineBuffer().feed(data)


def test_a_pair_talks_both_ways_and_tells_its_end() -> None:
    left, right = Channel.pair()
    left.send({"a": 1})
    left.send({"b": [None]})
    assert right.receive() == [{"a": 1}, {"b": [None]}]
    right.sock.setblocking(False)
    assert right.receive() == []
    right.send({"c": 2})
    assert left.receive() == [{"c": 2}]
    left.close()
    assert right.receive() is None
    right.send({"nobody": "listens"})
    right.close()


def test_a_full_channel_blocks_nobody_and_loses_nothing() -> None:
    left, right = Channel.pair()
    left.sock.setblocking(False)
    for number in range(3000):
        left.send({"number": number, "text": "x" * 200})
    seen: list[dict[str, Any]] = []
    while len(seen) < 3000:
        seen += right.receive() or []
        left.send({})  # what is left goes out with the next
        seen = [message for message in seen if message]
    assert [message["number"] for message in seen] == list(range(3000))
    left.close()
    right.close()
