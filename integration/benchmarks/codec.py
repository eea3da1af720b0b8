"""The dirty protocol's codec against Gunicorn 27's and msgpack's C extension: encode and decode, best of short runs.

    python integration/benchmarks/codec.py            # makes (and keeps) its own environment in the cache directory
    python integration/benchmarks/codec.py --json

Gunicorn and msgpack come from the registry into an environment of their own, where Gunicorn is a black box: only its
public ``gunicorn.dirty.tlv.TLVEncoder.encode`` and ``.decode`` are called. All run in one process, in turns of a few
milliseconds each, so that a busy machine is busy for all of them alike.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PEERS = ("gunicorn>=27,<28", "msgpack>=1.1", "numpy")
INSIDE = "GUNICORN_CODEC_BENCHMARK"
TURN = 0.003  # seconds


def cases() -> dict[str, Any]:
    numbers = random.Random(1)
    request = {
        "app_path": "shop.models:Ranker",
        "action": "rank",
        "args": ["shoes", 20, 0.5, True],
        "kwargs": {"user": "u-1234", "filters": {"colour": "red", "sizes": [41, 42, 43]}, "page": None},
    }
    records = [
        {
            "id": index,
            "name": f"item {index}",
            "price": index * 1.25,
            "active": index % 3 == 0,
            "tag": None if index % 2 else "new",
            "owner": f"user{index % 17}",
        }
        for index in range(500)
    ]
    return {
        "request": request,
        "10,000 floats": [numbers.random() for _ in range(10_000)],
        "500 records": records,
        "4 MiB bytes": numbers.randbytes(4 * 1024 * 1024),
    }


def race(seconds: float, **runners: Callable[[], Any]) -> dict[str, float]:
    """The best time of each, in microseconds, taking turns for this long."""
    turns = {}
    for name, run in runners.items():
        count = 1
        while timed(run, count) * count < TURN:
            count *= 2
        turns[name] = count
    best = dict.fromkeys(runners, float("inf"))
    end = time.perf_counter() + seconds
    gc.disable()
    while time.perf_counter() < end:
        for name, run in runners.items():
            best[name] = min(best[name], timed(run, turns[name]))
    gc.enable()
    return {name: value * 1e6 for name, value in best.items()}


def timed(run: Callable[[], Any], count: int) -> float:
    rounds = range(count)
    start = time.perf_counter()
    for _ in rounds:
        run()
    return (time.perf_counter() - start) / count


def measure(seconds: float) -> dict[str, dict[str, float]]:
    import gunicorn_dirty_protocol as ours  # only here, as it runs in the environment made for it
    import msgpack  # type: ignore[import-not-found]
    from gunicorn.dirty.tlv import TLVEncoder

    results = {}
    for name, value in cases().items():
        data, packed = ours.encode(value), msgpack.packb(value)
        assert TLVEncoder.encode(value) == data
        assert ours.decode(data) == value
        results[f"encode {name}"] = race(
            seconds,
            ours=partial(ours.encode, value),
            gunicorn=partial(TLVEncoder.encode, value),
            msgpack=partial(msgpack.packb, value),
        )
        results[f"decode {name}"] = race(
            seconds,
            ours=partial(ours.decode, data),
            gunicorn=partial(TLVEncoder.decode, data),
            msgpack=partial(msgpack.unpackb, packed),
        )
    return results | copies(seconds)


def copies(seconds: float) -> dict[str, dict[str, float]]:
    """Bytes and arrays of 4 MiB against one copy of that much memory."""
    import gunicorn_dirty_protocol as ours
    import numpy

    blob = bytes(random.Random(2).randbytes(4 * 1024 * 1024))
    array = numpy.frombuffer(blob, "float32").reshape(1024, 1024)
    results = {}
    for name, value in (("bytes", blob), ("array", array)):
        data = ours.encode(value)
        results[f"copy {name}"] = race(
            seconds,
            memory_copy=partial(bytearray, blob),
            encode=partial(ours.encode, value),
            encode_chunks=partial(ours.encode_chunks, value),
            decode=partial(ours.decode, data),
            decode_views=partial(ours.decode, data, views_from=1),
        )
    return results


def report(results: dict[str, dict[str, float]]) -> None:
    for name, best in results.items():
        if name.startswith("copy"):
            copy = best.pop("memory_copy")
            ratios = "  ".join(f"{what} {value / copy:.2f}" for what, value in best.items())
            print(f"{name + ' of 4 MiB':24} one copy {copy:7.1f} us; in copies: {ratios}")
        else:
            mine = best["ours"]
            print(
                f"{name:24} {mine:9.2f} us  {best['gunicorn'] / mine:5.2f} times gunicorn's  "
                f"msgpack's C {mine / best['msgpack']:5.1f} times ours"
            )


def environment() -> Path:
    """The Python of the environment with the peers, made on the first run."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = cache / f"gunicorn-codec-benchmark-{sys.version_info.major}.{sys.version_info.minor}"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PEERS], check=True)
        (folder / "complete").touch()
    return python


def main() -> None:
    parser = argparse.ArgumentParser(description="Benchmark of the dirty protocol's codec.")
    parser.add_argument("--json", action="store_true", help="print microseconds as JSON")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each figure")
    options = parser.parse_args()
    if INSIDE not in os.environ:
        # The checkout's package on the path, and nothing else of the checkout: its `gunicorn` is not the peer's.
        source = ROOT / "packages" / "dirty-protocol" / "src"
        variables = {**os.environ, INSIDE: "1", "PYTHONPATH": str(source)}
        sys.exit(subprocess.run([environment(), __file__, *sys.argv[1:]], env=variables, check=False).returncode)
    results = measure(options.seconds)
    if options.json:
        print(json.dumps(results, indent=2))
    else:
        report(results)


if __name__ == "__main__":
    main()
