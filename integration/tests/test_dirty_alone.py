"""The pool without our server: `python -m gunicorn.dirty` beside another ASGI server, and beside a plain script."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest

WORK = """
import asyncio
import os
import time

from gunicorn.dirty import DirtyApp, stash


class Work(DirtyApp):
    def add(self, one, other):
        return [one + other, os.getpid()]

    async def count(self, to):
        for number in range(to):
            yield number
            await asyncio.sleep(0)

    def wait_for(self, path):
        while not os.path.exists(path):
            time.sleep(0.01)
        return path
"""
WEB = """
import json
import os

from gunicorn.dirty import get_dirty_client_async, overload_asgi
from gunicorn.dirty.stash import AsyncStash

WORK = "alone_work:Work"


async def web(scope, receive, send):
    if scope["type"] != "http":
        return
    client = (await get_dirty_client_async()).using(idempotent=True)
    if scope["path"] == "/add":
        result = await client.execute_async(WORK, "add", 40, 2)
    elif scope["path"] == "/wait":
        result = await client.using(idempotent=False).execute_async(WORK, "wait_for", os.environ["GO"])
    else:
        items = [item async for item in client.stream_async(WORK, "count", 5)]
        result = [items, await AsyncStash().incr("visits", "n")]
    body = json.dumps(result).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


app = overload_asgi(web, retry_after=7)
"""
SCRIPT = """
from gunicorn.dirty import get_dirty_client, stash

client = get_dirty_client()
print(client.execute("alone_work:Work", "add", 1, 2)[0], list(client.stream("alone_work:Work", "count", 3)))
print(stash.incr("visits", "n"), "asyncio" in __import__("sys").modules)
"""


class Alone:
    """A pool run alone in a folder of its own, and the programs that use it; all of them are gone at the end.

    :ivar directory: holds what is run, and the socket `s`
    """

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        for name, text in {"alone_work": WORK, "alone_web": WEB, "alone_script": SCRIPT}.items():
            (directory / f"{name}.py").write_text(text)
        self.socket = str(directory / "s")
        self.env = {**os.environ, "PYTHONWARNINGS": "error", "GO": str(directory / "go")}
        self.pool = self.start("pool", "-m", "gunicorn.dirty", "--app", "alone_work:Work", "--socket", "s", *options)
        self.env["GUNICORN_DIRTY_SOCKET"] = self.socket

    def start(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        with (self.directory / f"{name}.log").open("wb") as log:
            return subprocess.Popen([sys.executable, *words], cwd=self.directory, env=self.env, stdout=log, stderr=log)

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text()


@pytest.fixture
def alone() -> Iterator[Callable[..., Alone]]:
    with ExitStack() as ends:

        def start(*options: str) -> Alone:
            made = Alone(Path(tempfile.mkdtemp(prefix="ga-")), *options)
            ends.callback(shutil.rmtree, made.directory)
            ends.callback(end, made.pool)
            return made

        yield start


def end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait(30)


def ask(port: int, path: str) -> tuple[int, str | None, Any]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        return response.status, response.getheader("Retry-After"), json.loads(body) if response.status == 200 else body
    finally:
        connection.close()


def try_to_ask(port: int, path: str) -> Any:
    try:
        status, _, value = ask(port, path)
    except (OSError, HTTPException):
        return None
    return value if status == 200 else None


def test_under_uvicorn(alone: Callable[..., Alone], eventually: Callable[..., Any]) -> None:
    pytest.importorskip("uvicorn")
    made = alone("--workers", "1", "--queue-size", "1")
    words = ("-m", "uvicorn", "--port", "0", "--no-use-colors", "--lifespan", "off", "alone_web:app")
    server = made.start("web", *words)
    try:

        def listening() -> int:
            assert server.poll() is None, made.log("web")
            _, found, rest = made.log("web").partition("Uvicorn running on http://127.0.0.1:")
            return int(rest.split()[0]) if found else 0

        port = eventually(listening, "uvicorn listens")
        total, worker = eventually(lambda: try_to_ask(port, "/add"), "an answer")
        assert total == 42
        assert [ask(port, "/stream")[2] for _ in range(2)] == [[[0, 1, 2, 3, 4], 1], [[0, 1, 2, 3, 4], 2]]

        # One runs, one waits, and the third is told to come back later.
        held = [HTTPConnection("127.0.0.1", port, timeout=30) for _ in range(2)]
        for connection in held:
            connection.request("GET", "/wait")
        try:
            eventually(lambda: ask(port, "/wait")[:2] == (503, "7"), "the queue is full")
        finally:
            (made.directory / "go").touch()
            answers = [connection.getresponse().read() for connection in held]
            for connection in held:
                connection.close()
        assert answers == [json.dumps(str(made.directory / "go")).encode()] * 2

        # A worker that dies, and a pool that is started anew on the same path: the web server goes on.
        os.kill(worker, signal.SIGKILL)
        assert eventually(lambda: try_to_ask(port, "/add"), "the next worker")[1] != worker
        made.pool.send_signal(signal.SIGTERM)
        assert made.pool.wait(30) == 0
        assert not os.path.exists(made.socket)
        assert ask(port, "/add")[0] == 500
        again = made.start("again", "-m", "gunicorn.dirty", "--app", "alone_work:Work", "--socket", "s")
        try:
            assert eventually(lambda: try_to_ask(port, "/add"), "the next pool")[0] == 42
        finally:
            again.send_signal(signal.SIGTERM)
            assert again.wait(30) == 0
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def test_under_a_plain_script(alone: Callable[..., Alone], eventually: Callable[..., Any]) -> None:
    made = alone("--workers", "2")
    eventually(lambda: os.path.exists(made.socket), "the pool listens")
    run = [sys.executable, "alone_script.py"]
    for number in (1, 2):
        done = subprocess.run(run, cwd=made.directory, env=made.env, capture_output=True, text=True, check=False)
        assert (done.stderr, done.returncode) == ("", 0)
        assert done.stdout.splitlines() == ["3 [0, 1, 2]", f"{number} False"]
    made.pool.send_signal(signal.SIGTERM)
    assert made.pool.wait(30) == 0
    assert "Traceback" not in made.log("pool")
    done = subprocess.run(run, cwd=made.directory, env=made.env, capture_output=True, text=True, check=False)
    assert "no dirty pool answers at" in done.stderr
