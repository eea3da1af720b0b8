"""STASH messages at the arbiter, without one: what is quick is what is right, and nonsense breaks nothing."""

from __future__ import annotations

from array import array
from decimal import Decimal
from typing import Any

import pytest
from gunicorn.dirty.loop import Loop
from gunicorn.dirty.stash_desk import StashDesk
from gunicorn_dirty_protocol import Chunk, End, Error, Response, Stash, StashOp, encode, parse_frame


class Client:
    """A caller."""

    def __init__(self, desk: StashDesk) -> None:
        self.desk = desk
        self.frames: list[bytes] = []
        self.watches: dict[int, Any] = {}
        self.unread = 0

    def send_frame(self, frame: bytes) -> None:
        self.frames.append(frame)

    def send_error(self, request_id: int, error: Any) -> None:
        self.frames.append(Error(request_id, type(error).__name__, str(error)).to_bytes())

    def ask(self, payload: bytes) -> Any:
        caller: Any = self
        self.desk.handle(caller, 7, payload)
        message = parse_frame(self.frames.pop())
        assert message.request_id == 7
        return message.result if isinstance(message, Response) else message


@pytest.fixture
def client() -> Any:
    loop = Loop()
    yield Client(StashDesk(loop))
    loop.close()


def test_the_quick_way_gives_the_same(client: Client) -> None:
    put = {"op": 1, "table": "t", "key": "k", "value": [1, None]}
    for _ in range(2):
        assert client.ask(encode(put)) is True
        assert client.ask(encode({"op": 2, "table": "t", "key": "k"})) == [1, None]
    assert len(client.desk._fronts) == 2
    assert client.ask(encode({**put, "key": 5})) is True
    assert client.ask(encode({"op": 2, "table": "t", "key": 5})) == [1, None]
    assert client.ask(encode({"op": 2, "table": "t", "key": "é" * 200})).error_type == "StashKeyNotFoundError"


@pytest.mark.parametrize("cut", range(1, 60))
def test_bytes_that_are_cut_or_broken_are_refused_either_way(client: Client, cut: int) -> None:
    whole = encode({"op": 1, "table": "t", "key": "key", "value": "a value"})
    client.ask(whole)
    client.ask(encode({"op": 2, "table": "t", "key": "key"}))
    for broken in (whole[:cut], whole[:cut] + b"\xff" + whole[cut + 1 :], whole + b"\x00" * cut):
        if broken[: len(whole)] != whole or len(broken) != len(whole):
            client.ask(broken)
    assert all(isinstance(value, (str, bytes, int)) for value in client.ask(encode({"op": 4, "table": "t"})))
    for key, value in client.desk.store.items("t", None, 0.0):
        assert encode({"op": 1, "table": "t", "key": key})
        assert client.ask(encode({"op": 2, "table": "t", "key": key})) is not None
        assert value


@pytest.mark.parametrize(
    "fields",
    [
        {"op": "1", "table": "t"},
        {"table": "t"},
        {"op": 4, "table": 5},
        {"op": 4, "table": "t", "pattern": 5},
        {"op": 15, "table": "t", "value": [1]},
        {"op": 11, "table": "t", "key": "k", "value": "one"},
        {"op": 7, "table": "t", "max_entries": -1},
        {"op": 1, "table": "t", "key": [1], "value": 1},
        {"op": 1, "table": "t", "key": "k", "value": 1, "ttl": "long"},
    ],
)
def test_fields_that_are_wrong_are_named(client: Client, fields: dict[str, Any]) -> None:
    answer = client.ask(encode(fields))
    assert isinstance(answer, Error)
    assert answer.error_type in ("DirtyProtocolError", "StashError")


def test_incr_without_a_value_or_with_none_adds_one(client: Client) -> None:
    assert client.ask(encode({"op": 11, "table": "t", "key": "k"})) == 1
    assert client.ask(encode({"op": 11, "table": "t", "key": "k", "value": None})) == 2


def test_values_that_python_cannot_compare_or_add_do_not_end_the_arbiter(client: Client) -> None:
    key = {"table": "t", "key": "k"}
    for value, other in (
        (memoryview(array("d", [1, 2])), memoryview(array("d", [1, 3]))),
        (Decimal("sNaN1"), Decimal("sNaN2")),
    ):
        client.ask(encode({"op": 1, **key, "value": value}))
        assert client.ask(encode({"op": 13, **key, "expected": other, "value": 1})) is False
        assert client.ask(encode({"op": 13, **key, "expected": value, "value": 10**400})) is True
    answer = client.ask(encode({"op": 11, **key, "value": 0.5}))
    assert answer.error_type == "StashError"
    assert "too large" in answer.message


def test_a_payload_that_is_no_dict_is_refused(client: Client) -> None:
    for payload in (b"", b"\x21", encode([1]), encode({"op": 1}) + b"\x00"):
        assert client.ask(payload).error_type == "DirtyProtocolError"


def test_a_watch_is_the_chunks_that_the_protocol_says_and_an_end(client: Client) -> None:
    caller: Any = client
    client.desk.handle(caller, 9, Stash(9, StashOp.WATCH, "t", pattern="u*").to_bytes()[16:])
    key = {"table": "t", "key": "u1"}
    client.desk.store.put("t", "other", encode(0), 0.0)
    for op, more in ((1, {"value": [1]}), (3, {}), (5, {}), (11, {}), (8, {})):
        client.ask(encode({"op": op, **key, **more}))
    client.watches[9].cancel()
    changes = [
        {"op": "watching"},
        {"op": "put", "key": "u1", "value": [1]},
        {"op": "delete", "key": "u1"},
        {"op": "clear", "key": None},
        {"op": "put", "key": "u1", "value": 1},
        {"op": "clear", "key": None},
    ]
    assert [parse_frame(frame) for frame in client.frames] == [*(Chunk(9, change) for change in changes), End(9)]
    assert "t" in client.desk.store.tables


def test_a_watcher_that_goes_is_forgotten(client: Client) -> None:
    caller: Any = client
    client.desk.handle(caller, 9, encode({"op": 17, "table": "t"}))
    (watcher,) = client.watches.values()
    watcher.cancel()
    assert client.watches == {}
    assert client.desk._watchers == {}
    assert not client.desk.store.tables["t"].watched
