"""Compiled formats: the same lines as the long way makes, for any format; JSON objects; formats that mean nothing."""

import datetime
import json
import os
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn import access_format
from gunicorn.access_format import ASGI, NAMESPACE, WSGI, Memo, Piece, access_source, json_line, text_line
from gunicorn.asgi.access import ResponseRecord, environ_of
from gunicorn.atoms import ResponseAtoms, now
from gunicorn.http.events import Request
from gunicorn.http.h1.head import HeadReader
from gunicorn.http.policy import Policy
from hypothesis import given
from hypothesis import strategies as st

TOOK = 1.234567
HEAD = (
    b'GET /caf%C3%A9"\\?a=%22 HTTP/1.1\r\nHost: a\r\nUser-Agent: "quoted" \\ \xc3\xa9\r\nX-One: 1\r\nX-One: 2\r\n'
    b"Authorization: Basic YSJiOmM="
)
PLAIN_HEAD = b"HEAD / HTTP/1.0"
RESPONSE = SimpleNamespace(status="201 Created", sent=12, headers=[("X-A", 'one"'), (b"X-B", b"two"), ("x-a", "three")])
NOTHING = SimpleNamespace(status="", sent=0, headers=[])


def request(head: bytes) -> Request:
    return HeadReader(Policy()).read(head, False, False)


def environ(req: Request) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for field in req.fields:
        fields[field.key] = f"{fields[field.key]},{field.text}" if field.key in fields else field.text
    return {**req.target.environ, "REMOTE_ADDR": "192.0.2.1", "app.number": 7, **fields}


def scope(req: Request) -> dict[str, Any]:
    target = req.target
    return {
        "client": ("192.0.2.1", 5),
        "server": ("192.0.2.2", 80),
        "scheme": "http",
        "root_path": "",
        "path": target.path_bytes.decode("utf-8", "surrogateescape"),
        "headers": [field.pair for field in req.fields],
    }


def clock(began: float = 0.0) -> Any:
    never = float("inf")
    return SimpleNamespace(date=now(), iso="2026-11-23T15:00:00", began=began, next_second=never, due=never)


def quick(pieces: list[Piece], req: Request, resp: Any, **names: Any) -> str:
    """What the compiled function writes, twice for the same request; its clock begins at 0 and shows half a second."""
    dialect = ASGI if "scope" in names else WSGI
    lines: list[str] = []
    values = {**NAMESPACE, "clock": clock(), "monotonic": lambda: 0.5, "append": lines.append}
    exec(access_source(pieces, dialect), values)
    for _ in range(2):
        if dialect is WSGI:
            values["access"](resp, req, names["environ"], 0.5 - TOOK)
        else:
            values["access"](SimpleNamespace(**vars(resp), request=req, scope=names["scope"], started=0.5 - TOOK))
    first, second = lines
    assert isinstance(first, str)
    assert first == second
    return first


def slow(log_format: str, req: Request, resp: Any, variables: dict[str, Any]) -> str:
    return log_format % ResponseAtoms(resp, req, variables, datetime.timedelta(seconds=TOOK)) + "\n"


FORMATS = [
    '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"',
    "%(m)s %(U)s %(q)s %(H)s %(B)s %(T)s %(M)s %(D)s %(L)s %(p)s",
    "%({x-one}i)s %({X-ONE}i)s %({missing}i)s",
    "%({remote_addr}e)s %({app.number}e)s %({missing}e)s",
    "%({x-a}o)s %({X-B}o)s %({missing}o)s",
    "%(nothing)s %({x}z)s %({}i)s 100%%",
    "%(D)08d|%(h)-20s|%(h).3s|%(M)i|%(h)r",
    "fixed \u20ac 'quotes' \"and\" \\ {braces}",
    "",
]


@pytest.mark.parametrize("resp", [RESPONSE, NOTHING])
@pytest.mark.parametrize("head", [HEAD, PLAIN_HEAD])
@pytest.mark.parametrize("log_format", FORMATS)
def test_the_same_line_as_the_long_way(log_format: str, head: bytes, resp: Any) -> None:
    req = request(head)
    variables = environ(req)
    assert quick(text_line(log_format, WSGI), req, resp, environ=variables) == slow(log_format, req, resp, variables)


@pytest.mark.parametrize("head", [HEAD, PLAIN_HEAD])
@pytest.mark.parametrize("log_format", [line for line in FORMATS if "app.number" not in line])
def test_the_same_line_of_asgi(log_format: str, head: bytes) -> None:
    req = request(head)
    cycle: Any = SimpleNamespace(status=201, sent=12, headers=[(b"x-a", b'one"'), (b"x-b", b"two"), (b"x-a", b"three")])
    variables = environ_of(req, scope(req))
    variables["PATH_INFO"] = req.target.path_bytes.decode("latin-1")  # ASGI's is decoded; the log has octets
    expected = slow(log_format, req, ResponseRecord(cycle), variables)
    assert quick(text_line(log_format, ASGI), req, cycle, scope=scope(req)) == expected


@given(st.text())
def test_nothing_can_end_a_line_or_a_field(text: str) -> None:
    req = request(PLAIN_HEAD)
    variables = {**environ(req), "HTTP_USER_AGENT": text}
    line = quick(text_line('"%(a)s"', WSGI), req, RESPONSE, environ=variables)
    assert line.endswith('"\n')
    inner = line[1:-2]
    assert inner.isascii()
    assert inner.isprintable()
    assert '"' not in inner.replace("\\\\", "").replace('\\"', "")


def test_a_unix_socket_and_a_response_that_never_began() -> None:
    req = request(PLAIN_HEAD)
    variables = {**environ(req), "REMOTE_ADDR": ""}
    assert quick(text_line("%(h)s %(s)s", WSGI), req, NOTHING, environ=variables) == "- -\n"
    cycle = SimpleNamespace(status=0, sent=0, headers=())
    assert quick(text_line("%(h)s %(s)s", ASGI), req, cycle, scope={**scope(req), "client": None}) == "- -\n"


@pytest.mark.parametrize("log_format", ["%s", "%(h)", "50%", "%(h)y", "%(a(b)c)s"])
def test_formats_that_cannot_be_read(log_format: str) -> None:
    with pytest.raises(ValueError, match="access_log_format has a place that cannot be read"):
        text_line(log_format, WSGI)


@pytest.mark.parametrize("dialect", ["wsgi", "asgi"])
def test_a_json_object(dialect: str) -> None:
    req = request(HEAD)
    extra = {"one %": "{x-one}i", "none": "{missing}i", "a": "{x-a}o"}
    if dialect == "wsgi":
        line = quick(json_line(extra, WSGI), req, RESPONSE, environ=environ(req))
    else:
        cycle = SimpleNamespace(status=201, sent=12, headers=[(b"x-a", b"three")])
        line = quick(json_line(extra, ASGI), req, cycle, scope=scope(req))
    assert line.endswith("}\n")
    assert line.isascii()
    assert json.loads(line) == {
        "time": "2026-11-23T15:00:00.500Z",
        "level": "info",
        "logger": "gunicorn.access",
        "pid": os.getpid(),
        "method": "GET",
        "path": '/café"\\',
        "query": "a=%22",
        "protocol": "HTTP/1.1",
        "remote_address": "192.0.2.1",
        "user": 'a"b',
        "status": 201,
        "bytes": 12,
        "duration_us": 1234567,
        "referer": None,
        "user_agent": '"quoted" \\ Ã©',
        "one %": "2",
        "none": None,
        "a": "three",
    }


def test_a_json_object_without_much_in_it() -> None:
    req = request(PLAIN_HEAD)
    found = json.loads(quick(json_line({}, WSGI), req, NOTHING, environ={**environ(req), "REMOTE_ADDR": ""}))
    assert (found["status"], found["bytes"], found["remote_address"], found["user"]) == (None, 0, None, None)


def test_a_memo_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def upper(text: str) -> str:
        calls.append(text)
        return text.upper()

    monkeypatch.setattr(access_format, "MOST_KEPT", 2)
    memo = Memo(upper)
    assert [memo["a"], memo["a"], memo["b"], memo["c"], memo["a"]] == ["A", "A", "B", "C", "A"]
    assert calls == ["a", "b", "c", "a"]
    long = "x" * (access_format.LONGEST_KEPT + 1)
    assert memo[long] == memo[long] == long.upper()
    assert calls[4:] == [long, long]


def writer(log_format: str, dialect: Any, now: Any) -> Any:
    """The compiled function, the lines that it has written, and their clock."""
    lines: list[str] = []
    values = {**NAMESPACE, "clock": now, "monotonic": lambda: 0.5, "append": lines.append}
    exec(access_source(text_line(log_format, dialect), dialect), values)
    return values["access"], lines


def test_what_was_remembered_of_a_request_is_only_used_for_the_same() -> None:
    """The same request object again, which is what a connection gives when the same bytes come."""
    time, req = clock(), request(HEAD)
    access, lines = writer("%(h)s %(t)s %(s)s %(B)s %(D)s %({x-a}o)s %({one}e)s", WSGI, time)
    time.date = "[1]"
    variables = {**environ(req), "one": 1}
    access(SimpleNamespace(status="200 OK", sent=1, headers=[("X-A", "a")]), req, variables, 0.4)
    access(SimpleNamespace(status="404 Not Found", sent=1, headers=[("X-A", "b")]), req, {**variables, "one": 2}, 0.3)
    access(SimpleNamespace(status="404 Not Found", sent=2, headers=[]), req, variables, 0.3)
    time.date = "[2]"
    access(SimpleNamespace(status="404 Not Found", sent=2, headers=[]), req, variables, 0.3)
    access(SimpleNamespace(status="404 Not Found", sent=2, headers=[]), req, {**variables, "REMOTE_ADDR": "::1"}, 0.3)
    assert lines == [
        "192.0.2.1 [1] 200 1 100000 a 1\n",
        "192.0.2.1 [1] 404 1 200000 b 2\n",
        "192.0.2.1 [1] 404 2 200000 - 1\n",
        "192.0.2.1 [2] 404 2 200000 - 1\n",
        "::1 [2] 404 2 200000 - 1\n",
    ]


def test_the_same_of_asgi() -> None:
    time, req = clock(), request(HEAD)
    access, lines = writer("%(h)s %(t)s %(s)s %(B)s %(L)s", ASGI, time)
    time.date = "[1]"
    exchange = SimpleNamespace(status=200, sent=1, headers=(), request=req, scope=scope(req), started=0.25)
    access(exchange)
    exchange.status, exchange.sent, exchange.started = 404, 2, 0.0
    access(exchange)
    exchange.scope = {**exchange.scope, "client": None}
    access(exchange)
    time.date = "[2]"
    access(exchange)
    assert lines == [
        "192.0.2.1 [1] 200 1 0.250000\n",
        "192.0.2.1 [1] 404 2 0.500000\n",
        "- [1] 404 2 0.500000\n",
        "- [2] 404 2 0.500000\n",
    ]
