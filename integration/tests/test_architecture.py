"""Guards of the house's shape: who may import whom, what stays free of I/O, what the master loads, where tests lie.

It reads sources with `ast` and, where loading counts, asks a fresh interpreter. No server runs here.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGES = Path(__file__).parents[2] / "packages"


class Room(NamedTuple):
    """A distribution: where its modules lie below src/, which of ours it may import, and which of others."""

    folder: str
    may_import: tuple[str, ...]
    extras: tuple[str, ...] = ()


ROOMS = {
    "server": Room("gunicorn", ("gunicorn",), ("gevent", "greenlet", "uvloop", "h2", "setproctitle")),
    "dirty": Room("gunicorn/dirty", ("gunicorn.dirty", "gunicorn_dirty_protocol"), ("uvloop", "setproctitle")),
    "control": Room("gunicorn/control", ("gunicorn.control", "gunicorn_dirty_protocol")),
    "dirty-protocol": Room("gunicorn_dirty_protocol", ("gunicorn_dirty_protocol",), ("numpy",)),
    "ctl-cli": Room("gunicornc", ("gunicornc", "gunicorn.control")),
}
OURS = ("gunicorn", "gunicornc", "gunicorn_dirty_protocol")

# Bytes in, events out: these modules know no socket, no clock, no thread and no file.
SANS_IO = {
    "server": ("http/*", "wsgi/*", "asgi/*", "supervision/table.py", "supervision/service.py"),
    "dirty": ("placement.py", "scheduler.py", "wire.py", "tlv.py", "errors.py"),
    "control": (
        "commands.py",
        "connection.py",
        "dispatch.py",
        "errors.py",
        "framing.py",
        "host.py",
        "messages.py",
        "registry.py",
        "settings.py",
    ),
    "dirty-protocol": ("*",),
    "ctl-cli": ("tables.py", "views.py"),
}
WORLD = {
    *("asyncio", "concurrent", "gevent", "greenlet", "uvloop", "threading", "_thread", "queue", "multiprocessing"),
    *("socket", "socketserver", "select", "selectors", "ssl", "urllib.request", "http.client"),
    *("time", "sched", "subprocess", "os", "io.open", "pathlib", "shutil", "tempfile", "fcntl", "mmap"),
    *("logging", "random", "secrets", "builtins"),
}

# Source files that need no test file of their own, and why.
UNMIRRORED: dict[str, str] = {}


def sources(package: str) -> Iterator[tuple[Path, str]]:
    """Each source file, and its path within its room."""
    room = PACKAGES / package / "src" / ROOMS[package].folder
    for path in sorted(room.rglob("*.py")):
        yield path, path.relative_to(room).as_posix()


def imports(package: str, path: Path) -> Iterator[str]:
    """The dotted names that a file imports, wherever in it; relative ones in full, `from a import b` as `a.b`."""
    own = path.relative_to(PACKAGES / package / "src").with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(own[: -node.level]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            yield from (f"{module}.{alias.name}" for alias in node.names)


def within(name: str, modules: tuple[str, ...] | set[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


@pytest.mark.parametrize("package", ROOMS)
def test_imports_follow_the_arrows(package: str) -> None:
    room = ROOMS[package]
    seen = 0
    wrong = []
    for path, name in sources(package):
        for imported in imports(package, path):
            seen += 1
            if within(imported, OURS):
                good = within(imported, room.may_import)
                if package == "server":
                    good = good and not within(imported, ("gunicorn.dirty", "gunicorn.control"))
            else:
                top = imported.partition(".")[0]
                good = top in sys.stdlib_module_names or top in room.extras or top == "_typeshed"
            if not good:
                wrong.append(f"{name} imports {imported}")
    assert seen
    assert wrong == []


@pytest.mark.parametrize("package", SANS_IO)
def test_pure_modules_know_no_world(package: str) -> None:
    found = set()
    wrong = []
    for path, name in sources(package):
        patterns = {pattern for pattern in SANS_IO[package] if fnmatch(name, pattern)}
        found |= patterns
        if patterns:
            wrong += [f"{name} imports {imported}" for imported in imports(package, path) if within(imported, WORLD)]
            wrong += [f"{name} calls {called}()" for called in calls(path) if called in ("open", "print", "input")]
    assert found == set(SANS_IO[package]), "a pure module that this test names has moved"
    assert wrong == []


def calls(path: Path) -> Iterator[str]:
    """The plain names that a file calls."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id


@pytest.mark.parametrize(
    ("modules", "unwanted"),
    [
        (
            "gunicorn.arbiter, gunicorn.app.wsgiapp",
            ("asyncio", "concurrent.futures", "gunicorn.dirty", "gunicorn.control", "gunicorn_dirty_protocol"),
        ),
        (
            "gunicorn.dirty.service, gunicorn.control.service",
            ("asyncio", "concurrent.futures", "gunicorn.arbiter", "gunicorn.config", "gunicorn.workers"),
        ),
        ("gunicorn.dirty", ("asyncio", "concurrent.futures", "gunicorn.dirty.client", "gunicorn.dirty.app")),
        ("gunicorn.dirty.client", ("asyncio", "concurrent.futures")),
        ("gunicorn_dirty_protocol", ("gunicorn", "asyncio", "socket")),
    ],
)
def test_loading_brings_no_more_than_needed(modules: str, unwanted: tuple[str, ...]) -> None:
    code = f"import sys, threading, {modules}; print(threading.active_count(), *sys.modules)"
    command = [sys.executable, "-W", "error", "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    threads, *loaded = result.stdout.split()
    assert threads == "1"
    assert [name for name in loaded if within(name, unwanted)] == []


def has_code(path: Path) -> bool:
    """Whether a function in it does something; constants, re-exports, bare exceptions and protocols need no test."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = [
                step for step in node.body if not (isinstance(step, ast.Expr) and isinstance(step.value, ast.Constant))
            ]
            if body:
                return True
    return False


@pytest.mark.parametrize("package", ROOMS)
def test_each_source_file_has_its_test_file(package: str) -> None:
    tests = PACKAGES / package / "tests"
    missing = set()
    for path, name in sources(package):
        mirror = tests / Path(name).parent / f"test_{path.name}"
        if has_code(path) and not mirror.exists():
            missing.add(f"{package}/{name}")
    excepted = {name for name in UNMIRRORED if name.startswith(f"{package}/")}
    untested = sorted(missing - excepted)
    assert not untested, f"no test file at the mirrored path of {', '.join(untested)}"
    assert sorted(excepted - missing) == [], "exceptions that are none any more"


def test_only_the_server_ships_the_package_gunicorn() -> None:
    shipped = sorted(path.relative_to(PACKAGES).as_posix() for path in PACKAGES.glob("*/src/gunicorn/__init__.py"))
    assert shipped == ["server/src/gunicorn/__init__.py"]
    shared = [path.as_posix() for path in PACKAGES.glob("*/src/gunicorn/py.typed")]
    assert shared == [str(PACKAGES / "server/src/gunicorn/py.typed")] or shared == []


def test_each_distribution_ships_its_own_folder_only() -> None:
    for package, room in ROOMS.items():
        source = PACKAGES / package / "src"
        files = [path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        assert files
        strays = [path.as_posix() for path in files if not path.is_relative_to(source / room.folder)]
        assert strays == [], package
        assert (source / room.folder / "py.typed").is_file(), f"{package} is typed"
