"""Configuration files and values from other sources: where an error was written, and what is a helper and what a
mistake.
"""

import sys
from pathlib import Path

import pytest
from gunicorn.config import Config
from gunicorn.errors import ConfigError, SettingError
from gunicorn.settings import sources


def load(directory: Path, text: str) -> Config:
    path = directory / "c.py"
    path.write_text(text)
    cfg = Config()
    sources.apply_config_file(cfg, str(path))
    return cfg


def test_names_become_settings(tmp_path: Path) -> None:
    cfg = load(tmp_path, "workers = 2 + 1\ndef on_starting(server):\n    return __file__\n")
    assert cfg.workers == 3
    assert cfg.on_starting(None) == str(tmp_path / "c.py")


def test_the_kinds_of_location(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "conf_module_x.py").write_text("workers = 5\n")
    cfg = Config()
    sources.apply_config_file(cfg, f"file:{tmp_path}/conf_module_x.py")
    assert cfg.workers == 5
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    cfg = Config()
    sources.apply_config_file(cfg, "python:conf_module_x")
    assert cfg.workers == 5
    (tmp_path / "conf_module_x.py").write_text("workers = 6\nthread = 2\n")
    sources.apply_config_file(cfg, "python:conf_module_x")
    assert "python:conf_module_x: there is no setting 'thread', so it has no effect" in capsys.readouterr().err
    assert cfg.workers == 6
    monkeypatch.delitem(sys.modules, "conf_module_x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("workers = 'many'", "c.py: invalid value for 'workers': 'many' (not an integer: 'many')"),
        ("def on_exit(): pass", "c.py: invalid value for 'on_exit'"),
        ("spew = True", "c.py: the setting 'spew' is not in this version yet; remove it"),
        ("dirty_apps = ['a:B']", 'run: pip install "gunicorn-server[dirty]"'),
    ],
)
def test_a_mistake_is_an_error_that_names_file_and_setting(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingError) as caught:
        load(tmp_path, text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "name", "near"),
    [
        ("worker = 3", "worker", "workers"),
        ("if True:\n    work_class = 'sync'", "work_class", "worker_class"),
        ("def post_forks(server, worker): pass", "post_forks", "post_fork"),
        ("preload = True", "preload", "preload_app"),
    ],
)
def test_what_is_nearly_a_setting_is_warned_about(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, name: str, near: str
) -> None:
    """No error: files that are in use elsewhere have such slips, and work."""
    assert load(tmp_path, f"threads = 3\n{text}").threads == 3
    said = capsys.readouterr().err
    assert said.endswith(f"c.py: there is no setting {name!r}, so it has no effect; did you mean {near!r}?\n")


@pytest.mark.parametrize(
    "text",
    [
        "import multiprocessing\nworkers = multiprocessing.cpu_count()",
        "log_level = 'debug'\nloglevel = log_level",
        "from os import environ as worker_env\nworkers = int(worker_env.get('W', 1))",
        "_worker = 3",
        "workers_per_core = 2\nworkers = 2 * workers_per_core",
        "author = 'me'",
        "keyfile = None\nspew = False\nproxy_protocol = False\ndirty_workers = 0",
        "class Worker: pass",
    ],
)
def test_helpers_and_values_that_ask_for_nothing_are_no_mistakes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    load(tmp_path, text)
    assert capsys.readouterr().err == ""


def test_a_file_that_fails_shows_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"c.py' cannot be used: ZeroDivisionError"):
        load(tmp_path, "x = 1\nworkers = x / 0\n")
    assert "line 2" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="SyntaxError"):
        load(tmp_path, "workers = (")


def test_a_missing_file_and_module(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'/nowhere/c.py' does not exist"):
        sources.apply_config_file(Config(), "/nowhere/c.py")
    with pytest.raises(ConfigError, match="python:nowhere_at_all"):
        sources.apply_config_file(Config(), "python:nowhere_at_all")
    with pytest.raises(ConfigError, match="cannot be read"):
        sources.apply_config_file(Config(), str(tmp_path))


def test_values_of_other_sources_say_where_they_were_written() -> None:
    cfg = Config()
    sources.apply(cfg, {"workers": 4}, "command line")
    assert cfg.workers == 4
    with pytest.raises(SettingError, match="command line: invalid value for 'workers': -1"):
        sources.apply(cfg, {"workers": -1}, "command line")
    with pytest.raises(SettingError, match="an embedder: there is no setting 'worker'"):
        sources.apply(cfg, {"worker": 1}, "an embedder")


def test_only_given_arguments_count() -> None:
    namespace = Config().parser().parse_args(["-w", "3", "app:app"])
    assert sources.arguments(namespace) == {"workers": 3}
