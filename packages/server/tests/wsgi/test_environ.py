"""The environ of a request: PEP 3333's variables, and what the fields of a request become."""

import io
from typing import Any

import pytest
from gunicorn import SERVER_SOFTWARE
from gunicorn.http.h1.head import HeadReader
from gunicorn.http.policy import Policy
from gunicorn.wsgi.environ import REQUEST_KEYS, build_environ, connection_environ, server_environ
from gunicorn.wsgi.file import FileWrapper

LOCAL, PEER = ("127.0.0.1", 8000), ("10.0.0.1", 54321)


def make(head: bytes, local: Any = LOCAL, peer: Any = PEER, trusted: bool = False, sock: Any = None) -> dict[str, Any]:
    request = HeadReader(Policy()).read(head, False, trusted)
    server = server_environ(io.StringIO(), multithread=True, multiprocess=False)
    return build_environ(connection_environ(server, sock, local, peer), request, io.BytesIO(b"in"), print)


def test_every_variable() -> None:
    sock = object()
    environ = make(
        b"POST /a%20b/%C3%A9?x=%20y HTTP/1.1\r\nHost: example.org:81\r\nContent-Type: text/plain\r\n"
        b"Content-Length: 2\r\nX-A: 1",
        sock=sock,
    )
    assert environ.pop("wsgi.input").read() == b"in"
    assert isinstance(environ.pop("wsgi.errors"), io.StringIO)
    assert environ.pop("gunicorn.socket") is sock
    assert environ == {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a b/\u00c3\u00a9",  # bytes as latin-1 (PEP 3333, "Unicode Issues")
        "QUERY_STRING": "x=%20y",
        "RAW_URI": "/a%20b/%C3%A9?x=%20y",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_SOFTWARE": SERVER_SOFTWARE,
        "REMOTE_ADDR": "10.0.0.1",
        "REMOTE_PORT": "54321",
        "CONTENT_TYPE": "text/plain",
        "CONTENT_LENGTH": "2",
        "HTTP_HOST": "example.org:81",
        "HTTP_X_A": "1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
        "wsgi.input_terminated": True,
        "wsgi.early_hints": print,
    }


@pytest.mark.parametrize("local", ["/run/app.sock", "", b"\0abstract"])
def test_a_unix_socket_leaves_no_variable_empty(local: Any) -> None:
    environ = make(b"GET / HTTP/1.1\r\nHost: a", local=local, peer="")
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("localhost", "80")
    assert environ["REMOTE_ADDR"] == ""
    assert "REMOTE_PORT" not in environ


def test_ipv6() -> None:
    environ = make(b"GET / HTTP/1.1\r\nHost: a", local=("::1", 80, 0, 0), peer=("fe80::1%eth0", 5, 0, 2))
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("::1", "80")
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("fe80::1%eth0", "5")


def test_http_1_0_may_have_no_host() -> None:
    environ = make(b"GET / HTTP/1.0")
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.0"
    assert "HTTP_HOST" not in environ


def test_repeated_fields_are_joined() -> None:
    environ = make(b"GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nCookie: a=1\r\nX-B: 3\r\nx-a: 2\r\nCookie: b=2")
    assert environ["HTTP_X_A"] == "1,2"
    assert environ["HTTP_X_B"] == "3"
    assert environ["HTTP_COOKIE"] == "a=1; b=2"


@pytest.mark.parametrize(
    ("path", "script_name", "mounted", "rest"),
    [
        (b"/app/x", b"/app", "/app", "/x"),
        (b"/app", b"/app", "/app", ""),
        (b"/app/x", b"/app/", "/app/", "/x"),
        (b"/apple", b"/app", "/app", "/apple"),
        (b"/x", b"/app", "/app", "/x"),
    ],
)
def test_script_name_of_a_trusted_proxy(path: bytes, script_name: bytes, mounted: str, rest: str) -> None:
    environ = make(b"GET %b HTTP/1.1\r\nHost: a\r\nScript_Name: %b" % (path, script_name), trusted=True)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == (mounted, rest)


def test_script_name_of_anyone_else_is_ignored() -> None:
    environ = make(b"GET /app/x HTTP/1.1\r\nHost: a\r\nScript_Name: /app")
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("", "/app/x")
    assert "HTTP_SCRIPT_NAME" not in environ


def test_the_scheme_of_a_trusted_proxy() -> None:
    head = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https"
    assert make(head, trusted=True)["wsgi.url_scheme"] == "https"
    assert make(head)["wsgi.url_scheme"] == "http"


def test_no_request_changes_the_connection() -> None:
    connection = connection_environ(server_environ(None, False, False), None, LOCAL, PEER)
    before = dict(connection)
    request = HeadReader(Policy()).read(b"GET / HTTP/1.1\r\nHost: a", False, False)
    first = build_environ(connection, request, io.BytesIO(), print)
    first["mine"] = 1
    assert connection == before
    assert "mine" not in build_environ(connection, request, io.BytesIO(), print)
    assert None not in [first[key] for key in REQUEST_KEYS]
