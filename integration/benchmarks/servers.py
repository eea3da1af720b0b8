"""The servers that http.py compares: ours, and the others, each as its documentation recommends it for one core."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from integration.benchmarks import harness
from integration.benchmarks.harness import Peers, Server

WSGI, ASGI = "bench_http:wsgi", "bench_http:asgi"


@dataclass(frozen=True)
class Candidate:
    """A server in one configuration, with one worker.

    :ivar family: "wsgi" or "asgi": servers are compared within it
    :ivar command: without an access log
    :ivar logging: what is added to write one to standard output; None when the server cannot
    :ivar target: whether a target is set against it, or it is one of ours; the others are measured for information
    """

    name: str
    family: str
    command: tuple[str, ...]
    logging: tuple[str, ...] | None
    target: bool = True

    def server(self, logging: bool) -> Server:
        words = [*self.command[:-1], *(self.logging or ()), self.command[-1]] if logging else self.command
        return Server(self.name + ("+log" if logging else ""), words, harness.cores()[0])


def ours(python: str) -> list[Candidate]:
    words: tuple[str, ...] = (
        python,
        "-m",
        "gunicorn",
        "--bind",
        "127.0.0.1:{port}",
        "--log-level",
        "warning",
        "--workers",
        "1",
    )
    words += ("--no-control-socket", "--worker-class")
    log = ("--access-logfile", "-")
    return [
        Candidate("sync", "wsgi", (*words, "sync", WSGI), log),
        Candidate("gthread", "wsgi", (*words, "gthread", "--threads", "4", WSGI), log),
        Candidate("gevent", "wsgi", (*words, "gevent", WSGI), log),
        Candidate("asgi", "asgi", (*words, "asgi", "--asgi-lifespan", "off", ASGI), log),
    ]


def others(peers: Peers) -> list[Candidate]:
    """The peers. bjoern is left out where it could not be built."""
    python = peers.python
    gunicorn = (python, "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--log-level", "warning", "--workers", "1")
    gunicorn_log = ("--access-logfile", "-")
    granian: tuple[str, ...] = (
        python,
        "-m",
        "granian",
        "--host",
        "127.0.0.1",
        "--port",
        "{port}",
        "--workers",
        "1",
        "--http",
        "1",
    )
    granian += ("--log-level", "warning", "--runtime-threads", "1")
    granian_log = ("--access-log", "--log-level", "info")
    uvicorn: tuple[str, ...] = (
        python,
        "-m",
        "uvicorn",
        "--host",
        "127.0.0.1",
        "--port",
        "{port}",
        "--log-level",
        "warning",
    )
    uvicorn += ("--no-access-log", "--loop", "uvloop", "--http", "httptools", "--lifespan", "off")
    uvicorn_log = ("--access-log", "--log-level", "info")
    serve = "import bjoern, sys; from bench_http import wsgi; bjoern.run(wsgi, '127.0.0.1', int(sys.argv[1]))"
    found = [
        Candidate(
            "granian-wsgi", "wsgi", (*granian, "--interface", "wsgi", "--blocking-threads", "1", WSGI), granian_log
        ),
        Candidate("bjoern", "wsgi", (python, "-c", serve, "{port}"), None),
        Candidate("gunicorn27-sync", "wsgi", (*gunicorn, "-k", "sync", WSGI), gunicorn_log, False),
        Candidate(
            "gunicorn27-gthread", "wsgi", (*gunicorn, "-k", "gthread", "--threads", "4", WSGI), gunicorn_log, False
        ),
        Candidate("gunicorn27-gevent", "wsgi", (*gunicorn, "-k", "gevent", WSGI), gunicorn_log),
        Candidate("granian-asgi", "asgi", (*granian, "--interface", "asginl", "--loop", "uvloop", ASGI), granian_log),
        Candidate("uvicorn", "asgi", (*uvicorn, ASGI), uvicorn_log),
        Candidate(
            "gunicorn27-asgi", "asgi", (*gunicorn, "-k", "asgi", "--asgi-lifespan", "off", ASGI), gunicorn_log, False
        ),
    ]
    installed = peers.versions()
    return [one for one in found if one.name != "bjoern" or "bjoern" in installed]


def candidates(peers: Peers, python: str) -> Sequence[Candidate]:
    """All there are; ours run with the interpreter *python*."""
    return [*ours(python), *others(peers)]
