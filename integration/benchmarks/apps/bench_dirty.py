"""The application of dirty.py: it measures calls to the pool from inside a web worker, where clients live.

It uses only what Gunicorn 27 and this server both offer: `DirtyApp`, `get_dirty_client` and `execute`.
"""

import json
import threading
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qs

from gunicorn.dirty import DirtyApp, get_dirty_client

TRIVIAL = "bench_dirty:Trivial"


class Trivial(DirtyApp):
    """The cheapest action there is."""

    def init(self) -> None:
        pass

    def __call__(self, action: str, *args: Any, **kwargs: Any) -> Any:
        return args[0]

    def close(self) -> None:
        pass


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
    seconds = float(query.get("seconds", "1"))
    if environ["PATH_INFO"] == "/latency":
        result: Any = {"microseconds": calls(seconds)}
    elif environ["PATH_INFO"] == "/threads":
        result = throughput(seconds, int(query["threads"]))
    else:
        result = get_dirty_client().execute(TRIVIAL, "echo", "ready")
    body = json.dumps(result).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def calls(seconds: float) -> list[float]:
    """Call one after the other for some seconds; the microseconds that each took."""
    client = get_dirty_client()
    took = []
    now = time.perf_counter()
    end = now + seconds
    while now < end:
        before = now
        assert client.execute(TRIVIAL, "echo", 1) == 1
        now = time.perf_counter()
        took.append((now - before) * 1e6)
    return took


def throughput(seconds: float, threads: int) -> dict[str, float]:
    """The same on several threads at a time."""
    counts: list[int] = []
    start = threading.Barrier(threads + 1)

    def run() -> None:
        start.wait()
        counts.append(len(calls(seconds)))

    clients = [threading.Thread(target=run) for _ in range(threads)]
    for client in clients:
        client.start()
    start.wait()
    began = time.perf_counter()
    for client in clients:
        client.join()
    if len(counts) != threads:
        raise RuntimeError("a thread failed; the server's log has its traceback")
    return {"calls": sum(counts), "seconds": time.perf_counter() - began}
