"""Calls to the dirty pool, ours and that of Gunicorn 27: latency of `execute` of a trivial action, and calls per second
of eight threads on two dirty workers.

`hatch run bench:dirty`, or `python integration/benchmarks/dirty.py` where the packages are installed; see README.md.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from functools import partial
from pathlib import Path

if not __package__:  # run as a script: its folder would hide the standard library's http from everything
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from integration.benchmarks import harness
from integration.benchmarks.harness import Comparison, Peers, Sample, Server

THREADS = 8


def pool(name: str, python: str, *options: str) -> Server:
    """A server of one sync worker, in which the clients run, and a pool of two dirty workers."""
    words = [python, "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--log-level", "warning", "--timeout", "600"]
    words += ["--workers", "1", "--dirty-app", "bench_dirty:Trivial", "--dirty-workers", "2"]
    return Server(name, [*words, *options, "bench_dirty:app"], os.sched_getaffinity(0))


def latency(server: Server, seconds: float) -> Sample:
    """The median of one client's calls, in microseconds."""
    before = server.cpu()
    took = json.loads(server.get(f"/latency?seconds={seconds}", seconds + harness.PATIENCE))["microseconds"]
    return Sample(statistics.median(took), (server.cpu() - before) / len(took) * 1e6)


def throughput(server: Server, seconds: float) -> Sample:
    """Calls per second of several threads."""
    before = server.cpu()
    path = f"/threads?threads={THREADS}&seconds={seconds}"
    result = json.loads(server.get(path, seconds + harness.PATIENCE))
    return Sample(result["calls"] / result["seconds"], (server.cpu() - before) / result["calls"] * 1e6)


def main() -> int:
    options = harness.parser(__doc__ or "", rounds=5, seconds=3.0).parse_args()
    peers = Peers(options.peers)
    peers.install()
    plan = [
        ("execute, median", "µs", latency, 0.2, True),
        (f"execute, {THREADS} threads", "calls/s", throughput, 5.0, False),
    ]
    done: list[Comparison] = []
    first, second = pool("ours", sys.executable, "--no-control-socket"), pool("gunicorn27", peers.python)
    with harness.running(first, second):
        for name, unit, measure, target, at_most in plan:
            if options.only in name:
                done.append(
                    harness.compare(
                        first,
                        second,
                        partial(measure, seconds=options.seconds),
                        options.rounds,
                        name=name,
                        unit=unit,
                        target=target,
                        at_most=at_most,
                    )
                )
    return harness.report(done, peers, options)


if __name__ == "__main__":
    sys.exit(main())
