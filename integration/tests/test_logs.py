"""Logs of real servers: no line is lost or torn on any worker, whatever is rotated, reloaded or stopped; metrics."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SITE = """
def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode("latin-1")]


async def asgi(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("only HTTP")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": scope["raw_path"]})
"""
WORKERS = {
    "sync": ("-k", "sync", "site_:wsgi"),
    "gthread": ("-k", "gthread", "--threads", "3", "site_:wsgi"),
    "gevent": ("-k", "gevent", "site_:wsgi"),
    "asgi": ("-k", "asgi", "site_:asgi"),
}

Serve = Callable[..., Any]


@pytest.fixture
def site(directory: Path) -> Path:
    (directory / "site_.py").write_text(SITE)
    return directory


@pytest.mark.parametrize("worker", WORKERS)
def test_every_answer_has_its_line(
    site: Path, serve: Serve, load: Any, eventually: Callable[..., Any], worker: str
) -> None:
    """Two workers write into one file that is moved away under load; at the end all lines are there, once."""
    log_format = "%(m)s %(U)s %(s)s %(b)s"
    server = serve("-w", "2", "--access-logfile", "access", "--access-logformat", log_format, *WORKERS[worker])
    server.ready("/ready")
    server.wait_for_children(2)
    names = ["access"]
    with load(server.address, "/load", clients=4, keep_alive=True) as clients:
        for turn in range(3):
            clients.wait_for(50)
            names.append(f"access.{turn}")
            (site / "access").rename(site / names[-1])
            server.send(signal.SIGUSR1)
            eventually((site / "access").exists, "a new file")
        clients.wait_for(50)
    assert clients.bad == []
    server.send(signal.SIGTERM)
    assert server.wait() == 0
    lines = Counter(line for name in names for line in (site / name).read_text().splitlines())
    assert lines.pop("GET /ready 200 6") >= 1
    assert lines == {"GET /load 200 5": len(clients.good)}


@pytest.mark.parametrize("worker", WORKERS)
def test_a_reload_changes_the_format(site: Path, serve: Serve, eventually: Callable[..., Any], worker: str) -> None:
    conf = site / "conf.py"
    conf.write_text('accesslog = "old"\naccess_log_format = "%(m)s"\n')
    server = serve("-c", str(conf), *WORKERS[worker])
    server.ready("/a")
    before = server.children()
    conf.write_text('accesslog = "new"\nerrorlog = "errors"\nlog_json = True\nloglevel = "debug"\n')
    server.send(signal.SIGHUP)
    server.wait_for_children(len(before), without=before)
    eventually(lambda: server.ask("/b?c=d").status == 200, "an answer")
    server.send(signal.SIGTERM)
    assert server.wait() == 0
    assert set((site / "old").read_text().splitlines()) == {"GET"}
    lines = [json.loads(line) for line in (site / "new").read_text().splitlines()]
    assert lines
    for line in lines:
        assert (line["method"], line["path"], line["query"], line["status"], line["bytes"]) == (
            "GET",
            "/b",
            "c=d",
            200,
            2,
        )
        assert line["remote_address"] == "127.0.0.1"
        assert line["pid"] not in before
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    errors = [json.loads(line) for line in (site / "errors").read_text().splitlines()]
    assert {"debug", "info"} <= {line["level"] for line in errors}


def test_standard_output_that_is_a_pipe_gets_whole_lines(site: Path, serve: Serve, load: Any) -> None:
    """As under a container's or a service manager's log collector. The server's output is a file here, so a fifo."""

    os.mkfifo(site / "fifo")
    received: list[bytes] = []

    def read() -> None:
        with (site / "fifo").open("rb") as fifo:
            received.extend(fifo)

    reader = threading.Thread(target=read)
    reader.start()
    server = serve("-w", "2", "--access-logfile", "fifo", "--access-logformat", "%(U)s end", *WORKERS["sync"])
    server.ready("/x")
    with load(server.address, "/load", clients=4, keep_alive=True) as clients:
        clients.wait_for(200)
    server.send(signal.SIGTERM)
    assert server.wait() == 0
    reader.join(30)
    lines = Counter(received)
    assert lines.pop(b"/x end\n") >= 1
    assert lines == {b"/load end\n": len(clients.good)}


@pytest.mark.parametrize("worker", WORKERS)
def test_metrics(site: Path, serve: Serve, worker: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as statsd:
        statsd.bind(("127.0.0.1", 0))
        statsd.settimeout(30)
        address = f"127.0.0.1:{statsd.getsockname()[1]}"
        tags = ("--statsd-prefix", "shop", "--dogstatsd-tags", "env:test")
        server = serve("--statsd-host", address, *tags, "--enable-backlog-metric", *WORKERS[worker])
        server.ready("/ready")
        for _ in range(10):
            server.ask("/x")
        wanted = {
            "shop.gunicorn.workers:1|g|#env:test": 1,
            "shop.gunicorn.backlog:0|h|#env:test": 1,
            "shop.gunicorn.requests:1|c|@1.0|#env:test": 10,
            "shop.gunicorn.request.status.200:1|c|@1.0|#env:test": 10,
        }
        found: Counter[str] = Counter()
        while any(found[line] < count for line, count in wanted.items()):
            found.update(statsd.recv(4096).decode().split("\n"))
        assert any(re.fullmatch(r"shop\.gunicorn\.request\.duration:[\d.e-]+\|ms\|#env:test", line) for line in found)
