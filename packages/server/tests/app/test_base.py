"""Applications in this process: the order of sources, embedding, and reloads; running is tested with real masters."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.app import base
from gunicorn.app.base import Application, BaseApplication
from gunicorn.errors import ConfigError


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No installed services, a directory of its own, and a Python path that is put back."""
    monkeypatch.setattr(base, "discover", list)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PWD", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))


class CommandLine(Application):
    """Takes its command line from a class attribute."""

    words: Sequence[str] = ()
    from_init: dict[str, Any] = {}

    def command_line(self) -> Sequence[str]:
        return self.words

    def init(self, parser: Any, opts: Any, args: list[str]) -> dict[str, Any]:
        self.args = args
        return self.from_init

    def load(self) -> Any:
        return lambda environ, start_response: []


def application(*words: str, **attributes: Any) -> CommandLine:
    cls: type[CommandLine] = type("App", (CommandLine,), {"words": words, **attributes})
    return cls()


def test_the_order_of_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("backlog", "keepalive", "threads", "timeout", "workers")
    init = dict.fromkeys(names[1:], 11)
    (tmp_path / "gunicorn.conf.py").write_text("".join(f"{name} = 12\n" for name in names[2:]))
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--timeout 13 --workers 13")
    cfg = application("--workers", "14", "first", from_init=init).cfg
    assert [getattr(cfg, name) for name in names] == [2048, 11, 12, 13, 14]


def test_the_words_that_are_no_flags_reach_init() -> None:
    assert application("-w", "2", "one", "two").args == ["one", "two"]


def test_a_configuration_file_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gunicorn.conf.py").write_text("workers = 2\n")
    (tmp_path / "other.py").write_text("workers = 3\n")
    (tmp_path / "third.py").write_text("workers = 4\n")
    assert application("-c", "other.py").cfg.workers == 3
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "-c file:third.py")
    assert application().cfg.workers == 4
    assert application("-c", "other.py").cfg.workers == 3


def test_chdir_makes_modules_importable(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    app = application("--chdir", "sub")
    assert os.getcwd() == str(tmp_path / "sub")
    assert sys.path[0] == str(tmp_path / "sub") == app.cfg.chdir


def test_an_error_of_the_configuration_is_printed_and_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gunicorn.conf.py").write_text("workers = 'many'\n")
    with pytest.raises(SystemExit) as caught:
        application()
    assert caught.value.code == 1
    error = capsys.readouterr().err
    assert "Error: " in error
    assert "gunicorn.conf.py: invalid value for 'workers': 'many'" in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("text", "status", "message"),
    [
        ("--workers x", 2, "error: GUNICORN_CMD_ARGS: argument -w/--workers: invalid int value: 'x'"),
        ("--nonsense", 2, "error: GUNICORN_CMD_ARGS: unrecognized arguments: --nonsense"),
        ("--bind 'a", 1, 'Error: GUNICORN_CMD_ARGS="--bind \'a" cannot be split into words: No closing quotation'),
    ],
)
def test_a_mistake_in_the_environment_is_looked_for_there(
    text: str, status: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GUNICORN_CMD_ARGS", text)
    with pytest.raises(SystemExit) as caught:
        application()
    assert caught.value.code == status
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


class Embedded(BaseApplication):
    def load_config(self) -> None:
        self.cfg.set("workers", 3)

    def load(self) -> Any:
        return object()


def test_embedding_needs_two_methods() -> None:
    app = Embedded()
    assert app.cfg.workers == 3
    assert app.cfg.prog == "gunicorn"
    assert app.wsgi() is app.wsgi()


def test_what_an_embedder_forgets_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        BaseApplication()
    assert "BaseApplication must define load_config()" in capsys.readouterr().err
    with pytest.raises(NotImplementedError, match=r"must define load\(\)"):
        type("Half", (BaseApplication,), {"load_config": lambda self: None})().wsgi()


def test_services_are_discovered_once_and_contribute_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    declaration = {"name": "colour", "section": "C", "default": "grey", "validator": "string", "desc": "C."}

    def discover() -> list[Any]:
        calls.append(1)
        return [SimpleNamespace(name="colours", settings=[declaration])]

    monkeypatch.setattr(base, "discover", discover)
    app = Embedded()
    assert app.cfg.colour == "grey"
    first = app.cfg
    app.reload()
    assert app.cfg is not first
    assert app.cfg.services == first.services
    assert calls == [1]


def test_a_reload_that_fails_keeps_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "gunicorn.conf.py"
    path.write_text("workers = 2\n")
    app = application()
    path.write_text("workers = 5\n")
    app.reload()
    assert app.cfg.workers == 5
    kept = app.cfg
    path.write_text("workers = 'many'\n")
    with pytest.raises(ConfigError, match="'many'"):
        app.reload()
    assert app.cfg is kept
    app.words = ("--nonsense",)
    with pytest.raises(ConfigError, match="SystemExit"):
        app.reload()
    assert app.cfg is kept


def test_check_and_print_load_the_application_and_exit(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        application("--check-config", "-k", "gunicorn.workers.base.Worker").run()
    assert caught.value.code == 0
    with pytest.raises(SystemExit) as caught:
        application("--print-config", "-w", "7", "-k", "gunicorn.workers.base.Worker").run()
    assert caught.value.code == 0
    assert any(line.split() == ["workers", "=", "7"] for line in capsys.readouterr().out.splitlines())


def test_check_reports_what_does_not_load(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(self: Any) -> Any:
        raise LookupError("no app today")

    with pytest.raises(SystemExit) as caught:
        application("--check-config", "-k", "gunicorn.workers.base.Worker", load=fail).run()
    assert caught.value.code == 1
    assert "no app today" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        application("--check-config", "-k", "tornado").run()
    assert caught.value.code == 1
    assert "there is no tornado worker" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--env", "A"), "raw_env (--env) 'A' is not NAME=value"),
        (("--bind", "host:port"), "bind: "),
        (("--access-logfile", "/nowhere/a.log"), "the log file '/nowhere/a.log' cannot be written"),
        (("--log-config", "/nowhere.ini"), "the logging configuration '/nowhere.ini' does not exist"),
    ],
)
def test_check_reports_what_would_end_a_start(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        application("--check-config", "-k", "gunicorn.workers.base.Worker", *words).run()
    assert caught.value.code == 1
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_pythonpath_comes_first_in_its_order(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with pytest.raises(SystemExit):
        application("--pythonpath", "a, b", "--check-config", "-k", "gunicorn.workers.base.Worker").run()
    assert sys.path[:2] == [str(tmp_path / "a"), str(tmp_path / "b")]


def test_an_embedded_server_serves(short_path: Path, eventually: Any) -> None:
    """An embedder's whole program, as people write it."""
    support = Path(__file__).parents[1] / "support"
    (short_path / "program.py").write_text(
        "import gunicorn.app.base as base\n"
        "base.discover = list\n"
        "import probe\n"
        "class Standalone(base.BaseApplication):\n"
        "    def __init__(self, app, options=None):\n"
        "        self.options, self.application = options or {}, app\n"
        "        super().__init__()\n"
        "    def load_config(self):\n"
        "        for name, value in self.options.items():\n"
        "            if name in self.cfg.settings and value is not None:\n"
        "                self.cfg.set(name.lower(), value)\n"
        "    def load(self):\n"
        "        return self.application\n"
        "Standalone(probe.app, {'bind': 'unix:s', 'worker_class': 'probe.ProbeWorker', 'pidfile': 'pid'}).run()\n"
        "raise AssertionError('run() returned')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "program.py"], cwd=short_path, env={**os.environ, "PYTHONPATH": str(support)}
    )
    try:
        eventually(lambda: _answer(short_path / "s"), "an answer")
    finally:
        process.terminate()
        assert process.wait(20) == 0
    assert not (short_path / "s").exists()
    assert not (short_path / "pid").exists()


def _answer(path: Path) -> bytes:
    import socket

    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return b""
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        return client.recv(1000)
