"""Scopes: every key that ASGI names, from requests as the HTTP/1 reader makes them."""

import copy
from typing import Any

import pytest
from gunicorn.asgi.scope import ScopeMaker, lifespan_scope, own_address, peer_address
from gunicorn.http.events import Request
from gunicorn.http.h1.head import HeadReader
from gunicorn.http.policy import Policy
from hypothesis import given
from hypothesis import strategies as st

CLIENT, OWN = ("192.0.2.1", 5000), ("192.0.2.9", 80)


def request(line: str, *fields: str, trusted: bool = False, secure: bool = False) -> Request:
    head = "\r\n".join([line, "Host: example.org", *fields]).encode("latin-1")
    return HeadReader(Policy()).read(head, secure, trusted)


def scope(line: str, *fields: str, root_path: str = "", state: dict[str, Any] | None = None, **how: bool) -> Any:
    return ScopeMaker(CLIENT, OWN, root_path, {} if state is None else state).make(request(line, *fields, **how))


def test_all_keys_of_a_plain_request() -> None:
    assert scope("GET /a/b?x=1&y=%20 HTTP/1.1", "Accept: */*") == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/a/b",
        "raw_path": b"/a/b",
        "query_string": b"x=1&y=%20",
        "root_path": "",
        "headers": [(b"host", b"example.org"), (b"accept", b"*/*")],
        "client": CLIENT,
        "server": OWN,
        "state": {},
        "extensions": {
            "http.response.early_hint": {},
            "http.response.informational": {},
            "http.response.pathsend": {},
            "http.response.trailers": {},
        },
    }


def test_a_scope_can_be_copied_deeply() -> None:
    made = scope("GET / HTTP/1.1")
    assert copy.deepcopy(made) == made


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("/%61%2F%20b", "/a/ b"),
        ("/caf%C3%A9", "/café"),
        ("/caf\xc3\xa9", "/café"),  # raw UTF-8, as some clients send it
        ("/%E2%82%AC/%F0%9F%8E%89", "/€/🎉"),
        ("/%ff", "/\ufffd"),
        ("/a%", "/a%"),
        ("/a+b", "/a+b"),
        ("//a//b/../c", "//a//b/../c"),
    ],
)
def test_path_is_decoded_and_raw_path_is_not(raw: str, path: str) -> None:
    made = scope(f"GET {raw} HTTP/1.1")
    assert made["path"] == path
    assert made["raw_path"] == raw.encode("latin-1")


@given(st.text(st.characters(codec="utf-8"), max_size=30))
def test_any_path_comes_back_as_it_was_quoted(text: str) -> None:
    from urllib.parse import quote

    assert scope(f"GET /{quote(text)} HTTP/1.1")["path"] == "/" + text


def test_header_names_are_lower_case_and_duplicates_keep_their_order() -> None:
    made = scope("GET / HTTP/1.1", "X-B: 1", "x-a: 2", "X-b: 3")
    assert made["headers"][1:] == [(b"x-b", b"1"), (b"x-a", b"2"), (b"x-b", b"3")]


def test_http_1_0_gets_no_interim_responses_and_no_trailers() -> None:
    made = scope("GET / HTTP/1.0")
    assert made["http_version"] == "1.0"
    assert made["extensions"] == {"http.response.pathsend": {}}


def test_https_by_tls_and_by_a_trusted_proxy() -> None:
    assert scope("GET / HTTP/1.1", secure=True)["scheme"] == "https"
    assert scope("GET / HTTP/1.1", "X-Forwarded-Proto: https", trusted=True)["scheme"] == "https"
    assert scope("GET / HTTP/1.1", "X-Forwarded-Proto: https")["scheme"] == "http"


def test_root_path_is_the_setting_or_what_a_trusted_proxy_says() -> None:
    assert scope("GET /app/x HTTP/1.1", root_path="/app")["root_path"] == "/app"
    assert scope("GET /app/x HTTP/1.1", root_path="/app")["path"] == "/app/x"
    assert scope("GET / HTTP/1.1", "Script_Name: /p", root_path="/app", trusted=True)["root_path"] == "/p"
    assert scope("GET / HTTP/1.1", "Script_Name: /p", root_path="/app")["root_path"] == "/app"


def test_state_is_a_shallow_copy_for_each_request() -> None:
    pool: list[int] = []
    state = {"pool": pool}
    first = scope("GET / HTTP/1.1", state=state)
    first["state"]["mine"] = 1
    assert state == {"pool": pool}
    assert first["state"]["pool"] is pool


def test_what_one_request_does_to_its_scope_reaches_no_other() -> None:
    maker, repeated = ScopeMaker(CLIENT, OWN, "", {"pool": 1}), request("GET /x HTTP/1.1", "Accept: */*")
    pristine = maker.make(repeated)
    assert pristine == scope("GET /x HTTP/1.1", "Accept: */*", state={"pool": 1})
    for _ in range(3):
        made = maker.make(repeated)
        assert made == pristine
        made["asgi"]["version"] = "9"
        made["headers"].append((b"mine", b""))
        made["state"]["pool"] = 2
        made["extensions"]["mine"] = {}
        made["path"] = "/mine"
        del made["client"]


def test_requests_with_the_same_fields_differ_in_their_targets() -> None:
    reader, maker = HeadReader(Policy()), ScopeMaker(CLIENT, OWN, "", {})
    lines = ["GET /a?x HTTP/1.1", "HEAD /%62 HTTP/1.1", "GET /a HTTP/1.0", "GET /a?x HTTP/1.1"]
    requests = [reader.read(f"{line}\r\nHost: example.org".encode(), False, False) for line in lines]
    for each in requests:
        each.fields = requests[0].fields
    for each, line in zip(requests, lines, strict=True):
        assert maker.make(each) == scope(line)


def test_the_extension_of_a_connection_with_tls() -> None:
    maker, tls = ScopeMaker(CLIENT, OWN, "", {}), {"tls_version": 0x0304}
    maker.tls = tls
    for line in ("GET / HTTP/1.1", "GET / HTTP/1.0"):
        for _ in range(2):
            assert maker.make(request(line, secure=True))["extensions"]["tls"] == tls


@pytest.mark.parametrize(
    ("name", "peer", "own"),
    [
        (("192.0.2.1", 80), ("192.0.2.1", 80), ("192.0.2.1", 80)),
        (("::1", 80, 0, 0), ("::1", 80), ("::1", 80)),
        ("", None, None),
        (None, None, None),
        ("/run/app.sock", None, ("/run/app.sock", None)),
        (b"\0abstract", None, ("\0abstract", None)),
    ],
)
def test_addresses_have_two_items(name: Any, peer: Any, own: Any) -> None:
    assert peer_address(name) == peer
    assert own_address(name) == own


def test_lifespan_scope_hands_over_the_state_itself() -> None:
    state: dict[str, Any] = {}
    made = lifespan_scope(state)
    assert made["type"] == "lifespan"
    assert made["asgi"] == {"version": "3.0", "spec_version": "2.0"}
    assert made["state"] is state
