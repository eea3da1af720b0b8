"""Events: what hooks and drivers read from a request, and what its parts say."""

from gunicorn.http.events import LABEL_SIZE, REASONS, Request, Target
from gunicorn.http.fields import PLAIN, Field


def make_target(method: str = "GET", raw: str = "/a%20b?c=d", minor: int = 1) -> Target:
    return Target(method, raw, b"/a%20b", b"/a b", b"c=d", None, minor)


def make_request(content_length: int | None = 0, keep_alive: bool = True) -> Request:
    field = Field(b"x-a", b"1", PLAIN, None)
    return Request(1, make_target(), [field], content_length, "http", keep_alive, False, "")


def test_a_target_has_its_part_of_the_environ() -> None:
    assert make_target().environ == {
        "REQUEST_METHOD": "GET",
        "RAW_URI": "/a%20b?c=d",
        "PATH_INFO": "/a b",
        "QUERY_STRING": "c=d",
        "SERVER_PROTOCOL": "HTTP/1.1",
    }
    assert make_target(minor=0).environ["SERVER_PROTOCOL"] == "HTTP/1.0"


def test_only_head_and_http_1_0_restrict_the_response() -> None:
    assert make_target().plain
    assert not make_target("HEAD").plain
    assert not make_target(minor=0).plain


def test_a_label_fits_the_scoreboard() -> None:
    assert make_target().label.rstrip(b"\0") == b"GET /a%20b?c=d"
    for raw in ("/", "/" + "x" * 500):
        assert len(make_target(raw=raw).label) == LABEL_SIZE


def test_what_hooks_see_of_a_request() -> None:
    request = make_request()
    assert (request.method, request.uri, request.path, request.query) == ("GET", "/a%20b?c=d", "/a%20b", "c=d")
    assert request.version == (1, 1)
    assert request.headers == [("X-A", "1")]
    assert not request.should_close()
    assert make_request(keep_alive=False).should_close()
    assert repr(request) == "<Request GET /a%20b?c=d>"


def test_a_request_ends_with_its_head_when_there_is_no_body() -> None:
    assert make_request(0).end_stream
    assert not make_request(5).end_stream
    assert not make_request(None).end_stream


def test_every_refusal_has_a_reason_phrase() -> None:
    from gunicorn.http import errors

    def all_kinds(kind: type[errors.RemoteProtocolError]) -> list[type[errors.RemoteProtocolError]]:
        return [kind, *(found for each in kind.__subclasses__() for found in all_kinds(each))]

    for kind in all_kinds(errors.RemoteProtocolError):
        assert kind.status in REASONS
        assert str(kind("x")) == f"x ({kind.clause})"
