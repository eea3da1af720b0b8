"""Helpers of names, of the process, and of addresses."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gunicorn import util
from gunicorn.errors import AppImportError

MODULE = """
def app(environ, start_response): return []
application = app
nothing = None
number = 5
def factory(name, count=1):
    def made(environ, start_response): return [name, count]
    return made
def failing():
    return len(5)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "util_case_app.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "util_case_app", raising=False)
    return "util_case_app"


def test_an_application_by_name(module: str) -> None:
    assert util.import_app(f"{module}:app") is util.import_app(module)


def test_an_application_from_a_factory(module: str) -> None:
    assert util.import_app(f"{module}:factory('x', count=3)")({}, None) == ["x", 3]
    assert util.import_app(f"{module}:factory('x')")({}, None) == ["x", 1]


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("no_such_module_here:app", "there is no module 'no_such_module_here'"),
        ("no_such_module_here.sub:app", "there is no module 'no_such_module_here'"),
        ("util_case_app:missing", "has no attribute 'missing'"),
        ("util_case_app:nothing", "is None"),
        ("util_case_app:number", "is a int, which cannot be called"),
        ("util_case_app:app.inner", "'app.inner' is neither a name nor a call of a factory"),
        ("util_case_app:a b", "'a b' is neither a name"),
        ("util_case_app:factory(name)", "arguments of a factory must be literals"),
        ("util_case_app:factory()", "'factory' cannot be called like this"),
        ("util_case_app:factory('x', 1, 2, 3)", "'factory' cannot be called like this"),
        ("util_case_app.py:app", "did you mean 'util_case_app:app'?"),
        ("util_case_app.py", "did you mean 'util_case_app:application'?"),
    ],
)
def test_what_cannot_be_imported_says_why(module: str, uri: str, message: str) -> None:
    with pytest.raises(AppImportError) as caught:
        util.import_app(uri)
    assert message in str(caught.value)


def test_errors_inside_the_application_come_through(module: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="has no len"):
        util.import_app(f"{module}:failing()")
    (tmp_path / "util_case_broken.py").write_text("import no_such_module_inside\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_module_inside"):
        util.import_app("util_case_broken:app")


def test_classes_by_name() -> None:
    assert util.load_class(dict) is dict
    assert util.load_class("collections.OrderedDict", section="other").__name__ == "OrderedDict"
    assert util.load_class("default", default="collections.Counter").__name__ == "Counter"
    with pytest.raises(ImportError, match="names no logger class"):
        util.load_class("Logger", section="logger")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("example.com", ("example.com", 8000)),
        ("EXAMPLE.com:1", ("example.com", 1)),
        (":80", ("0.0.0.0", 80)),
        ("tcp://127.0.0.1:80", ("127.0.0.1", 80)),
        ("[::1]:80", ("::1", 80)),
        ("[::1]", ("::1", 8000)),
        ("::1", ("::1", 8000)),
        ("unix:/run/x.sock", "/run/x.sock"),
        ("unix:relative", "relative"),
        ("unix:///run/x.sock", "/run/x.sock"),
        ("fd://7", 7),
    ],
)
def test_addresses(text: str, address: Any) -> None:
    assert util.parse_address(text) == address


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("host:http", "'http' is not a port"),
        ("host:70000", "'70000' is not a port"),
        ("[::1", "write [v6 address]:port"),
        ("[::1]x", "write [v6 address]:port"),
        ("unix:", "unix: wants a path"),
        ("fd://x", "fd:// wants the number"),
        ("http://host:80", "use host:port, unix:path or fd://number"),
    ],
)
def test_what_is_no_address_says_why(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="is not an address") as caught:
        util.parse_address(text)
    assert message in str(caught.value)


def test_addresses_are_shown() -> None:
    assert util.host_port(("127.0.0.1", 80)) == "127.0.0.1:80"
    assert util.host_port(("::1", 80, 0, 0)) == "[::1]:80"
    assert util.host_port("/run/x") == "/run/x"
    assert util.host_port(b"\0x") == "\0x"


def test_dates() -> None:
    assert util.http_date(0) == "Thu, 01 Jan 1970 00:00:00 GMT"
    assert util.http_date(784111777.9) == "Sun, 06 Nov 1994 08:49:37 GMT"


def test_the_working_directory_keeps_its_symlink(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path / "real")
    monkeypatch.setenv("PWD", str(tmp_path / "link"))
    assert util.getcwd() == str(tmp_path / "link")
    monkeypatch.setenv("PWD", "/")
    assert util.getcwd() == str(tmp_path / "real")


def test_removing_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    util.unlink(str(tmp_path / "x"))
    util.unlink(str(tmp_path / "x"))
    util.unlink(str(tmp_path / "x" / "y"))


def test_close_on_exec() -> None:
    read, write = os.pipe()
    os.set_inheritable(read, True)
    util.close_on_exec(read)
    assert not os.get_inheritable(read)
    os.close(read)
    os.close(write)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("initgroups", [False, True])
def test_privileges_are_given_up_for_good(initgroups: bool) -> None:
    code = (
        "import os\n"
        "from gunicorn import util\n"
        f"util.set_owner_process(65534, 65534, {initgroups})\n"
        "print(os.getresuid(), os.getresgid(), sorted(os.getgroups()))\n"
        "try: os.setuid(0)\n"
        "except PermissionError: print('for good')\n"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output == f"{(65534,) * 3} {(65534,) * 3} [65534]\nfor good\n"


def test_nothing_happens_without_another_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> None:
        raise AssertionError("not to be called")

    for name in ("setuid", "setgid", "setgroups", "initgroups"):
        monkeypatch.setattr(os, name, fail)
    util.set_owner_process(os.geteuid(), os.getegid())
    util.set_owner_process(None, None)


def test_a_daemon_leaves_its_terminal_and_its_parent(short_path: Path, eventually: Callable[..., Any]) -> None:
    code = (
        "import os, signal\n"
        "from gunicorn import util\n"
        "util.daemonize()\n"
        "print('unseen')\n"
        "facts = [os.getpid(), os.getsid(0), os.readlink('/proc/self/fd/1')]\n"
        "open('facts.tmp', 'w').write(repr(facts))\n"
        "os.rename('facts.tmp', 'facts')\n"
        "signal.pause()\n"
    )
    process = subprocess.run([sys.executable, "-c", code], cwd=short_path, check=True, capture_output=True, text=True)
    assert process.stdout == ""
    eventually((short_path / "facts").exists, "the daemon")
    pid, session, output = eval((short_path / "facts").read_text())
    try:
        assert output == os.devnull
        assert session not in (pid, os.getsid(0))
    finally:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not os.path.exists(f"/proc/{pid}"), "its end")


def test_standard_streams_that_are_closed_become_null() -> None:
    code = (
        "import os, sys\n"
        "from gunicorn.util import open_standard_descriptors\n"
        "open_standard_descriptors()\n"
        "print('lost', file=sys.stderr)\n"
        "print(os.readlink('/proc/self/fd/0'), os.readlink('/proc/self/fd/2'), os.get_inheritable(2))\n"
    )
    words = ["sh", "-c", 'exec "$0" -c "$1" <&- 2>&-', sys.executable, code]
    output = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout
    assert output == "/dev/null /dev/null True\n"
