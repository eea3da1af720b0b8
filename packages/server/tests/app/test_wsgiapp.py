"""The gunicorn command: which application it means, and what it says when there is none."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from gunicorn import __version__
from gunicorn.app import base, wsgiapp
from gunicorn.app.wsgiapp import WSGIApplication
from gunicorn.errors import AppImportError


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "discover", list)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))


def command(monkeypatch: pytest.MonkeyPatch, *words: str) -> WSGIApplication:
    monkeypatch.setattr(sys, "argv", ["gunicorn", *words])
    return WSGIApplication("%(prog)s [OPTIONS] [APP_MODULE]", prog="gunicorn")


def test_the_application_is_named_on_the_command_line_or_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wsgiapp_case_a.py").write_text("def application(environ, start_response): return [b'a']\n")
    (tmp_path / "gunicorn.conf.py").write_text("wsgi_app = 'wsgiapp_case_a'\n")
    app = command(monkeypatch)
    assert app.app_uri == app.cfg.proc_name == "wsgiapp_case_a"
    loaded: Any = app.wsgi()
    assert loaded({}, None) == [b"a"]
    app = command(monkeypatch, "other:thing")
    assert app.app_uri == app.cfg.default_proc_name == "other:thing"
    with pytest.raises(AppImportError, match="there is no module 'other'"):
        app.wsgi()
    assert command(monkeypatch, "-n", "mine", "other:thing").cfg.proc_name == "mine"


def test_without_an_application_it_says_what_to_write(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        command(monkeypatch)
    assert caught.value.code == 1
    assert "no application is named; write 'gunicorn MODULE:APP'" in capsys.readouterr().err


def test_two_applications_are_one_too_many(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command(monkeypatch, "a:b", "c:d")
    assert caught.value.code == 2
    assert "2 are named: a:b c:d" in capsys.readouterr().err


def test_run_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str | None] = []
    monkeypatch.setattr(sys, "argv", ["gunicorn", "a:b"])
    monkeypatch.setattr(WSGIApplication, "run", lambda self: ran.append(self.app_uri))
    wsgiapp.run()
    assert ran == ["a:b"]


def test_the_installed_command_says_its_version() -> None:
    script = Path(sys.executable).with_name("gunicorn")
    output = subprocess.run([script, "--version"], check=True, capture_output=True, text=True).stdout
    assert output == f"gunicorn (version {__version__})\n"
