"""Requests per second of one worker on one core: 13-byte reply, keep-alive, 32 connections, access log off.

`hatch run bench:http`, or `python integration/benchmarks/http.py` where the packages are installed; see README.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

if not __package__:  # run as a script: its folder would hide the standard library's http from everything
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from integration.benchmarks import harness
from integration.benchmarks.harness import Comparison, Peers, Sample, Server

CONNECTIONS = 32
WSGI, ASGI = "bench_hello:wsgi", "bench_hello:asgi"


def ours(name: str, *options: str) -> Server:
    """Our server with one worker."""
    words = [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--log-level", "warning"]
    return Server(name, [*words, "--no-control-socket", "--workers", "1", *options], harness.cores()[0])


def peers_servers(peers: Peers) -> dict[str, Server]:
    """The others, each as its documentation recommends it for one core."""
    python = peers.python
    core = harness.cores()[0]
    gunicorn = [python, "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--log-level", "warning", "--workers", "1"]
    granian = [python, "-m", "granian", "--host", "127.0.0.1", "--port", "{port}", "--workers", "1", "--http", "1"]
    granian += ["--log-level", "warning", "--runtime-threads", "1"]
    uvicorn = [python, "-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--log-level", "warning"]
    uvicorn += ["--no-access-log", "--loop", "uvloop", "--http", "httptools", "--lifespan", "off"]
    serve = "import bjoern, sys; from bench_hello import wsgi; bjoern.run(wsgi, '127.0.0.1', int(sys.argv[1]))"
    one_thread = ["--blocking-threads", "1"]
    servers = [
        Server("granian-wsgi", [*granian, "--interface", "wsgi", *one_thread, WSGI], core),
        Server("granian-asgi", [*granian, "--interface", "asginl", "--loop", "uvloop", ASGI], core),
        Server("gunicorn27-sync", [*gunicorn, "--worker-class", "sync", WSGI], core),
        Server("gunicorn27-gthread", [*gunicorn, "--worker-class", "gthread", "--threads", "4", WSGI], core),
        Server("uvicorn", [*uvicorn, ASGI], core),
        Server("bjoern", [python, "-c", serve, "{port}"], core),
    ]
    return {server.name: server for server in servers}


def measure(server: Server, seconds: float) -> Sample:
    """One round. Raises RuntimeError when answers were wrong."""
    command = [
        sys.executable,
        str(harness.HERE / "load.py"),
        "127.0.0.1",
        str(server.port),
        str(CONNECTIONS),
        str(seconds),
    ]
    before = server.cpu()
    with harness.pinned(harness.cores()[1]):
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    result = json.loads(output)
    used = server.cpu() - before
    if result["errors"] > result["requests"] / 100:
        raise RuntimeError(f"{server.name}: {result['errors']} bad answers\n{server.output()}")
    return Sample(result["requests"] / result["seconds"], used / result["requests"] * 1e6)


def main() -> int:
    options = harness.parser(__doc__ or "", rounds=5, seconds=3.0).parse_args()
    peers = Peers(options.peers)
    peers.install()
    others = peers_servers(peers)
    if "bjoern" not in peers.versions():
        del others["bjoern"]

    sync = ours("sync", "--worker-class", "sync", WSGI)
    gthread = ours("gthread", "--worker-class", "gthread", "--threads", "4", WSGI)
    asgi = ours("asgi", "--worker-class", "asgi", "--asgi-lifespan", "off", ASGI)
    plan = [
        (sync, "granian-wsgi", 1.0),
        (sync, "gunicorn27-sync", 6.0),
        (sync, "bjoern", 0.0),
        (gthread, "granian-wsgi", 1.0),
        (gthread, "gunicorn27-gthread", 6.0),
        (asgi, "uvicorn", 1.5),
        (asgi, "granian-asgi", 0.0),
    ]
    done: list[Comparison] = []
    for server, name, target in plan:
        if name not in others or options.only not in f"{server.name} {name}":
            continue
        with harness.running(server, others[name]):
            done.append(
                harness.compare(
                    server,
                    others[name],
                    partial(measure, seconds=options.seconds),
                    options.rounds,
                    name="13 bytes",
                    unit="req/s",
                    target=target,
                )
            )
    return harness.report(done, peers, options)


if __name__ == "__main__":
    sys.exit(main())
