"""The dirty protocol from other languages: JavaScript and C against the golden vectors, JavaScript against a live pool.

Skipped, with the reason, where node or a C compiler is missing.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / "integration" / "protocol_clients"
VECTORS = ROOT / "packages" / "dirty-protocol" / "vectors"
LIMITS = {"max_length": 64 * 2**20, "max_items": 2**20, "max_depth": 512, "extensions": True}


def run(*command: str | Path, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def node() -> str:
    found = shutil.which("node")
    if found is None:
        pytest.skip("node is not installed: the JavaScript client is not tested")
    return found


def test_the_javascript_client_is_small_and_passes_all_vectors(node: str) -> None:
    assert len((CLIENTS / "dirty.mjs").read_text().splitlines()) < 250
    done = run(node, CLIENTS / "vectors.mjs", VECTORS)
    count = sum(len(load(path.stem)) for path in VECTORS.glob("*.json"))
    assert done.stdout == f"{count} vectors, 0 failures\n", done.stderr


def load(name: str) -> list[dict[str, Any]]:
    vectors: list[dict[str, Any]] = json.loads((VECTORS / f"{name}.json").read_text())["vectors"]
    return vectors


@pytest.fixture(scope="module")
def c_decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("cc is not installed: the C decoder is not tested")
    binary = tmp_path_factory.mktemp("c") / "decode"
    flags = ["-O1", "-std=c99", "-Wall", "-Wextra", "-Werror"]
    # Memory errors end the program, where the compiler can find them.
    for sanitizers in (["-fsanitize=address,undefined", "-fno-sanitize-recover"], []):
        done = run(compiler, *flags, *sanitizers, "-o", binary, CLIENTS / "decode.c")
        if done.returncode == 0:
            return binary
    raise AssertionError(done.stderr)


def decode_in_c(binary: Path, vectors: list[dict[str, Any]]) -> list[str]:
    cases = []
    for vector in vectors:
        limits = {**LIMITS, **vector.get("limits", {})}
        cases.append(" ".join(str(int(limits[name])) for name in LIMITS) + " " + vector["hex"] + "\n")
    done = run(binary, text="".join(cases))
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def as_dicts(noted: Any) -> Any:
    """The notation with its lists of pairs as a dict makes them: of a key that is there twice the later counts."""
    if isinstance(noted, list):
        return list(map(as_dicts, noted))
    if isinstance(noted, dict):
        ((kind, content),) = noted.items()
        return {kind: {key: as_dicts(item) for key, item in content} if kind == "dict" else as_content(content)}
    return noted


def as_content(content: Any) -> Any:
    return as_dicts(content) if isinstance(content, list) else content


def test_c_decodes_all_values(c_decoder: Path) -> None:
    vectors = load("values") + load("extensions")
    answers = decode_in_c(c_decoder, vectors)
    assert len(answers) == len(vectors)
    for vector, answer in zip(vectors, answers, strict=True):
        assert as_dicts(json.loads(answer)) == as_dicts(vector["value"]), vector["name"]


def test_c_refuses_all_invalid_values_with_kind_and_offset(c_decoder: Path) -> None:
    vectors = load("invalid_values")
    expected = [f"error {vector['error']} {vector['offset']}" for vector in vectors]
    answers = decode_in_c(c_decoder, vectors)
    assert dict(zip((v["name"] for v in vectors), answers, strict=True)) == dict(
        zip((v["name"] for v in vectors), expected, strict=True)
    )


@pytest.fixture
def pool(directory: Path, eventually: Callable[..., Any]) -> Iterator[Path]:
    """The socket of a pool that runs without the server."""
    path = directory / "pool.sock"
    command = [
        sys.executable,
        "-m",
        "gunicorn.dirty",
        "--app",
        "house_calls:Calls",
        "--socket",
        str(path),
        "--threads",
        "2",
    ]
    with (directory / "log").open("w") as log:
        process = subprocess.Popen([*command, "--chdir", str(CLIENTS)], stdout=log, stderr=log, start_new_session=True)
    try:
        eventually(lambda: process.poll() is not None or accepts(path), "the pool listens")
        assert process.poll() is None, (directory / "log").read_text()
        yield path
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(30) == 0, (directory / "log").read_text()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def test_the_javascript_client_calls_and_streams_from_a_live_pool(node: str, pool: Path) -> None:
    done = run(node, CLIENTS / "live.mjs", pool, "house_calls:Calls")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "sum": "42",
        "echo": [["ü", None, True, 0.5, "00ff"]],
        "keyword": "3",
        "chunks": ["0", "1", "2", "3", "4"],
        "after": "2",
        "together": ["2", "4", "6", "8"],
        "error": ["DirtyAppError", True],
        "unknown": "DirtyAppNotFoundError",
    }
