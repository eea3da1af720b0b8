"""Builds the five wheels, and the compiled ones, and proves that each works when it is installed alone.

Every wheel goes into a fresh environment of its own with no package index in reach, so that it can pull in nothing but
the distributions of ours that it pins. There its package's tests run. The server's environment must also serve, and
say what to install when it is asked for the dirty pool.

    python scripts/check_wheels.py [DISTRIBUTION ...]     all of them by default

The compiled ones need a C compiler. Without, they are left out, and said so, but not in CI.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TEST_TOOLS = ("pytest>=8", "pytest-asyncio>=0.24", "pytest-xdist>=3.6", "hypothesis>=6.100", "trustme>=1.1")
PARALLEL = ("-n", "4", "--dist", "loadfile")  # as `hatch run test` does it

# folder -> (wheel's name, package)
PACKAGES = {
    "dirty-protocol": ("gunicorn_dirty_protocol", "gunicorn_dirty_protocol"),
    "dirty": ("gunicorn_dirty", "gunicorn.dirty"),
    "control": ("gunicorn_control", "gunicorn.control"),
    "ctl-cli": ("gunicornc", "gunicornc"),
    "server": ("gunicorn_server", "gunicorn"),
}
# What its tests need not repeat is left out: they are about modules that are not compiled.
COMPILED = {
    "server-compiled": ("server", "tests/http", "tests/wsgi", "tests/asgi", "tests/drivers", "tests/test_health.py"),
    "dirty-compiled": (
        "dirty",
        *(f"tests/test_{name}.py" for name in ("caller", "calls", "client", "dispatch", "link", "loop", "outbox")),
        *(f"tests/test_{name}.py" for name in ("scheduler", "slot", "statistics", "stash", "tasks", "wire")),
    ),
}


def run(*command: str | Path, cwd: Path | None = None, **variables: str) -> None:
    print("+", *(f"{name}={value}" for name, value in variables.items()), *command, flush=True)
    subprocess.run([str(part) for part in command], check=True, cwd=cwd, env={**environment(), **variables})


def environment() -> dict[str, str]:
    """Ours, without what could let the checkout or another environment leak in."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


def build(target: Path, *folders: str, **variables: str) -> None:
    command = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", target)
    for folder in folders:
        run(*command, ROOT / "packages" / folder, cwd=None, **variables)


def check_compiled(name: str, place: Path) -> None:
    """The wheel with extensions has them, and the tests of what runs for every request or call pass on it."""
    if shutil.which("cc") is None and shutil.which("gcc") is None:
        if os.environ.get("CI"):
            sys.exit("no C compiler for the compiled wheels")
        print(f"no C compiler: {name} is not checked", flush=True)
        return
    folder, *tests = COMPILED[name]
    wheels = place / f"{name}-dist"
    build(wheels, folder, HATCH_BUILD_HOOK_ENABLE_CUSTOM="1")
    (wheel,) = wheels.glob("*.whl")
    if wheel.name.endswith("-none-any.whl"):
        sys.exit(f"{wheel.name} is not compiled")
    if folder == "dirty":
        build(wheels, "dirty-protocol")  # which it needs
    check(folder, wheels, place / name, *tests)


def check(folder: str, wheels: Path, place: Path, *selected: str) -> None:
    distribution, package = PACKAGES[folder]
    home = place / folder
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    (wheel,) = wheels.glob(f"{distribution}-*.whl")
    run(python, "-m", "pip", "install", "--quiet", "--no-index", "--find-links", wheels, wheel)
    origin = subprocess.run(
        [python, "-c", f"import {package} as p; print(p.__path__[0])"],
        check=True, capture_output=True, text=True, env=environment(), cwd=place,
    ).stdout.strip()  # fmt: skip
    if not Path(origin).is_relative_to(home.resolve()):
        sys.exit(f"{package} was imported from {origin}, not from the wheel in {home}")
    run(python, "-m", "pip", "install", "--quiet", *TEST_TOOLS)
    # Outside the checkout, so that nothing but the wheel can be imported.
    tree = place / f"{folder}-tree"
    tests = tree / "packages" / folder
    shutil.copytree(ROOT / "packages" / folder, tests, ignore=shutil.ignore_patterns("src", "__pycache__", ".*"))
    (tree / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "protocol.md", tree / "docs")  # whose tables the tests hold the code to
    options = ("-q", "-c", ROOT / "pyproject.toml", "--rootdir", tests, *PARALLEL)
    run(python, "-m", "pytest", *options, *(selected or ("tests",)), cwd=tests)
    if folder == "server":
        check_server(home, place)


def check_server(home: Path, place: Path) -> None:
    """The server without dirty and control serves, and names the extra that --dirty-app needs."""
    (place / "hello.py").write_text(
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [('Content-Type', 'text/plain')])\n"
        "    return [b'hello']\n"
    )
    gunicorn = home / "bin" / "gunicorn"
    refused = subprocess.run(
        [gunicorn, "--dirty-app", "m:A", "--dirty-workers", "1", "hello:app"],
        check=False, capture_output=True, text=True, env=environment(), cwd=place, timeout=30,
    )  # fmt: skip
    if refused.returncode == 0 or "gunicorn-server[dirty]" not in refused.stderr:
        sys.exit(f"--dirty-app without gunicorn-dirty should name the extra, but said: {refused.stderr}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen([gunicorn, "-b", f"127.0.0.1:{port}", "hello:app"], env=environment(), cwd=place)
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                    assert answer.read() == b"hello"
                    break
            except OSError:
                if time.monotonic() > deadline or server.poll() is not None:
                    sys.exit("the server alone does not serve")
                time.sleep(0.05)
    finally:
        server.terminate()
        server.wait(20)
    print("the server alone serves, and names the missing extra", flush=True)


def main(folders: list[str]) -> None:
    everything = (*PACKAGES, *COMPILED)
    unknown = set(folders) - set(everything)
    if unknown:
        sys.exit(f"no such package: {', '.join(sorted(unknown))}; there are {', '.join(everything)}")
    with tempfile.TemporaryDirectory(prefix="wheels-") as scratch:
        place = Path(scratch).resolve()
        wheels = place / "dist"
        build(wheels, *PACKAGES)
        for folder in folders or everything:
            if folder in COMPILED:
                check_compiled(folder, place)
            else:
                check(folder, wheels, place)
    print("every wheel works alone")


if __name__ == "__main__":
    main(sys.argv[1:])
