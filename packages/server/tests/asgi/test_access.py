"""What the access log and the hooks learn of an ASGI exchange."""

from gunicorn.asgi.access import ResponseRecord, environ_of
from gunicorn.asgi.cycle import HTTPCycle
from gunicorn.asgi.scope import ScopeMaker
from gunicorn.http.h1.head import HeadReader
from gunicorn.http.policy import Policy

HEAD = b"GET /a%20b?q=1 HTTP/1.1\r\nHost: h\r\nUser-Agent: t\r\nX-A: 1\r\nX-A: 2\r\nContent-Type: text/x"


def test_environ_has_what_log_formats_name() -> None:
    request = HeadReader(Policy()).read(HEAD, False, False)
    scope = ScopeMaker(("192.0.2.1", 5), ("192.0.2.2", 80), "", {}).make(request)
    assert environ_of(request, scope) == {
        "REQUEST_METHOD": "GET",
        "RAW_URI": "/a%20b?q=1",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a b",
        "QUERY_STRING": "q=1",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.1",
        "REMOTE_PORT": "5",
        "SERVER_NAME": "192.0.2.2",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        "HTTP_HOST": "h",
        "HTTP_USER_AGENT": "t",
        "HTTP_X_A": "1,2",
        "CONTENT_TYPE": "text/x",
    }


def test_environ_of_a_unix_socket() -> None:
    request = HeadReader(Policy()).read(HEAD, False, False)
    environ = environ_of(request, ScopeMaker(None, ("/run/s", None), "", {}).make(request))
    assert (environ["REMOTE_ADDR"], environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("", "/run/s", "")


def test_response_record() -> None:
    cycle = HTTPCycle(HeadReader(Policy()).read(HEAD, False, False))
    assert ResponseRecord(cycle).status == ""
    cycle.event_for({"type": "http.response.start", "status": 404, "headers": [(b"a", b"b"), [bytearray(b"c"), b"d"]]})
    cycle.event_for({"type": "http.response.body", "body": b"xyz"})
    record = ResponseRecord(cycle)
    assert (record.status, record.headers, record.sent) == ("404 Not Found", [("a", "b"), ("c", "d")], 3)
