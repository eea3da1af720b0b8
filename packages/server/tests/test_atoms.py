"""Atoms of a response: made when asked for, the same as all at once, and safe in a line."""

import datetime
import time
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn import atoms
from gunicorn.atoms import ResponseAtoms, SafeAtoms

ENVIRON = {"REQUEST_METHOD": "GET", "RAW_URI": "/p", "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_USER_AGENT": 'x" 200 "'}


def response_atoms(**fields: Any) -> ResponseAtoms:
    given: dict[str, Any] = {
        "resp": SimpleNamespace(status="200 OK", sent=5, headers=[("X-A", "one"), (b"X-B", b"two"), ("X-A", "three")]),
        "req": SimpleNamespace(headers={"Accept": "*/*"}),
        "environ": ENVIRON,
        "request_time": datetime.timedelta(days=1, seconds=2, microseconds=3),
    }
    return ResponseAtoms(**{**given, **fields})


def test_only_what_is_asked_for_is_made() -> None:
    made = response_atoms(resp=None)  # nothing to ask a status of
    assert made["m"] == "GET"
    assert dict(made) == {"l": "-", "m": "GET"}
    assert made


def test_each_is_the_same_as_in_all() -> None:
    made = response_atoms(environ={**ENVIRON, "HTTP_USER_AGENT": "x"})
    everything = made.all()
    assert set("hlutrsmUqHbBfaTDMLp") <= set(everything)
    for name, value in everything.items():
        assert made[name] == value
    assert everything["{x-a}o"] == "three"
    assert everything["{x-b}o"] == "two"
    assert everything["{accept}i"] == "*/*"


def test_names_in_any_case_and_names_that_are_not_there() -> None:
    made = response_atoms()
    assert made["{X-b}o"] == made["{x-B}o"] == "two"
    assert made["{request_method}e"] == "GET"
    for name in ("nothing", "{x-c}o", "{x-a}z", "{", "{}i", ""):
        assert made[name] == "-"
    assert made.get("{x-c}o", "default") == "default"
    assert made.get("m", "default") == "GET"
    assert made.get("{x-c}o") == "-"


def test_quotes_cannot_end_a_field() -> None:
    assert response_atoms()["a"] == 'x\\" 200 \\"'
    assert SafeAtoms({"a": 'x"', "n": 5, "{x}i": "v"})["a"] == 'x\\"'
    assert SafeAtoms({"n": 5})["n"] == 5
    assert SafeAtoms({"{x}i": "v"})["{X}i"] == "v"
    assert SafeAtoms({})["{x}i"] == "-"


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain ~ text", "plain ~ text"),
        ("a\r\nb\t\x00\x1b[31m\x7f", r"a\x0d\x0ab\x09\x00\x1b[31m\x7f"),
        ('end \\" of it', r"end \\\" of it"),
        ("caf\xc3\xa9 \x85 \u2028 \U0001f600", r"caf\xc3\xa9 \x85 \u2028 \U0001f600"),
        ("", ""),
        (5, 5),
        (None, None),
    ],
)
def test_control_characters_and_quotes_are_escaped(text: Any, safe: Any) -> None:
    assert atoms.escaped(text) == safe
    assert SafeAtoms({"a": text})["a"] == safe
    if isinstance(text, str):
        assert response_atoms(environ={**ENVIRON, "HTTP_USER_AGENT": text})["a"] == safe


def test_times() -> None:
    made = response_atoms()
    assert (made["T"], made["M"], made["D"], made["L"]) == (86402, 86402000, 86402000003, "86402.000003")


@pytest.mark.parametrize(
    ("header", "user"),
    [
        ("Basic YW5uOng=", "ann"),
        ("basic YW5u", "ann"),
        ("Bearer x", None),
        ("Basic *", None),
        ("Basic /w==", None),
        ("", None),
    ],
)
def test_the_user_of_basic_authentication(header: str, user: str | None) -> None:
    assert atoms.user_name({"HTTP_AUTHORIZATION": header}) == user


def test_the_date_is_made_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 86400.9)
    first = atoms.now()
    assert first == time.strftime("[%d/%b/%Y:%H:%M:%S %z]", time.localtime(86400))
    assert atoms.now() is first
    monkeypatch.setattr(time, "time", lambda: 86401.0)
    assert atoms.now() == time.strftime("[%d/%b/%Y:%H:%M:%S %z]", time.localtime(86401))
