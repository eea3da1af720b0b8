"""The logger: where lines go, what an access line says, rotation, syslog, and logging configurations."""

import base64
import datetime
import io
import json
import logging
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import AccessLogFormat, Config
from gunicorn.errors import ConfigError
from gunicorn.glogging import Logger

ENVIRON = {
    "REQUEST_METHOD": "GET",
    "RAW_URI": "/path?a=1",
    "PATH_INFO": "/path",
    "QUERY_STRING": "a=1",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "192.0.2.7",
    "HTTP_REFERER": "http://here/",
    "HTTP_USER_AGENT": 'tester "x"',
    "HTTP_AUTHORIZATION": "Basic " + base64.b64encode(b"ann:secret").decode(),
}
RESPONSE = SimpleNamespace(status="200 OK", sent=1234, headers=[("Content-Type", "text/plain")])
REQUEST = SimpleNamespace(headers=[("X-Forwarded-For", "198.51.100.1")])
TOOK = datetime.timedelta(seconds=1, microseconds=234567)


@pytest.fixture
def make() -> Iterator[Callable[..., Logger]]:
    """Loggers that leave no handler behind."""
    loggers = [logging.getLogger("gunicorn.error"), logging.getLogger("gunicorn.access")]
    before = [(log.level, log.propagate) for log in loggers]
    root = logging.getLogger()
    root_before = root.level, list(root.handlers)

    def build(cls: type[Logger] = Logger, **settings: Any) -> Logger:
        return cls(config(**settings))

    yield build
    for log, (level, propagate) in zip(loggers, before, strict=True):
        for handler in list(log.handlers):
            log.removeHandler(handler)
            handler.close()
        log.setLevel(level)
        log.propagate = propagate
    for handler in [h for h in root.handlers if h not in root_before[1]]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(root_before[0])


def config(**settings: Any) -> Config:
    cfg = Config()
    for name, value in settings.items():
        cfg.set(name, value)
    return cfg


def test_a_copy_for_another_interpreter_writes_the_same_lines_to_the_same_place(
    make: Callable[..., Logger], tmp_path: Path
) -> None:
    path = tmp_path / "log"
    log = make(errorlog=str(path), loglevel="warning", log_json=True)
    copy = pickle.loads(pickle.dumps(log))
    copy.info("not this")
    copy.warning("said by the copy")
    (line,) = path.read_text().splitlines()
    assert json.loads(line)["message"] == "said by the copy"


def test_the_error_log_goes_to_standard_error_in_its_format(make: Any, capsys: pytest.CaptureFixture[str]) -> None:
    make().info("hello %s", "world")
    line = capsys.readouterr().err
    assert line.endswith(f"[{os.getpid()}] [INFO] hello world\n")
    assert datetime.datetime.strptime(line[:27], "[%Y-%m-%d %H:%M:%S %z]")


def test_levels(make: Any, tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = make(errorlog=str(path), loglevel="WARNING")
    log.debug("d")
    log.info("i")
    log.warning("w %d", 1)
    log.error("e")
    log.critical("c")
    log.log("error", "named")
    log.log(logging.INFO, "numbered")
    try:
        raise LookupError("mine")
    except LookupError:
        log.exception("x")
    text = path.read_text()
    assert [line.split("] ")[-1] for line in text.splitlines() if line.startswith("[")] == [
        "w 1",
        "e",
        "c",
        "named",
        "x",
    ]
    assert "LookupError: mine" in text


def test_an_access_line_of_the_default_format(make: Any, tmp_path: Path) -> None:
    path = tmp_path / "access"
    log = make(accesslog=str(path))
    log.access(RESPONSE, REQUEST, ENVIRON, TOOK)
    line = path.read_text()
    assert line.startswith("192.0.2.7 - ann [")
    assert line.endswith('] "GET /path?a=1 HTTP/1.1" 200 1234 "http://here/" "tester \\"x\\""\n')


@pytest.mark.parametrize(
    ("atom", "text"),
    [
        ("%(m)s %(U)s %(q)s %(H)s", "GET /path a=1 HTTP/1.1"),
        ("%(T)s %(M)s %(D)s %(L)s", "1 1234 1234567 1.234567"),
        ("%(B)s %(b)s %(s)s", "1234 1234 200"),
        ("%(p)s", "<PID>"),
        ("%({x-forwarded-for}i)s %({X-Forwarded-For}i)s", "198.51.100.1 198.51.100.1"),
        ("%({content-type}o)s %({nothing}o)s", "text/plain -"),
        ("%({REMOTE_ADDR}e)s", "192.0.2.7"),
        ("%(nothing)s", "-"),
    ],
)
def test_atoms(make: Any, tmp_path: Path, atom: str, text: str) -> None:
    path = tmp_path / "access"
    make(accesslog=str(path), access_log_format=atom).access(RESPONSE, REQUEST, ENVIRON, TOOK)
    assert path.read_text().replace(f"<{os.getpid()}>", "<PID>") == f"{text}\n"


def test_an_empty_answer_to_nobody(make: Any, tmp_path: Path) -> None:
    path = tmp_path / "access"
    log = make(accesslog=str(path), access_log_format="%(h)s %(u)s %(b)s %(B)s %(f)s %(s)s")
    log.access(SimpleNamespace(status=b"204 No Content", sent=0, headers=[]), [], {}, datetime.timedelta())
    log.access(
        SimpleNamespace(status=b"204", sent=0, headers=[(b"A", b"b")]),
        [(b"C", b"d")],
        {"HTTP_AUTHORIZATION": "Basic ***"},
        datetime.timedelta(),
    )
    assert path.read_text() == "- - - 0 - 204\n" * 2


def test_atoms_that_fail_are_logged_and_do_not_raise(make: Any, tmp_path: Path) -> None:
    class Failing(Logger):
        def atoms(self, resp: Any, req: Any, environ: Any, request_time: Any) -> dict[str, Any]:
            raise LookupError("mine")

    path = tmp_path / "log"
    log = make(Failing, accesslog=str(path), errorlog=str(path))
    log.access(RESPONSE, REQUEST, ENVIRON, TOOK)
    assert "LookupError: mine" in path.read_text()


def test_a_subclass_may_add_atoms(make: Any, tmp_path: Path) -> None:
    class Adding(Logger):
        def atoms(self, resp: Any, req: Any, environ: Any, request_time: Any) -> dict[str, Any]:
            return {**super().atoms(resp, req, environ, request_time), "colour": 'a "red"'}

    path = tmp_path / "log"
    make(Adding, accesslog=str(path), access_log_format="%(m)s %(colour)s %({Content-Type}o)s").access(
        RESPONSE, REQUEST, ENVIRON, TOOK
    )
    assert path.read_text() == 'GET a \\"red\\" text/plain\n'


def test_formatters_find_the_atoms_in_the_records_arguments(make: Any, tmp_path: Path) -> None:
    class Formatter(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            args: Any = record.args
            return f"{args['m']} {args.get('U')} {args.get('{nothing}i', 'nothing')}"

    path = tmp_path / "log"
    log = make(accesslog=str(path))
    log.access_log.handlers[0].setFormatter(Formatter())
    log.access(RESPONSE, REQUEST, ENVIRON, TOOK)
    assert path.read_text() == "GET /path nothing\n"


def test_whether_the_access_log_is_on_is_known_in_advance(make: Any, tmp_path: Path) -> None:
    class Metrics(Logger):
        def access(self, resp: Any, req: Any, environ: Any, request_time: Any) -> None:
            """Counts, in a real one."""

    assert not make().access_log_enabled
    assert make(accesslog="-").access_log_enabled
    assert make(logconfig_dict={"incremental": False}).access_log_enabled
    assert make(Metrics).access_log_enabled


def test_a_logger_that_sets_nothing_up_still_works(make: Any) -> None:
    class Propagating(Logger):
        def setup(self, cfg: Any) -> None:
            self.error_log.propagate = True

    log = make(Propagating)
    assert log.access_log_enabled
    log.access(RESPONSE, REQUEST, ENVIRON, TOOK)
    log.reopen_files()
    log.close_on_exec()


def test_setting_up_again_replaces_our_handlers_only(make: Any, tmp_path: Path) -> None:
    log = make(errorlog=str(tmp_path / "one"))
    others = logging.StreamHandler(io.StringIO())
    log.error_log.addHandler(others)
    log.setup(config(errorlog=str(tmp_path / "two"), loglevel="debug"))
    log.debug("after")
    assert (tmp_path / "one").read_text() == ""
    assert "after" in (tmp_path / "two").read_text()
    assert "after" in others.stream.getvalue()
    assert len(log.error_log.handlers) == 2


def test_a_reload_changes_everything(make: Any, tmp_path: Path) -> None:
    """Files, levels, formats, JSON, syslog and logging configurations come, and go again."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        log = make(
            errorlog=str(tmp_path / "e1"),
            accesslog=str(tmp_path / "a1"),
            loglevel="debug",
            syslog=True,
            syslog_addr=f"udp://127.0.0.1:{server.getsockname()[1]}",
        )
        log.setup(
            config(errorlog=str(tmp_path / "e2"), loglevel="error", log_json=True, accesslog=str(tmp_path / "a2"))
        )
        server.settimeout(0)
        log.warning("too low")
        log.error("two")
        log.access(RESPONSE, REQUEST, ENVIRON, TOOK)
        with pytest.raises(BlockingIOError):
            server.recv(1000)
    assert json.loads((tmp_path / "e2").read_text())["message"] == "two"
    assert json.loads((tmp_path / "a2").read_text())["status"] == 200
    configured = {**DICT, "handlers": {"file": {**DICT["handlers"]["file"], "filename": str(tmp_path / "e3")}}}
    configured["loggers"] = {"gunicorn.error": {"handlers": ["file"], "level": "INFO", "propagate": True}}
    log.setup(config(logconfig_dict=configured))
    log.error("three")
    log.setup(config(errorlog=str(tmp_path / "e4"), accesslog=str(tmp_path / "a4"), access_log_format="%(m)s"))
    log.error("four")
    log.access(RESPONSE, REQUEST, ENVIRON, TOOK)
    assert (tmp_path / "e1").read_text() == (tmp_path / "a1").read_text() == ""
    assert (tmp_path / "e3").read_text() == "PLAIN three\n"
    assert (tmp_path / "e4").read_text().endswith("[ERROR] four\n")
    assert (tmp_path / "a4").read_text() == "GET\n"
    assert not log.error_log.propagate


def test_json_in_syslog_and_in_logging_configurations(make: Any, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(20)
        log = make(
            log_json=True, syslog=True, syslog_addr=f"udp://127.0.0.1:{server.getsockname()[1]}", syslog_prefix="p"
        )
        log.error("wrong")
        prefix, _, entry = server.recv(1000).rstrip(b"\0").partition(b" ")
        assert (prefix, json.loads(entry)["message"]) == (b"<11>gunicorn.p.error", "wrong")
    handlers = {
        "error_console": {"class": "logging.FileHandler", "filename": str(tmp_path / "e"), "formatter": "generic"}
    }
    handlers["console"] = {"class": "logging.NullHandler"}
    log.setup(config(log_json=True, logconfig_dict={"handlers": handlers}))
    log.error("configured")
    assert json.loads((tmp_path / "e").read_text())["message"] == "configured"


def test_a_file_that_cannot_be_opened_again_stays(make: Any, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    log = make(errorlog=str(folder / "e"))
    folder.rename(tmp_path / "moved")
    log.reopen_files()
    log.error("after")
    text = (tmp_path / "moved" / "e").read_text()
    assert "The log files cannot be opened again: " in text
    assert "after" in text


def test_handlers_of_other_kinds_are_opened_again_their_way(make: Any, tmp_path: Path) -> None:
    from logging.handlers import WatchedFileHandler

    log = make(errorlog=None)
    log.error_log.addHandler(WatchedFileHandler(tmp_path / "e"))
    (tmp_path / "e").rename(tmp_path / "e.1")
    log.reopen_files()
    assert (tmp_path / "e").exists()


def test_captured_output_is_let_go_by_a_reload(tmp_path: Path) -> None:
    code = (
        "from gunicorn.config import Config\n"
        "cfg = Config(); cfg.set('errorlog', 'log'); cfg.set('capture_output', True)\n"
        "log = cfg.logger_class(cfg)\n"
        "print('captured', flush=True)\n"
        "log.setup(Config())\n"
        "print('free')\n"
    )
    output = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert (output.stdout, output.stderr) == ("free\n", "")
    assert (tmp_path / "log").read_text() == "captured\n"


def test_rotated_files_are_opened_again(make: Any, tmp_path: Path) -> None:
    log = make(errorlog=str(tmp_path / "e"), accesslog=str(tmp_path / "a"), access_log_format="%(m)s")
    log.error("before")
    (tmp_path / "e").rename(tmp_path / "e.1")
    (tmp_path / "a").rename(tmp_path / "a.1")
    log.error("still the old")
    log.reopen_files()
    log.error("after")
    log.access(RESPONSE, REQUEST, ENVIRON, TOOK)
    assert "still the old" in (tmp_path / "e.1").read_text()
    assert "after" in (tmp_path / "e").read_text()
    assert "before" not in (tmp_path / "e").read_text()
    assert (tmp_path / "a").read_text() == "GET\n"
    log.close_on_exec()
    assert not any(os.get_inheritable(handler.stream.fileno()) for handler in log._file_handlers())


def test_a_file_that_cannot_be_written_is_named(make: Any) -> None:
    with pytest.raises(ConfigError, match="the log file '/nowhere/log' cannot be written: No such file"):
        make(errorlog="/nowhere/log")


def test_output_is_captured_in_the_error_log(tmp_path: Path) -> None:
    code = (
        "import os, subprocess\n"
        "from gunicorn.config import Config\n"
        "cfg = Config(); cfg.set('errorlog', 'log'); cfg.set('capture_output', True)\n"
        "log = cfg.logger_class(cfg)\n"
        "print('printed', flush=True); os.write(2, b'written\\n'); subprocess.run(['echo', 'echoed'])\n"
        "os.rename('log', 'log.1'); log.reopen_files()\n"
        "print('later', flush=True)\n"
    )
    output = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert output.stdout == output.stderr == ""
    assert (tmp_path / "log.1").read_text() == "printed\nwritten\nechoed\n"
    assert (tmp_path / "log").read_text() == "later\n"


def test_syslog(make: Any) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(20)
        settings = {"syslog": True, "syslog_addr": f"udp://127.0.0.1:{server.getsockname()[1]}", "proc_name": "a:b"}
        log = make(**settings, syslog_facility="local3", access_log_format="%(m)s")
        log.error("wrong")
        # RFC 3164: facility 19 (local3) * 8 + severity 3 (error)
        assert server.recv(1000).startswith(f"<155>gunicorn.a.b.error [{os.getpid()}] wrong".encode())
        assert log.access_log_enabled
        log.access(RESPONSE, REQUEST, ENVIRON, TOOK)
        assert server.recv(1000).startswith(f"<158>gunicorn.a.b.access [{os.getpid()}] GET".encode())
        log.setup(config(**settings, syslog_prefix="mine", disable_redirect_access_to_syslog=True))
        log.error("again")
        assert server.recv(1000).startswith(f"<11>gunicorn.mine.error [{os.getpid()}] again".encode())
        assert not log.access_log_enabled
        log.access(RESPONSE, REQUEST, ENVIRON, TOOK)
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.recv(1000)


def test_an_unknown_facility_is_named(make: Any) -> None:
    with pytest.raises(ConfigError, match="syslog_facility 'nothing' is unknown; use one of auth, authpriv"):
        make(syslog=True, syslog_facility="nothing")


DICT: dict[str, Any] = {
    "handlers": {"file": {"class": "logging.FileHandler", "filename": "FILE", "formatter": "plain"}},
    "formatters": {"plain": {"format": "PLAIN %(message)s"}},
    "root": {"level": "INFO", "handlers": []},
    "loggers": {"gunicorn.error": {"level": "INFO", "handlers": ["file"], "propagate": False}},
}


def dict_for(path: Path) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(json.dumps(DICT).replace("FILE", str(path)))
    return made


def test_a_logging_dictionary(make: Any, tmp_path: Path) -> None:
    make(logconfig_dict=dict_for(tmp_path / "log")).info("by dict")
    assert (tmp_path / "log").read_text() == "PLAIN by dict\n"


def test_a_logging_dictionary_in_json(make: Any, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(json.dumps(dict_for(tmp_path / "log")))
    make(logconfig_json=str(tmp_path / "c.json")).info("by json")
    assert (tmp_path / "log").read_text() == "PLAIN by json\n"


def test_a_logging_file(make: Any, tmp_path: Path) -> None:
    (tmp_path / "c.ini").write_text(
        "[loggers]\nkeys=root,error\n[handlers]\nkeys=file\n[formatters]\nkeys=plain\n"
        "[logger_root]\nhandlers=\n[logger_error]\nqualname=gunicorn.error\nhandlers=file\nlevel=INFO\npropagate=0\n"
        f"[handler_file]\nclass=FileHandler\nformatter=plain\nargs=('{tmp_path}/log',)\n"
        "[formatter_plain]\nformat=PLAIN %(message)s\n"
    )
    make(logconfig=str(tmp_path / "c.ini")).info("by file")
    assert (tmp_path / "log").read_text() == "PLAIN by file\n"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"logconfig": "/nowhere/c.ini"}, "'/nowhere/c.ini' does not exist"),
        ({"logconfig_json": "/nowhere/c.json"}, "No such file or directory"),
        ({"logconfig_dict": {"handlers": {"x": {"class": "nowhere.Handler"}}}}, "cannot be used"),
    ],
)
def test_a_logging_configuration_that_cannot_be_used(make: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(**settings)
    assert message in str(caught.value)


def test_the_documented_names(make: Any) -> None:
    log = make()
    assert log.error_fmt == "%(asctime)s [%(process)d] [%(levelname)s] %(message)s"
    assert log.access_fmt == "%(message)s"
    assert log.datefmt == "[%Y-%m-%d %H:%M:%S %z]"
    assert (log.error_log.name, log.access_log.name) == ("gunicorn.error", "gunicorn.access")
    assert set("hlutrsmUqHbBfaTDMLp") <= set(log.atoms(RESPONSE, REQUEST, ENVIRON, TOOK))
    assert AccessLogFormat.default == Config().access_log_format


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_that_is_made_after_a_rotation_is_the_workers(make: Any, tmp_path: Path) -> None:
    log = make(errorlog=str(tmp_path / "e"), accesslog=str(tmp_path / "a"), user=65534, group=65533)
    for name in "ea":
        (tmp_path / name).rename(tmp_path / f"{name}.1")
    (tmp_path / "a").touch()  # by logrotate's "create", for whom it wants
    log.reopen_files()
    assert ((tmp_path / "e").stat().st_uid, (tmp_path / "e").stat().st_gid) == (65534, 65533)
    assert (tmp_path / "a").stat().st_uid == 0
