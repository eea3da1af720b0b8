"""Config: reading, writing, the parser, and what is derived."""

import ipaddress
import pickle
import ssl
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config, get_default_config_file
from gunicorn.errors import ConfigError
from gunicorn.workers.base import Worker

DECLARATION = {
    "name": "colour",
    "section": "C",
    "cli": ["--colour"],
    "default": "grey",
    "validator": "string",
    "desc": "C.",
}


def test_values_are_read_as_attributes_whoever_set_them() -> None:
    cfg = Config()
    assert cfg.workers == 1
    cfg.set("workers", "3")
    assert cfg.workers == 3
    cfg.settings["workers"].set(4)
    assert cfg.workers == 4
    assert cfg.__dict__["workers"] == 4
    assert cfg.settings["backlog"].value == 2048


def test_attributes_cannot_be_assigned_around_the_validation() -> None:
    with pytest.raises(AttributeError, match=r"use cfg\.set"):
        Config().workers = 3


def test_unknown_names_are_attribute_errors_that_help() -> None:
    cfg = Config()
    assert getattr(cfg, "nothing", None) is None
    assert not hasattr(cfg, "dirty_apps")
    with pytest.raises(AttributeError, match="there is no setting 'worker'; did you mean 'workers'"):
        cfg.worker  # noqa: B018
    with pytest.raises(AttributeError, match=r'pip install "gunicorn-server\[dirty\]"'):
        cfg.set("dirty_apps", [])
    with pytest.raises(AttributeError, match="'spew' is not in this version yet"):
        cfg.set("spew", "k")


def test_two_configs_share_nothing() -> None:
    one, two = Config(), Config()
    one.set("workers", 9)
    assert two.workers == 1


class Colours:
    """A service, found again by its name."""

    name = "colours"
    settings = (DECLARATION,)


def worker_exit(server: Any, worker: Any) -> None:
    """A hook of a module."""


def test_a_copy_for_another_interpreter_has_all_values_that_can_be_found_again_there() -> None:
    cfg = Config("usage", "prog", services=[Colours()])
    cfg.set("workers", 7)
    cfg.set("bind", "127.0.0.1:0")
    cfg.set("colour", "red")
    cfg.set("worker_exit", worker_exit)
    cfg.set("post_fork", lambda server, worker: None)
    copy = pickle.loads(pickle.dumps(cfg))
    assert type(copy) is Config
    assert (copy.prog, copy.workers, copy.bind, copy.colour) == ("prog", 7, ["127.0.0.1:0"], "red")
    assert copy.address == [("127.0.0.1", 0)]
    assert copy.worker_exit is worker_exit
    assert copy.post_fork is Config().post_fork
    copy.set("workers", 2)
    assert (copy.workers, cfg.workers) == (2, 7)
    assert [type(service) for service in copy.services] == [Colours]


def test_such_a_copy_needs_nothing_to_be_imported_before_it() -> None:
    cfg = Config()
    cfg.set("workers", 7)
    program = "import pickle, sys; cfg = pickle.load(sys.stdin.buffer); print(cfg.workers, cfg.timeout)"
    done = subprocess.run([sys.executable, "-c", program], input=pickle.dumps(cfg), capture_output=True, check=True)
    assert done.stdout.split() == [b"7", b"30"]


def test_services_add_settings() -> None:
    service = SimpleNamespace(name="colours", settings=[DECLARATION])
    cfg = Config(services=[service])
    assert cfg.colour == "grey"
    assert cfg.services == (service,)
    assert cfg.parser().parse_args(["--colour", "red"]).colour == "red"
    assert not hasattr(Config(), "colour")
    with pytest.raises(ConfigError, match="'colours' declares the setting 'workers', which exists"):
        Config(services=[SimpleNamespace(name="colours", settings=[{**DECLARATION, "name": "workers"}])])


def test_a_flag_of_a_distribution_that_is_not_installed_names_the_extra(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        Config().parser().parse_args(["--dirty-app", "m:C", "app:app"])
    assert caught.value.code == 2
    assert 'pip install "gunicorn-server[dirty]"' in capsys.readouterr().err
    declaration = {
        **DECLARATION,
        "name": "dirty_apps",
        "cli": ["--dirty-app"],
        "action": "append",
        "validator": "list_string",
    }
    cfg = Config(services=[SimpleNamespace(name="dirty", settings=[declaration])])
    assert cfg.parser().parse_args(["--dirty-app", "m:C"]).dirty_apps == ["m:C"]


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    from gunicorn import __version__

    with pytest.raises(SystemExit) as caught:
        Config(prog="gunicorn").parser().parse_args(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"gunicorn (version {__version__})\n"
    with pytest.raises(SystemExit):
        Config().parser().parse_args(["--help"])
    shown = capsys.readouterr().out
    assert "Worker Processes:" in shown
    assert "--spew" not in shown


def test_words_of_the_environment_are_split_as_a_shell_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Config().get_cmd_args_from_env() == []
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--workers 3 --name 'two words'")
    assert Config().get_cmd_args_from_env() == ["--workers", "3", "--name", "two words"]


def test_the_worker_class_is_sync_gthread_or_what_is_named() -> None:
    cfg = Config()
    assert cfg.worker_class_str == "sync"
    cfg.set("threads", 4)
    assert cfg.worker_class_str == "gthread"
    cfg.set("worker_class", "gevent")
    assert cfg.worker_class_str == "gevent"
    cfg.set("worker_class", "gunicorn.workers.base.Worker")
    assert cfg.worker_class is Worker
    cfg.set("worker_class", Worker)
    assert cfg.worker_class is Worker
    assert cfg.worker_class_str == "Worker"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("tornado", "there is no tornado worker: use asgi"),
        ("eventlet", "there is no eventlet worker: use gevent"),
        ("quick", "there is no worker 'quick'; use one of sync, gthread, gevent, asgi"),
        ("no.such.Class", "No module named 'no'"),
        ("gunicorn.util.Nothing", "has no worker class 'Nothing'"),
        ("gunicorn.util.unlink", "is not a class"),
    ],
)
def test_a_worker_class_that_cannot_be_used_says_why(name: str, reason: str) -> None:
    cfg = Config()
    cfg.set("worker_class", name)
    with pytest.raises(ConfigError) as caught:
        cfg.worker_class  # noqa: B018
    assert reason in str(caught.value)
    assert repr(name) in str(caught.value)


def test_a_worker_class_is_set_up_when_it_is_loaded() -> None:
    calls: list[str] = []

    class Prepared(Worker):
        @classmethod
        def setup(cls) -> None:
            calls.append("setup")

    cfg = Config()
    cfg.set("worker_class", Prepared)
    assert cfg.worker_class is Prepared
    assert calls == ["setup"]


def test_the_logger_class() -> None:
    from gunicorn.glogging import Logger

    cfg = Config()
    assert cfg.logger_class is Logger
    cfg.set("logger_class", "nowhere.Logger")
    with pytest.raises(ConfigError, match=r"logger_class 'nowhere\.Logger' cannot be used"):
        cfg.logger_class  # noqa: B018


def test_a_hook_is_the_users_own_once_it_was_set() -> None:
    cfg = Config()
    assert cfg.own_hook("pre_request") is None

    def hook(worker: Any, req: Any) -> None: ...

    cfg.set("pre_request", hook)
    assert cfg.own_hook("pre_request") is hook


def test_addresses_are_parsed() -> None:
    cfg = Config()
    cfg.set("bind", ["127.0.0.1:80", "unix:/tmp/x", "[::1]:81", "fd://3"])
    assert cfg.address == [("127.0.0.1", 80), "/tmp/x", ("::1", 81), 3]
    cfg.set("bind", "127.0.0.1:web")
    with pytest.raises(ConfigError, match=r"bind: '127\.0\.0\.1:web' is not an address: 'web' is not a port"):
        cfg.address  # noqa: B018


def test_port_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Config().address == [("127.0.0.1", 8000)]
    monkeypatch.setenv("PORT", "5000")
    assert Config().address == [("0.0.0.0", 5000)]


def test_names_ids_environment() -> None:
    cfg = Config()
    assert cfg.proc_name == "gunicorn"
    cfg.set("default_proc_name", "app:app")
    assert cfg.proc_name == "app:app"
    cfg.set("proc_name", "mine")
    assert cfg.proc_name == "mine"
    cfg.set("user", "7")
    cfg.set("group", "8")
    assert (cfg.uid, cfg.gid) == (7, 8)
    cfg.set("raw_env", ["A=1", "B=x=y", "C="])
    assert cfg.env == {"A": "1", "B": "x=y", "C": ""}
    cfg.set("raw_env", ["A"])
    with pytest.raises(ConfigError, match="'A' is not NAME=value"):
        cfg.env  # noqa: B018


def test_trusted_networks_are_parsed_once_per_value() -> None:
    cfg = Config()
    assert cfg.forwarded_allow_ips == ["127.0.0.1", "::1"]
    first = cfg.forwarded_allow_networks()
    assert first == (ipaddress.ip_network("127.0.0.1"), ipaddress.ip_network("::1"))
    assert cfg.forwarded_allow_networks() is first
    cfg.set("forwarded_allow_ips", "*,10.0.0.0/8")
    assert cfg.forwarded_allow_ips == ["*", "10.0.0.0/8"]
    assert cfg.forwarded_allow_networks() == (ipaddress.ip_network("10.0.0.0/8"),)


def test_without_certificates_there_is_no_tls() -> None:
    cfg = Config()
    assert not cfg.is_ssl
    cfg.set("certfile", "c.pem")
    assert cfg.is_ssl
    assert cfg.ssl_options == {
        "keyfile": None,
        "certfile": "c.pem",
        "ssl_version": ssl.PROTOCOL_TLS_SERVER,
        "cert_reqs": ssl.CERT_NONE,
        "ca_certs": None,
        "suppress_ragged_eofs": True,
        "do_handshake_on_connect": False,
        "ciphers": None,
    }


def test_printing_shows_every_setting() -> None:
    cfg = Config()
    lines = str(cfg).splitlines()
    assert len(lines) == len(cfg.settings)
    assert lines == sorted(lines)
    assert any(line.split() == ["workers", "=", "1"] for line in lines)
    assert any(line.startswith("on_exit ") and line.endswith("()>") for line in lines)


def test_the_default_configuration_file(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert get_default_config_file() is None
    (tmp_path / "gunicorn.conf.py").touch()
    assert get_default_config_file() == str(tmp_path / "gunicorn.conf.py")
