"""The application of dirty.py: it measures calls to the pool from inside a web worker, where clients live.

It uses only what Gunicorn 27 and this server both offer: `DirtyApp`, `get_dirty_client`, `execute`, `stream` and the
stash. `/measure/NAME?seconds=…` runs one of MEASURES and returns what it says as JSON.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

from gunicorn.dirty import DirtyApp, get_dirty_client

WORK = "bench_dirty:Work"
MIB = 1024 * 1024
LARGE = 32 * MIB
FLOATS = 100_000
CHUNKS = 5000  # of a stream
TABLE = "bench"


class Work(DirtyApp):
    """Actions that cost nothing themselves."""

    stashes = [TABLE]

    def init(self) -> None:
        self.large = large()

    def __call__(self, action: str, *args: Any, **kwargs: Any) -> Any:
        return getattr(self, action)(*args, **kwargs)

    def echo(self, value: Any) -> Any:
        return value

    def measure(self, value: bytes) -> int:
        return len(value)

    def fetch(self) -> bytes:
        return self.large

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def count(self, number: int) -> Any:
        yield from range(number)

    async def count_async(self, number: int) -> Any:
        for item in range(number):
            yield item

    def stash(self, seconds: float) -> Any:
        """Put and get, one after the other, for some seconds; how many operations, in how many seconds."""
        from gunicorn.dirty import stash

        operations = 0
        start = time.perf_counter()
        end = start + seconds
        while time.perf_counter() < end:
            for number in range(20):
                stash.put(TABLE, f"key{number}", number)
                assert stash.get(TABLE, f"key{number}") == number
                operations += 2
        return [operations, time.perf_counter() - start]

    def close(self) -> None:
        pass


def large() -> bytes:
    """Bytes that lie in memory of their own: fresh zeros would all be one page, which is read from the cache."""
    return os.urandom(MIB) * (LARGE // MIB)


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    query = {name: float(values[0]) for name, values in parse_qs(environ["QUERY_STRING"]).items()}
    path = environ["PATH_INFO"]
    if path.startswith("/measure/"):
        result = MEASURES[path.removeprefix("/measure/")](**query)
    else:
        result = get_dirty_client().execute(WORK, "echo", "ready")
    body = json.dumps(result).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


# Each takes `seconds` and returns how many calls (or chunks, or bytes) there were and in how many seconds.


def repeat(call: Callable[[], Any], seconds: float) -> list[float]:
    """Call again and again for some seconds; the microseconds that each call took."""
    took = []
    now = time.perf_counter()
    end = now + seconds
    while now < end:
        before = now
        call()
        now = time.perf_counter()
        took.append((now - before) * 1e6)
    return took


def latency(seconds: float) -> Any:
    """The microseconds of each call of one client."""
    client = get_dirty_client()
    client.execute(WORK, "echo", 1)
    return repeat(lambda: client.execute(WORK, "echo", 1), seconds)


def threads(seconds: float, clients: float, wait: float = 0) -> Any:
    """Calls of several threads at a time, of an action that does nothing, or waits for some seconds."""
    counts: list[int] = []
    start = threading.Barrier(int(clients) + 1)

    def run() -> None:
        client = get_dirty_client()
        words = ("sleep", wait) if wait else ("echo", 1)

        def call() -> None:
            client.execute(WORK, *words)

        call()
        start.wait()
        counts.append(len(repeat(call, seconds)))

    threads = [threading.Thread(target=run) for _ in range(int(clients))]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    if len(counts) != clients:
        raise RuntimeError("a thread failed; the server's log has its traceback")
    return {"count": sum(counts), "seconds": time.perf_counter() - began}


def stream(action: str) -> Callable[[float], Any]:
    def measure(seconds: float) -> Any:
        def call() -> None:
            assert sum(1 for _ in get_dirty_client().stream(WORK, action, CHUNKS)) == CHUNKS

        return total(repeat(call, seconds), CHUNKS)

    return measure


def argument(seconds: float) -> Any:
    data = large()

    def call() -> None:
        assert get_dirty_client().execute(WORK, "measure", data) == LARGE

    call()
    return total(repeat(call, seconds), LARGE / MIB)


def result(seconds: float) -> Any:
    def call() -> None:
        assert len(get_dirty_client().execute(WORK, "fetch")) == LARGE

    call()
    return total(repeat(call, seconds), LARGE / MIB)


def echo(seconds: float) -> Any:
    data = large()

    def call() -> None:
        assert len(get_dirty_client().execute(WORK, "echo", data)) == LARGE

    call()
    return total(repeat(call, seconds), LARGE / MIB)


def floats(seconds: float) -> Any:
    data = [number / 7 for number in range(FLOATS)]

    def call() -> None:
        assert len(get_dirty_client().execute(WORK, "echo", data)) == FLOATS

    call()
    return total(repeat(call, seconds), 1)


def stash(seconds: float) -> Any:
    operations, took = get_dirty_client().execute(WORK, "stash", seconds)
    return {"count": operations, "seconds": took}


def sleeps(seconds: float, clients: float, wait: float) -> Any:
    """How long it takes until as many calls at once are done, which all wait."""

    def call() -> None:
        get_dirty_client().execute(WORK, "sleep", wait)

    threads = [threading.Thread(target=call) for _ in range(int(clients))]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"count": 1, "seconds": time.perf_counter() - began}


def total(microseconds: list[float], each: float) -> dict[str, float]:
    return {"count": len(microseconds) * each, "seconds": sum(microseconds) / 1e6}


MEASURES: dict[str, Callable[..., Any]] = {
    "latency": latency,
    "threads": threads,
    "stream": stream("count"),
    "stream_async": stream("count_async"),
    "argument": argument,
    "result": result,
    "echo": echo,
    "floats": floats,
    "stash": stash,
    "sleeps": sleeps,
}
