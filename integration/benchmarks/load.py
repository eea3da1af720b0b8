"""Load on a server: as fast as it can with wrk, or at a constant rate with the client in generators/paced.c.

Both run on other cores than the server, and send the requests of a scenario's file. http.py calls it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from integration.benchmarks import harness
from integration.benchmarks.harness import Sample, Server

GENERATORS = harness.HERE / "generators"
UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}
NO_WRK = """wrk is not installed. It makes the load (most other generators are slower than the servers):
    apt-get install wrk        (Debian, Ubuntu)
    dnf install wrk            (Fedora)
or build it from its repository wg/wrk."""


@dataclass(frozen=True)
class Load:
    """What the generators need of a scenario.

    :ivar requests: the file with the requests
    :ivar several: whether there is more than one in it
    """

    requests: Path
    connections: int
    several: bool


class NoGenerator(Exception):
    """A generator is missing; the message says how to get it."""


def need_wrk() -> str:
    """wrk's version. Raises NoGenerator."""
    if not shutil.which("wrk"):
        raise NoGenerator(NO_WRK)
    output = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout
    return output.split("[")[0].strip() or "wrk"


def as_fast_as_it_can(server: Server, load: Load, seconds: int) -> Sample:
    """Requests per second, and CPU time per request. Raises RuntimeError when answers were wrong."""
    script = GENERATORS / ("replay.lua" if load.several else "repeat.lua")
    command = [
        "wrk",
        "-t1",
        f"-c{load.connections}",
        f"-d{seconds}s",
        "-s",
        str(script),
        f"http://127.0.0.1:{server.port}/",
    ]
    before = server.cpu()
    with harness.pinned(harness.cores()[1]):
        result = subprocess.run([*command, "--", str(load.requests)], capture_output=True, text=True, check=False)
    used = server.cpu() - before
    found = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)\b", result.stdout)
    if found is None or not int(found[1]):
        raise RuntimeError(f"{server.name}: {result.stdout}{result.stderr}\n{server.output()}")
    requests, took = int(found[1]), float(found[2]) * UNITS[found[3]]
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", result.stdout)
    if wrong and int(wrong[1]) > requests / 100:
        raise RuntimeError(f"{server.name}: {result.stdout}\n{server.output()}")
    return Sample(requests / took, used / requests * 1e6)


def paced_client(folder: Path) -> Path:
    """The compiled client, made when its source has changed. Raises NoGenerator when there is no C compiler."""
    source = GENERATORS / "paced.c"
    program = folder / f"paced-{hashlib.sha256(source.read_bytes()).hexdigest()[:12]}"
    if not program.exists():
        compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if not compiler:
            raise NoGenerator(
                "latencies are measured by generators/paced.c, which needs a C compiler: apt-get install gcc"
            )
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = program.with_suffix(f".{os.getpid()}")
        subprocess.run([compiler, "-O2", "-o", str(unfinished), str(source)], check=True)
        unfinished.replace(program)
    return program


def at_rate(program: Path, port: int, load: Load, rate: float, seconds: float) -> dict[str, float]:
    """Latencies in microseconds (p50, p90, p99, p999, max) at `rate` requests/s, from when each was due.

    Also `requests` (answered), `unanswered` and `errors`. Raises subprocess.CalledProcessError.
    """
    words = [str(program), "127.0.0.1", str(port), str(load.connections), f"{rate:.3f}", f"{seconds:.3f}"]
    with harness.pinned(harness.cores()[1]):
        output = subprocess.run([*words, str(load.requests)], capture_output=True, text=True, check=True).stdout
    result: dict[str, float] = json.loads(output)
    return result
