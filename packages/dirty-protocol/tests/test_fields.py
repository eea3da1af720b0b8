from __future__ import annotations

from typing import Any

import pytest
from gunicorn_dirty_protocol import ErrorKind, MessageError, MessageType, fields

REQUEST = MessageType.REQUEST


def test_a_field_of_its_type_is_taken() -> None:
    assert fields.take(REQUEST, {"a": "x"}, "a", str) == "x"
    assert fields.take(REQUEST, {}, "a", str, "default") == "default"
    assert fields.take(REQUEST, {"a": None}, "a", str, "default") == "default"


@pytest.mark.parametrize(
    ("found", "kind", "words"),
    [
        ({}, str, "the field 'a' of REQUEST is missing"),
        ({"a": None}, str, "is of type NoneType, not str"),
        ({"a": 1}, str, "is of type int, not str"),
        ({"a": True}, int, "is of type bool, not int"),
    ],
)
def test_a_field_that_is_missing_or_of_another_type_is_refused(found: dict[str, Any], kind: type, words: str) -> None:
    with pytest.raises(MessageError, match=words) as caught:
        fields.take(REQUEST, found, "a", kind)
    assert caught.value.kind is ErrorKind.BAD_PAYLOAD


def test_a_wrong_type_is_refused_where_there_is_a_default_too() -> None:
    with pytest.raises(MessageError):
        fields.take(REQUEST, {"a": 1}, "a", str, "default")


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("deadline", 2.5, 2.5),
        ("deadline", 3, 3.0),
        ("deadline", -1, -1.0),
        ("deadline", float("nan"), None),
        ("deadline", float("inf"), None),
        ("deadline", 10**400, None),
        ("deadline", True, None),
        ("deadline", "3", None),
        ("priority", -7, -7),
        ("priority", 1.0, None),
        ("priority", True, None),
        ("traceparent", "00-ab", "00-ab"),
        ("traceparent", b"00-ab", None),
        ("idempotency_key", "k", "k"),
        ("idempotency_key", 1, None),
    ],
)
def test_options_of_other_types_are_ignored(name: str, value: Any, read: Any) -> None:
    assert fields.options({name: value, "other": 1}) == {name: read}


def test_options_that_are_not_there_are_not_there() -> None:
    assert fields.options({"app_path": "m:A"}) == {}
