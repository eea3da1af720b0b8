"""Statsd: the metrics of responses, of the error log and of applications, and servers that are not there."""

import datetime
import logging
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.access_log import wsgi_access
from gunicorn.config import Config
from gunicorn.errors import ConfigError
from gunicorn.glogging import Logger
from gunicorn.instrument.statsd import Metrics, Statsd

RESPONSE = SimpleNamespace(status="404 Not Found", sent=5, headers=[])
REQUEST = SimpleNamespace(
    logged=None,
    fields=[],
    target=SimpleNamespace(method="GET", raw="/", version=(1, 1), query_string="", path_bytes=b"/"),
)
ENVIRON = {"REQUEST_METHOD": "GET", "REMOTE_ADDR": "192.0.2.1"}


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(20)
        yield sock


@pytest.fixture
def make() -> Iterator[Callable[..., Any]]:
    made: list[Any] = []

    def build(cls: type[Statsd] = Statsd, **settings: Any) -> Statsd:
        made.append(log := cls(config(**settings)))
        return log

    yield build
    for log in made:
        log.setup(config())
        for quick in log._quick:
            quick.close()
    for name in ("gunicorn.error", "gunicorn.access"):
        logger = logging.getLogger(name)
        logger.propagate = True
        logger.setLevel(logging.NOTSET)
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()


def config(**settings: Any) -> Config:
    cfg = Config()
    for name, value in settings.items():
        cfg.set(name, value)
    return cfg


def address(server: socket.socket) -> str:
    host, port = server.getsockname()
    return f"{host}:{port}"


def received(server: socket.socket) -> list[str]:
    return server.recv(4096).decode().split("\n")


def test_metrics_of_a_response(make: Any, server: socket.socket) -> None:
    log = make(statsd_host=address(server), statsd_prefix="shop", dogstatsd_tags="env:test,zone:a")
    assert log.access_log_enabled
    log.access(RESPONSE, REQUEST, ENVIRON, datetime.timedelta(microseconds=1500))
    assert received(server) == [
        "shop.gunicorn.request.duration:1.5|ms|#env:test,zone:a",
        "shop.gunicorn.requests:1|c|@1.0|#env:test,zone:a",
        "shop.gunicorn.request.status.404:1|c|@1.0|#env:test,zone:a",
    ]


@pytest.mark.parametrize("status", ["200 OK", b"200 OK"])
@pytest.mark.parametrize("prefix", ["a.b", "a.b."])
def test_prefixes_end_with_one_dot(make: Any, server: socket.socket, prefix: str, status: Any) -> None:
    log = make(statsd_host=address(server), statsd_prefix=prefix)
    log.access(SimpleNamespace(status=status, sent=0, headers=[]), [], ENVIRON, datetime.timedelta())
    assert received(server)[1:] == ["a.b.gunicorn.requests:1|c|@1.0", "a.b.gunicorn.request.status.200:1|c|@1.0"]


def test_the_access_log_goes_on_by_the_quick_way(make: Any, server: socket.socket, tmp_path: Path) -> None:
    path = tmp_path / "access"
    log = make(statsd_host=address(server), accesslog=str(path), access_log_format="%(h)s %(s)s")
    access, collect = wsgi_access(log)
    assert access is not None
    assert collect is not None
    access(RESPONSE, REQUEST, ENVIRON, 0.0)
    assert path.read_text() == "192.0.2.1 404\n"
    assert received(server)[2] == "gunicorn.request.status.404:1|c|@1.0"
    log.access(RESPONSE, REQUEST, ENVIRON, datetime.timedelta())
    assert path.read_text() == "192.0.2.1 404\n" * 2


def test_a_subclass_with_an_access_of_its_own_is_called(make: Any, server: socket.socket, tmp_path: Path) -> None:
    class Mine(Statsd):
        def access(self, resp: Any, req: Any, environ: Any, request_time: Any) -> None:
            self.increment("mine")

    log = make(Mine, statsd_host=address(server), accesslog=str(tmp_path / "access"))
    access, _ = wsgi_access(log)
    assert access is not None
    access(RESPONSE, REQUEST, ENVIRON, 0.0)
    assert received(server) == ["mine:1|c|@1.0"]


def test_lines_of_the_error_log_are_counted(make: Any, server: socket.socket, tmp_path: Path) -> None:
    log = make(statsd_host=address(server), errorlog=str(tmp_path / "error"), loglevel="debug")
    for name in ("critical", "error", "warning", "exception"):
        getattr(log, name)("a %s", "line")
        assert received(server) == [f"gunicorn.log.{name}:1|c|@1.0"]
    log.info("info")
    log.debug("debug")
    log.log("error", "log")
    server.setblocking(False)
    with pytest.raises(BlockingIOError):
        server.recv(1000)
    assert len(Path(tmp_path / "error").read_text().splitlines()) >= 7


def test_applications_send_metrics_by_logging(make: Any, server: socket.socket, tmp_path: Path) -> None:
    log = make(statsd_host=address(server), errorlog=str(tmp_path / "error"))
    log.info("", extra={"metric": "queue", "value": 3, "mtype": "gauge"})
    assert received(server) == ["queue:3|g"]
    log.info("", extra={"metric": "jobs", "mtype": "counter"})
    assert received(server) == ["jobs:1|c|@1.0"]
    log.log("info", "with %s", "words", extra={"metric": "size", "value": 7.5, "mtype": "histogram"})
    assert received(server) == ["size:7.5|h"]
    log.info("other extra", extra={"metric": "x", "mtype": "nothing"})
    log.gauge("g", 1)
    assert received(server) == ["g:1|g"]
    log.histogram("h", 2)
    assert received(server) == ["h:2|h"]
    text = (tmp_path / "error").read_text()
    assert [line.split("] ")[-1] for line in text.splitlines()] == ["with words", "other extra"]


def test_unix_datagrams_reach_a_server_that_was_restarted(make: Any) -> None:
    folder = tempfile.mkdtemp(prefix="gs-")
    path = Path(folder) / "s"
    log = make(statsd_host=f"unix://{path}")
    try:
        log.increment("nobody")
        for name in ("one", "two"):
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
                server.bind(str(path))
                server.settimeout(20)
                log.increment(name)
                assert received(server) == [f"{name}:1|c|@1.0"]
            path.unlink()
    finally:
        shutil.rmtree(folder)


def test_a_server_that_takes_nothing_holds_nobody_up(make: Any) -> None:
    folder = tempfile.mkdtemp(prefix="gs-")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
            server.bind(f"{folder}/s")
            log = make(statsd_host=f"unix://{folder}/s")
            for _ in range(5000):  # more than any system's socket buffer holds
                log.increment("x")
    finally:
        shutil.rmtree(folder)


def test_a_host_that_cannot_be_found(make: Any, capsys: pytest.CaptureFixture[str]) -> None:
    log = make(statsd_host="no.such.host.invalid:8125")
    assert "statsd_host ('no.such.host.invalid', 8125) cannot be used" in capsys.readouterr().err
    log.increment("x")
    log.access(RESPONSE, REQUEST, ENVIRON, datetime.timedelta())


def test_a_reload_changes_the_server(make: Any, server: socket.socket) -> None:
    log = make(statsd_host="127.0.0.1:9")
    log.setup(config(statsd_host=address(server), statsd_prefix="new"))
    log.increment("x")
    assert received(server) == ["new.x:1|c|@1.0"]
    log.setup(config())
    log.increment("off")


def test_it_is_chosen_by_statsd_host_unless_the_user_has_chosen() -> None:
    assert config().logger_class is Logger
    assert config(statsd_host="127.0.0.1:8125").logger_class is Statsd

    class Own(Logger):
        """The user's."""

    assert config(statsd_host="127.0.0.1:8125", logger_class=Own).logger_class is Own
    with pytest.raises(ConfigError):
        _ = config(statsd_host="127.0.0.1:8125", logger_class="no.such.Logger").logger_class


def test_metrics_never_raise() -> None:
    metrics = Metrics(("127.0.0.1", 8125), "", "")
    metrics.close()
    metrics.send(("after close", 1, "c"))
