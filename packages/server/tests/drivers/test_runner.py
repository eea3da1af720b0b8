"""Runner: hooks, access log, counters and failures around one call of an application."""

import contextlib
import io
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.drivers.errors import PeerGoneError
from gunicorn.drivers.runner import FAILURE_PAGE, ErrorStream, Runner
from gunicorn.http.errors import InvalidChunk
from gunicorn.http.events import Request
from gunicorn.http.h1.connection import H1Connection
from gunicorn.http.h1.head import HeadReader
from gunicorn.http.h1.response import Preamble
from gunicorn.http.policy import Policy
from gunicorn.workers.base import Worker

StartResponse = Callable[..., Any]


class Log:
    def __init__(self, observed: bool) -> None:
        self.access_log_enabled = observed
        self.error_log = logging.Logger("test")
        self.stream = io.StringIO()
        self.error_log.addHandler(logging.StreamHandler(self.stream))
        for name in ("debug", "info", "warning", "error", "exception", "critical"):
            setattr(self, name, getattr(self.error_log, name))
        self.accesses: list[tuple[Any, ...]] = []

    def access(self, *args: Any) -> None:
        self.accesses.append(args)


class Bench:
    """A worker and a connection, without sockets."""

    def __init__(self, app: Any, observed: bool = False, multithread: bool = False, **settings: Any) -> None:
        cfg = Config()
        for name, value in settings.items():
            cfg.set(name, value)
        self.log = Log(observed)
        self.worker = Worker(1, 1, [], None, 15, cfg, self.log)
        self.worker.wsgi = app
        self.slot = self.worker.scoreboard
        self.runner = Runner(self.worker, multithread)

    def run(self, transmit: Any = None, target: bytes = b"/x") -> bytes:
        """One request; what goes out."""
        http = H1Connection(HeadReader(Policy()), Preamble("s", 0.0))
        http.receive_data(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target)
        request = http.next_event()
        assert isinstance(request, Request)
        sent: list[bytes] = []
        self.runner.run(http, request, io.BytesIO(), dict(self.runner.environ), transmit or sent.extend)
        self.closing = http.closing
        return b"".join([*sent, http.data_to_send()])


def hello(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [("X", "1")])
    return [b"hello"]


def fail(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    raise KeyError("mine")


def fail_late(environ: dict[str, Any], start_response: StartResponse) -> Any:
    start_response("200 OK", [])
    yield b"some"
    raise KeyError("mine")


def test_the_scoreboard_is_kept() -> None:
    seen: list[tuple[bool, str]] = []

    def app(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        seen.append((bench.slot.busy_since > 0, bench.slot.current))
        return hello(environ, start_response)

    bench = Bench(app)
    bench.run(target=b"/a?b")
    bench.run()
    assert seen == [(True, "GET /a?b"), (True, "GET /x")]
    assert (bench.slot.requests, bench.slot.errors, bench.slot.busy_since) == (2, 0, 0.0)


@pytest.mark.parametrize(("workers", "multithread"), [(1, False), (2, True)])
def test_the_environ_says_what_runs_beside_it(workers: int, multithread: bool) -> None:
    environ = Bench(hello, workers=workers, multithread=multithread).runner.environ
    assert environ["wsgi.multiprocess"] is (workers > 1)
    assert environ["wsgi.multithread"] is multithread


def test_hooks_and_access_log() -> None:
    calls: list[Any] = []

    def pre_request(worker: Any, req: Any) -> None:
        calls.append((worker, req.uri))

    def post_request(worker: Any, req: Any, environ: dict[str, Any], resp: Any) -> None:
        calls.append((worker, req.uri, environ["PATH_INFO"], resp.status, resp.headers, resp.sent))

    bench = Bench(hello, observed=True, pre_request=pre_request, post_request=post_request)
    bench.run()
    assert calls == [(bench.worker, "/x"), (bench.worker, "/x", "/x", "200 OK", [("X", "1")], 5)]
    [(resp, req, environ, took)] = bench.log.accesses
    assert (resp.status, req.method, environ["REQUEST_METHOD"]) == ("200 OK", "GET", "GET")
    assert isinstance(took, timedelta)
    assert took >= timedelta(0)


def test_nothing_is_observed_unless_asked_for() -> None:
    bench = Bench(hello)
    bench.run()
    assert bench.log.accesses == []


def test_a_failing_pre_request_hook_is_the_requests_failure() -> None:
    def pre_request(worker: Any, req: Any) -> None:
        raise KeyError("hook")

    bench = Bench(hello, pre_request=pre_request)
    assert bench.run().startswith(b"HTTP/1.1 500 ")


def test_a_failing_post_request_hook_harms_no_client() -> None:
    def post_request(worker: Any, req: Any, environ: dict[str, Any], resp: Any) -> None:
        raise KeyError("hook")

    bench = Bench(hello, post_request=post_request)
    assert bench.run().endswith(b"\r\n\r\nhello")
    assert not bench.closing
    assert "Exception in the access log or post_request hook" in bench.log.stream.getvalue()


def test_a_failure_before_the_head() -> None:
    bench = Bench(fail, observed=True)
    sent = bench.run()
    assert sent.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert sent.endswith(FAILURE_PAGE)
    assert bench.closing
    assert (bench.slot.requests, bench.slot.errors) == (1, 1)
    assert "KeyError: 'mine'" in bench.log.stream.getvalue()
    [(resp, *_)] = bench.log.accesses
    assert (resp.status, resp.sent) == ("500 Internal Server Error", len(FAILURE_PAGE))


def test_a_failure_after_the_head() -> None:
    bench = Bench(fail_late)
    assert bench.run().endswith(b"\r\n\r\n4\r\nsome\r\n")
    assert bench.closing
    assert bench.slot.errors == 1


def test_a_broken_rule_is_logged_without_a_traceback() -> None:
    bench = Bench(lambda environ, start_response: ["text"])
    assert bench.run().startswith(b"HTTP/1.1 500 ")
    log = bench.log.stream.getvalue()
    assert "the application sent str, not bytes" in log
    assert "Traceback" not in log


def test_a_client_that_has_gone_is_no_failure() -> None:
    def gone(data: bytes) -> None:
        raise PeerGoneError("gone")

    def app(environ: dict[str, Any], start_response: StartResponse) -> Any:
        start_response("200 OK", [])
        yield b"some"

    bench = Bench(app)
    bench.run(transmit=gone)
    assert bench.closing
    assert bench.slot.errors == 0
    assert "Traceback" not in bench.log.stream.getvalue()


def test_a_body_that_is_refused_while_it_is_read() -> None:
    def app(environ: dict[str, Any], start_response: StartResponse) -> Any:
        raise InvalidChunk("bad chunk")

    bench = Bench(app)
    sent = bench.run()
    assert sent.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert bench.closing
    assert bench.slot.errors == 0


def test_what_ends_the_process_passes() -> None:
    def app(environ: dict[str, Any], start_response: StartResponse) -> Any:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        Bench(app).run()


def test_max_requests() -> None:
    bench = Bench(hello, max_requests=2)
    bench.run()
    assert bench.worker.alive
    bench.run()
    assert not bench.worker.alive
    bench.run()  # what was on its way is served
    assert bench.slot.requests == 3


def test_the_error_stream_writes_into_the_error_log() -> None:
    log = Log(False)
    silent = logging.NullHandler()
    log.error_log.addHandler(silent)
    errors = ErrorStream(log)
    errors.write("one\n")
    errors.writelines(["two\n", "three\n"])
    errors.flush()
    assert log.stream.getvalue() == "one\ntwo\nthree\n"


def test_an_error_log_that_cannot_be_written_fails_no_request() -> None:
    log = Log(False)
    with open("/dev/full", "w") as full:
        log.error_log.addHandler(logging.StreamHandler(full))
        errors = ErrorStream(log)
        errors.write("lost")
        errors.flush()
        with contextlib.suppress(OSError):  # of what is buffered
            full.close()
    assert "lost" in log.stream.getvalue()
