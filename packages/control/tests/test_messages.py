"""Requests and replies: their shapes, and what is refused."""

from typing import Any

import pytest
from gunicorn.control.errors import InvalidMessageError
from gunicorn.control.messages import Reply, Request


def test_request_round_trip() -> None:
    request = Request(3, "worker add", ("2",))
    assert request.to_json() == {"id": 3, "command": "worker add", "args": ["2"]}
    assert Request.from_json(request.to_json()) == request


@pytest.mark.parametrize(
    "value",
    [
        {"id": 1, "command": "worker add 2", "args": []},
        {"id": 1, "command": "worker add", "args": ["2"]},
        {"id": 1, "command": " worker  add ", "args": [2]},
        {"id": 1, "command": "worker", "args": ["add", "2"]},
        {"id": 1, "command": "worker add 2"},
        {"id": 1, "command": "worker add 2", "args": None, "later": "keys are ignored"},
    ],
)
def test_arguments_may_stand_in_the_command_or_in_args(value: dict[str, Any]) -> None:
    assert Request.from_json(value).words == ("worker", "add", "2")


@pytest.mark.parametrize(
    ("value", "reason", "message_id"),
    [
        ([], "a request is a JSON object, not a list", 0),
        (None, "not null", 0),
        ({"id": "1", "command": "help"}, "'id' is an integer, not a string", 0),
        ({"id": True, "command": "help"}, "'id' is an integer, not a boolean", 0),
        ({"id": 1.5, "command": "help"}, "'id' is an integer, not a number", 0),
        ({"id": 4}, "'command' is a string, not null", 4),
        ({"id": 4, "command": 7}, "'command' is a string, not a number", 4),
        ({"id": 4, "command": "help", "args": "x"}, "'args' is a list, not a string", 4),
        ({"id": 4, "command": "help", "args": [{}]}, "'args' holds strings and integers, not an object", 4),
        ({"id": 4, "command": "help", "args": [False]}, "not a boolean", 4),
    ],
)
def test_what_is_no_request(value: Any, reason: str, message_id: int) -> None:
    with pytest.raises(InvalidMessageError, match=reason) as caught:
        Request.from_json(value)
    assert caught.value.message_id == message_id


def test_replies() -> None:
    assert Reply(1, data={"a": 1}).to_json() == {"id": 1, "status": "ok", "data": {"a": 1}}
    assert Reply(1).to_json() == {"id": 1, "status": "ok", "data": {}}
    assert Reply(2, error="no").to_json() == {"id": 2, "status": "error", "error": "no"}
    for reply in (Reply(1, data={"a": 1}), Reply(2, error="no")):
        assert Reply.from_json(reply.to_json()) == reply


@pytest.mark.parametrize(
    "value",
    [
        [],
        {"status": "ok", "data": {}},
        {"id": 1},
        {"id": 1, "status": "fine", "data": {}},
        {"id": 1, "status": "ok"},
        {"id": 1, "status": "ok", "data": [1]},
    ],
)
def test_what_is_no_reply(value: Any) -> None:
    with pytest.raises(InvalidMessageError):
        Reply.from_json(value)
