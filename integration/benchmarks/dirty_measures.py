"""What dirty.py measures of a pool, and the goals; the measuring itself is done by apps/bench_dirty.py in a web worker.

Each measure takes a running server and seconds, and returns one or more named numbers.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from integration.benchmarks import harness, load
from integration.benchmarks.harness import Peers, Server
from integration.benchmarks.load import Load
from integration.benchmarks.scenarios import simple

THREADS = 8
SLEEP = 0.2
CONNECTIONS = 8
CLIENTS = (1, 4, 16, 64, 256)
WORKERS = (1, 2, 4)
WAIT = 0.005  # seconds that the waiting action of the growth takes

Numbers = dict[str, float]
Measure = Callable[[Server, float], Numbers]


class Goal(NamedTuple):
    """One row of the table.

    :ivar target: ours over theirs; None where it is for information
    """

    name: str
    unit: str
    target: float | None
    at_most: bool = False


#: In the table's order. The numbers that a measure returns are named by these keys.
GOALS = {
    "median": Goal("execute, median", "µs", 1 / 6, at_most=True),
    "p99": Goal("execute, p99", "µs", 1 / 6, at_most=True),
    "arbiter": Goal("CPU of the arbiter per call", "µs", None, at_most=True),
    "all": Goal("CPU of all processes per call", "µs", None, at_most=True),
    "threads": Goal(f"execute, {THREADS} threads", "calls/s", 6),
    "stream": Goal("stream of a generator", "chunks/s", 10),
    "stream_async": Goal("stream of an async generator", "chunks/s", 5),
    "argument": Goal("32 MiB argument", "MiB/s", 15),
    "result": Goal("32 MiB result", "MiB/s", 15),
    "echo": Goal("32 MiB echoed", "MiB/s", None),
    "floats": Goal("100,000 floats echoed", "calls/s", 6),
    "stash": Goal("stash put and get in an action", "operations/s", 4),
    "sleeps": Goal(f"{THREADS} calls of {SLEEP} s at once, 2 workers of 4 threads", "s", 1 / 3.5, at_most=True),
    "wsgi": Goal("WSGI request that makes a call", "requests/s", 5),
}


def pool(name: str, python: str, workers: int, threads: int, *options: str) -> Server:
    """A server of one sync worker, in which the clients run, and a dirty pool."""
    words = [python, "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--log-level", "warning", "--timeout", "600"]
    words += ["--workers", "1", "--dirty-app", "bench_dirty:Work"]
    words += ["--dirty-workers", str(workers), "--dirty-threads", str(threads), *options, "bench_dirty:app"]
    return Server(name, words, os.sched_getaffinity(0))


def both(python: str, peers: Peers, workers: int, threads: int = 1) -> tuple[Server, Server]:
    """Ours, of the environment of that interpreter, and Gunicorn's."""
    ours = pool("ours", python, workers, threads, "--no-control-socket")
    return ours, pool("gunicorn27", peers.python, workers, threads)


def ask(server: Server, name: str, seconds: float, **numbers: float) -> dict[str, float] | list[float]:
    """Have the application measure. Raises RuntimeError, with the server's log, when it fails."""
    query = "&".join(f"{key}={value}" for key, value in {"seconds": seconds, **numbers}.items())
    try:
        answer = server.get(f"/measure/{name}?{query}", seconds + harness.PATIENCE)
    except OSError as problem:
        raise RuntimeError(f"{server.name}: {name}: {problem}\n{server.output()}") from problem
    found: dict[str, float] | list[float] = json.loads(answer)
    return found


def rate(name: str) -> Measure:
    """So many per second."""

    def measure(server: Server, seconds: float) -> Numbers:
        return {name: per_second(server, name, seconds)}

    return measure


def per_second(server: Server, name: str, seconds: float, **numbers: float) -> float:
    found = ask(server, name, seconds, **numbers)
    assert isinstance(found, dict)
    return found["count"] / found["seconds"]


def latency(server: Server, seconds: float) -> Numbers:
    """One client's calls: their times, and the CPU time that they cost."""
    arbiter = server.arbiter()
    before = arbiter.seconds(), server.cpu()
    took = ask(server, "latency", seconds)
    assert isinstance(took, list)
    used = arbiter.seconds() - before[0], server.cpu() - before[1]
    return {
        "median": statistics.median(took),
        "p99": statistics.quantiles(took, n=100)[98],
        "arbiter": used[0] / len(took) * 1e6,
        "all": used[1] / len(took) * 1e6,
    }


def threads(server: Server, seconds: float) -> Numbers:
    return {"threads": per_second(server, "threads", seconds, clients=THREADS)}


def sleeps(server: Server, seconds: float) -> Numbers:
    return {"sleeps": 1 / per_second(server, "sleeps", seconds, clients=THREADS, wait=SLEEP)}


def wsgi(server: Server, seconds: float) -> Numbers:
    """Requests that make a call each, from wrk."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        requests = Path(folder) / "requests"
        (request,) = simple("GET", "/")
        requests.write_bytes(b"%d\n%b" % (len(request), request))
        sample = load.as_fast_as_it_can(server, Load(requests, CONNECTIONS, False), max(1, round(seconds)))
    return {"wsgi": sample.score}


#: What two workers of one thread are measured by, and the goals that each is for.
PAIR: dict[str, Measure] = {
    "median p99 arbiter all": latency,
    "threads": threads,
    **{name: rate(name) for name in ("stream", "stream_async", "argument", "result", "echo", "floats", "stash")},
    "wsgi": wsgi,
}


@dataclass
class Rounds:
    """The numbers of ours and theirs, by goal, one of each per round."""

    ours: dict[str, list[float]]
    theirs: dict[str, list[float]]

    def ratios(self, goal: str) -> list[float]:
        """Ours over theirs, for each two rounds that followed one another."""
        ours, theirs = self.ours[goal], self.theirs[goal]
        found = [one / other for one, other in zip(ours, theirs, strict=True)]
        return found + [one / other for one, other in zip(ours[1:], theirs, strict=False)]

    def ratio(self, goal: str) -> float:
        return statistics.median(self.ratios(goal))

    def reached(self, goal: str) -> bool | None:
        """None where nothing is wanted."""
        _, _, target, at_most = GOALS[goal]
        if target is None:
            return None
        return self.ratio(goal) <= target if at_most else self.ratio(goal) >= target


def in_turn(ours: Server, theirs: Server, measure: Measure, rounds: int, seconds: float, into: Rounds) -> None:
    """Warm both up, then measure A B A B …, `rounds` times each."""
    for server in (ours, theirs):
        measure(server, min(seconds, 0.3))
    for _ in range(rounds):
        for server, side in ((ours, into.ours), (theirs, into.theirs)):
            for name, value in measure(server, seconds).items():
                side.setdefault(name, []).append(value)


class Growth(NamedTuple):
    """Calls per second of so many workers and client threads. :ivar kind: "nothing" or "waits" """

    server: str
    kind: str
    workers: int
    clients: int
    calls: float


def growth(servers: tuple[Server, Server], workers: int, seconds: float) -> Iterator[Growth]:
    for clients in CLIENTS:
        for kind, wait in (("nothing", 0.0), ("waits", WAIT)):
            for server in servers:
                calls = per_second(server, "threads", seconds, clients=clients, wait=wait)
                yield Growth(server.name, kind, workers, clients, calls)


@contextmanager
def timed(name: str) -> Iterator[None]:
    """Say what is measured, and how long it took."""
    began = time.monotonic()
    yield
    harness.say(f"{name}: {time.monotonic() - began:.1f} s")
