"""AccessLog: when it may write, what it writes and when, and files that are rotated, full or not files at all."""

import datetime
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn import access_log
from gunicorn.access_log import AccessLog, asgi_access, pieces, wsgi_access
from gunicorn.atoms import SafeAtoms
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.http.h1.head import HeadReader
from gunicorn.http.policy import Policy

RESPONSE = SimpleNamespace(status="200 OK", sent=2, headers=[])
REQUEST = HeadReader(Policy()).read(b"GET /x HTTP/1.1\r\nHost: a", False, False)
ENVIRON = {**REQUEST.target.environ, "REMOTE_ADDR": "192.0.2.1"}
SCOPE = {
    "client": ("192.0.2.1", 1),
    "server": ("a", 80),
    "path": "/x",
    "root_path": "",
    "scheme": "http",
    "headers": [],
}
EXCHANGE = SimpleNamespace(status=200, sent=2, headers=(), request=REQUEST, scope=SCOPE, started=1000.0)
FORMAT = "%(m)s %(U)s %(s)s"
LINE = "GET /x 200\n"


class Bench:
    """Loggers that go when the test ends."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "access"
        self.loggers: list[Any] = []

    def logger(self, cls: type[Logger] = Logger, **settings: Any) -> Any:
        cfg = Config()
        given = {"accesslog": str(self.path), "access_log_format": FORMAT, **settings}
        for name, value in given.items():
            cfg.set(name, value)
        log = cls(cfg)
        self.loggers.append(log)
        return log

    def quick(self, log: Any, slow: Any = None, **arguments: Any) -> AccessLog | None:
        made = log.quick_access("wsgi", slow or (lambda *args: None), **arguments)
        assert made is None or isinstance(made, AccessLog)
        return made

    @property
    def text(self) -> str:
        return self.path.read_text()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    found = Bench(tmp_path)
    yield found
    for log in found.loggers:
        for quick in log._quick:
            quick.close()
    for name in ("gunicorn.error", "gunicorn.access"):
        logger = logging.getLogger(name)
        logger.disabled, logger.propagate = False, True
        logger.setLevel(logging.NOTSET)
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
        for each in list(logger.filters):
            logger.removeFilter(each)


def write(access: Any, times: int = 1) -> None:
    for _ in range(times):
        access(RESPONSE, REQUEST, ENVIRON, time.monotonic())


def test_each_line_is_written_at_once(bench: Bench) -> None:
    access, collect = wsgi_access(bench.logger())
    assert collect is not None
    write(access)
    assert bench.text == LINE
    write(access, 2)
    assert bench.text == LINE * 3


def test_collected_lines_wait_for_the_driver_but_not_for_long(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(access_log, "monotonic", lambda: now)
    access, collect = wsgi_access(bench.logger())
    assert access is not None
    assert collect is not None
    flush = collect()
    write(access)  # the first after a pause
    assert bench.text == LINE
    write(access, 3)
    assert bench.text == LINE
    flush()
    assert bench.text == LINE * 4
    flush()
    write(access)
    now += access_log.HOLD
    write(access)
    assert bench.text == LINE * 6


def test_a_loop_writes_when_a_turn_brings_no_more_lines(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "monotonic", lambda: 1000.0)
    asked: list[Callable[[], None]] = []
    access = asgi_access(bench.logger(), asked.append)
    assert access is not None
    for written in range(0, 6, 3):
        access(EXCHANGE)
        for _ in range(2):  # turns that bring one line each
            access(EXCHANGE)
            assert len(asked) == 1
            asked.pop()()
            assert bench.text == LINE * written
        asked.pop()()
        assert bench.text == LINE * (written + 3)
        assert asked == []


def test_a_loop_that_is_always_busy_writes_in_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(access_log, "monotonic", lambda: now)
    asked: list[Callable[[], None]] = []
    access = asgi_access(bench.logger(), asked.append)
    assert access is not None
    access(EXCHANGE)
    access(EXCHANGE)
    asked.pop()()
    assert bench.text == ""
    now += access_log.HOLD
    access(EXCHANGE)
    asked.pop()()
    assert (bench.text, asked) == (LINE * 3, [])


@pytest.mark.parametrize("dialect", ["wsgi", "asgi"])
def test_a_logger_that_overrides_access_gets_what_it_knows(bench: Bench, dialect: str) -> None:
    calls: list[Any] = []

    class Mine(Logger):
        def access(self, resp: Any, req: Any, environ: Any, request_time: datetime.timedelta) -> None:
            calls.append((resp.status, req, environ["REQUEST_METHOD"], request_time))

    log = bench.logger(Mine)
    if dialect == "wsgi":
        access, collect = wsgi_access(log)
        assert collect is None
        write(access)
    else:
        asked: list[Any] = []
        other = asgi_access(log, asked.append)
        assert other is not None
        EXCHANGE.started = time.monotonic()
        other(EXCHANGE)
        assert asked == []
    [(status, req, method, took)] = calls
    assert (status, req, method) == ("200 OK", REQUEST, "GET")
    assert datetime.timedelta(0) <= took < datetime.timedelta(seconds=60)


def test_nothing_is_called_when_it_is_off(bench: Bench) -> None:
    log = bench.logger(accesslog=None)
    assert wsgi_access(log) == (None, None)
    assert asgi_access(log, print) is None


def _atoms(log: Any) -> None:
    type(log).atoms = lambda self, *args: {"m": "mine", "U": "", "s": ""}


def _wrapper(log: Any) -> None:
    class Wrapper(SafeAtoms):
        """Somebody's."""

    log.atoms_wrapper_class = Wrapper


SETUPS: dict[str, Callable[[Any], Any]] = {
    "atoms": _atoms,
    "a wrapper of the atoms": _wrapper,
    "another handler": lambda log: log.access_log.addHandler(logging.NullHandler()),
    "no handler": lambda log: log.access_log.handlers.pop().close(),
    "a filter": lambda log: log.access_log.addFilter(lambda record: True),
    "a filter of the handler": lambda log: log.access_log.handlers[0].addFilter(lambda record: True),
    "a formatter": lambda log: log.access_log.handlers[0].setFormatter(logging.Formatter("X %(message)s")),
    "a level": lambda log: log.access_log.setLevel(logging.WARNING),
    "a level of the handler": lambda log: log.access_log.handlers[0].setLevel(logging.WARNING),
    "disabled": lambda log: setattr(log.access_log, "disabled", True),
    "propagation": lambda log: setattr(log.access_log, "propagate", True),
    "an emit": lambda log: setattr(log.access_log.handlers[0], "emit", lambda record: None),
}


@pytest.mark.parametrize("setup", SETUPS.values(), ids=list(SETUPS))
def test_what_somebody_has_set_up_otherwise_goes_the_long_way(bench: Bench, setup: Callable[[Any], Any]) -> None:
    class Own(Logger):
        """A class of its own, which the test may change."""

    log = bench.logger(Own)
    assert bench.quick(log) is not None
    setup(log)
    assert bench.quick(log) is None


def test_a_format_that_cannot_be_read_goes_the_long_way(bench: Bench) -> None:
    assert bench.quick(bench.logger(access_log_format="%(h)y")) is None


def test_a_set_up_that_changes_later_is_seen_within_a_second(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(access_log, "monotonic", lambda: now)
    calls: list[Any] = []
    log = bench.logger()
    quick = bench.quick(log, slow=lambda *args: calls.append(args))
    assert quick is not None
    quick.collect()
    write(quick.access, 2)
    log.access_log.addHandler(logging.NullHandler())
    now += 1.0
    write(quick.access)
    assert bench.text == LINE * 2
    assert [call[:3] for call in calls] == [(RESPONSE, REQUEST, ENVIRON)]


def test_a_file_that_a_logging_configuration_has_closed_is_opened_again(bench: Bench) -> None:
    log = bench.logger()
    log.access_log.handlers[0].close()  # what dictConfig does to all handlers
    write(wsgi_access(log)[0])
    assert bench.text == LINE


def test_lines_follow_a_handler_that_opens_its_file_anew(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(access_log, "monotonic", lambda: now)
    log = bench.logger()
    quick = bench.quick(log)
    assert quick is not None
    bench.path.rename(f"{bench.path}.1")
    log.access_log.handlers[0].close()
    now += 2.0
    write(quick.access)
    assert bench.text == LINE


def test_rotation(bench: Bench) -> None:
    log = bench.logger()
    access, collect = wsgi_access(log)
    assert collect is not None
    collect()
    write(access, 2)
    old = bench.path.rename(f"{bench.path}.1")
    write(access)
    log.reopen_files()
    assert old.read_text() == LINE * 3
    write(access)
    log.reopen_files()
    assert bench.text == LINE


def test_rotation_within_a_write(bench: Bench) -> None:
    """The signal comes while a line is written: nothing is lost, and nothing is written into a closed descriptor."""
    log = bench.logger()
    quick = bench.quick(log)
    assert quick is not None
    whole = quick._write

    def interrupted(text: str) -> None:
        os.rename(bench.path, f"{bench.path}.1")
        log.reopen_files()
        whole(text)

    quick._write = interrupted  # type: ignore[method-assign]
    write(quick.access)
    assert bench.text == LINE


def test_an_exit_flushes_and_a_child_of_the_application_does_not(tmp_path: Path) -> None:
    code = f"""
import os, sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
from gunicorn.config import Config
from gunicorn.access_log import wsgi_access
from types import SimpleNamespace as N
cfg = Config(); cfg.set("accesslog", "log"); cfg.set("access_log_format", "%(s)s %({{pid}}e)s")
access, collect = wsgi_access(cfg.logger_class(cfg))
collect()
def write():
    access(N(status="200 OK", sent=0, headers=[]), N(logged=None), {{"pid": "mine"}}, time.monotonic())
write(); write()
if not os.fork():
    sys.exit(0)
os.wait()
write()
sys.exit(3)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (3, "")
    assert (tmp_path / "log").read_text() == "200 mine\n" * 3


def test_a_pipe_gets_whole_lines(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "monotonic", lambda: 1000.0)
    reader, writer = os.pipe()
    log = bench.logger(accesslog=None)
    with os.fdopen(writer, "w") as stream:
        log._set_handler(log.access_log, "-", logging.Formatter("%(message)s"), stream=stream)
        log.access_log_enabled = True
        quick = bench.quick(log)
        assert quick is not None
        sizes: list[int] = []
        whole = quick._write
        quick._write = lambda text: (sizes.append(len(text)), whole(text))[1]  # type: ignore[method-assign, func-returns-value]
        flush = quick.collect()
        write(quick.access, 1000)
        flush()
    quick.close()
    log._quick.clear()
    assert len(sizes) > 2
    assert all(size <= access_log.PIPE_WRITE and size % len(LINE) == 0 for size in sizes)
    with os.fdopen(reader) as result:
        assert result.read() == LINE * 1000


def test_lines_of_many_sizes_in_pieces() -> None:
    assert pieces([], 4) == []
    assert pieces(["ab\n", "cd\n", "e\n", "f\n"], 5) == ["ab\n", "cd\ne\n", "f\n"]
    assert pieces(["a\n", "longer\n", "b\n"], 4) == ["a\n", "longer\n", "b\n"]
    assert pieces(["\u20ac\n", "\u20ac\n"], 7) == ["\u20ac\n", "\u20ac\n"]


def test_a_full_disk_is_said_once_and_harms_nobody(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    log = bench.logger(accesslog="/dev/full", errorlog="-")
    access, _ = wsgi_access(log)
    write(access, 3)
    assert capsys.readouterr().err.count("The access log cannot be written, and lines are lost: ") == 1


def test_threads_lose_no_line_and_write_none_twice(bench: Bench) -> None:
    log = bench.logger(access_log_format="%({n}e)s")
    access, collect = wsgi_access(log)
    assert access is not None
    assert collect is not None
    flush = collect()

    def work(number: int) -> None:
        for index in range(2000):
            access(RESPONSE, REQUEST, {"n": f"{number}-{index}"}, 0.0)
            if index % 7 == 0:
                flush()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    flush()
    lines = bench.text.splitlines()
    assert sorted(lines) == sorted(f"{number}-{index}" for number in range(4) for index in range(2000))


def test_json(bench: Bench) -> None:
    log = bench.logger(log_json=True, access_log_json_fields={"host": "{host}i"})
    access, collect = wsgi_access(log)
    assert collect is not None
    write(access)
    log.access(RESPONSE, REQUEST, ENVIRON, datetime.timedelta(0))
    quick, slow = map(json.loads, bench.text.splitlines())
    for volatile in ("time", "duration_us"):
        assert type(quick.pop(volatile)) is type(slow.pop(volatile))
    assert quick == slow
    assert list(quick) == list(slow)
    assert (quick["path"], quick["status"], quick["host"]) == ("/x", 200, "a")


def test_usr1_in_a_process_that_writes_all_the_time(tmp_path: Path) -> None:
    code = """
import os, signal, sys, time
from gunicorn.config import Config
from gunicorn.access_log import wsgi_access
from types import SimpleNamespace as N
cfg = Config(); cfg.set("accesslog", "log"); cfg.set("access_log_format", "%({n}e)s")
log = cfg.logger_class(cfg)
signal.signal(signal.SIGUSR1, lambda *_: log.reopen_files())
over = []
signal.signal(signal.SIGTERM, lambda *_: over.append(1))
access, collect = wsgi_access(log)
flush = collect()
n = 0
print("ready", flush=True)
while not over:
    access(N(status="200 OK", sent=0, headers=[]), N(logged=None), {"n": n}, time.monotonic())
    n += 1
    if n % 5 == 0: flush()
print(n)
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        log = tmp_path / "log"
        deadline = time.monotonic() + 30
        for turn in range(10):
            while not (log.exists() and log.stat().st_size > 1000):
                assert time.monotonic() < deadline
                time.sleep(0.001)
            log.rename(tmp_path / f"log.{turn}")
            process.send_signal(signal.SIGUSR1)
        while not (log.exists() and log.stat().st_size > 1000):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.terminate()
        count = int(process.stdout.read())
    lines = [line for turn in range(10) for line in (tmp_path / f"log.{turn}").read_text().splitlines()]
    lines += log.read_text().splitlines()
    assert [int(line) for line in lines] == list(range(count))
