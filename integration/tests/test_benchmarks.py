"""The benchmarks' own tools: the load at a constant rate, the browser's requests, and the pages made from results."""

from __future__ import annotations

import itertools
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree

import pytest

from integration.benchmarks import dirty_report, load, report
from integration.benchmarks.dirty_measures import CLIENTS, GOALS, Growth, Rounds
from integration.benchmarks.harness import Sample
from integration.benchmarks.load import Load, NoGenerator
from integration.benchmarks.results import Results, targets
from integration.benchmarks.scenarios import SCENARIOS

STALL = 0.5  # seconds
ANSWERS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;name=value\r\nhello\r\n1B\r\n"
    + bytes(27)
    + b"\r\n0\r\nA: b\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n",
)


@pytest.fixture
def stalling_server() -> Iterator[int]:
    """Answers requests one by one, in pieces, in every way of framing; stands still for a while at the tenth."""
    listener = socket.create_server(("127.0.0.1", 0))
    served = itertools.count(1)

    def answer(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while request := connection.recv(65536):
            assert request.count(b"\r\n\r\n") == 1
            number = next(served)
            if number == 10:
                time.sleep(STALL)
            answer = ANSWERS[number % len(ANSWERS)]
            connection.sendall(answer[:60])
            connection.sendall(answer[60:])
            if b"close" in answer:
                return

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, suppress(ConnectionResetError):  # at the end the client just leaves
                answer(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="needs a C compiler")
def test_requests_that_were_due_during_a_stall_count_it(stalling_server: int, tmp_path: Path) -> None:
    requests = SCENARIOS["hello"].write(tmp_path)
    client = load.paced_client(tmp_path)
    found = load.at_rate(client, stalling_server, Load(requests, 1, False), rate=200, seconds=1.2)
    assert (found["requests"] + found["unanswered"], found["errors"]) == (240, 0)
    assert found["requests"] > 100  # on however loaded a machine
    # 100 of the 240 were due while one was stuck. A client that then waits to send the next would see one late answer.
    assert found["p90"] > STALL * 1e6 * 0.4
    assert found["max"] > STALL * 1e6 * 0.9
    assert load.paced_client(tmp_path) == client


def test_without_wrk_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoGenerator, match="apt-get install wrk"):
        load.need_wrk()


def test_browsers_send_14_fields_that_differ_each_time() -> None:
    requests = SCENARIOS["browser"].requests()
    assert len(set(requests)) == len(requests) > 1000
    assert {request.count(b"\r\n") for request in requests} == {1 + 14 + 1}
    assert SCENARIOS["reload"].requests() == requests[:1]
    assert {scenario.name for scenario in SCENARIOS.values() if scenario.several} == {"browser"}


def results() -> Results:
    """Two rounds of four servers: sync reaches its target, asgi does not."""
    rates = {"sync": 120.0, "granian-wsgi": 100.0, "asgi": 110.0, "uvicorn": 100.0, "sync+log": 60.0}
    latency = {"p50": 100.0, "p90": 200.0, "p99": 900.0, "p999": 1000.0, "max": 1000.0}
    about = {"date": "", "minutes": 1, "machine": "", "python": "", "gunicorn-server": "", "peers": {}, "wrk": ""}
    return Results(
        about={**about, "quick": True, "rounds": 2, "seconds": 1, "paced_rounds": 1, "paced_seconds": 1},
        rates={"hello": {server: [Sample(rate, 9.0), Sample(rate * 1.1, 9.0)] for server, rate in rates.items()}},
        paces={"hello": {"sync": 50.0, "bjoern": 50.0}},
        latencies={"hello": {"sync": [latency], "bjoern": [{**latency, "p99": 300.0}]}},
        memory={"sync": (10 << 20, 20 << 20), "granian-wsgi": (15 << 20, 30 << 20)},
    )


def test_targets_are_judged() -> None:
    judged = {(one.kind, one.first, one.second): (round(one.value, 2), one.reached) for one in targets(results())}
    assert judged == {
        ("rate", "sync", "granian-wsgi"): (1.2, True),
        ("rate", "asgi", "uvicorn"): (1.1, False),
        ("logging", "sync+log", "sync"): (0.5, False),
        ("latency", "sync", "bjoern"): (3.0, False),
        ("memory", "sync", "granian-wsgi"): (0.67, True),
    }
    assert report.status(results()) == 1


def test_pages_and_plots_are_made_from_what_was_measured(tmp_path: Path) -> None:
    report.write(results(), tmp_path)
    page = (tmp_path / "index.md").read_text()
    assert "| 13-byte reply | sync | granian-wsgi | 1.20 (1.20-1.20) | ≥ 1.1 | yes | 1.00 |" in page
    assert "| 13-byte reply | asgi | uvicorn | 1.10 (1.10-1.10) | ≥ 1.7 | **no** | 1.00 |" in page
    assert "| sync | 0.10 / 0.90 at 50/s |" in page
    assert "| sync | 10.0 | 20.0 |" in page
    for plot in ("wsgi-rates", "asgi-rates", "wsgi-latency", "memory"):
        assert f"({plot}.svg)" in page
        assert ElementTree.parse(tmp_path / f"{plot}.svg").getroot().tag.endswith("svg")
    assert Results.read(tmp_path / "results.json") == results()


def dirty_results() -> dirty_report.Results:
    """Two rounds of the pools: the median and the stash reach their goals, the threads do not."""
    ours = {"median": [100.0, 110.0], "threads": [5000.0, 5000.0], "stash": [40.0, 50.0], "arbiter": [10.0, 10.0]}
    theirs = {"median": [700.0, 700.0], "threads": [1000.0, 1000.0], "stash": [10.0, 10.0], "arbiter": [50.0, 50.0]}
    about = {"date": "", "minutes": 1, "machine": "", "python": "", "gunicorn-server": "", "wrk": "", "quick": True}
    growth = [
        Growth(server, kind, workers, clients, 100.0 * clients)
        for server in ("ours", "gunicorn27")
        for kind in ("nothing", "waits")
        for workers in (1, 2)
        for clients in CLIENTS
    ]
    about |= {"peers": {"gunicorn": "27"}, "rounds": 2, "seconds": 1.0}
    return dirty_report.Results(Rounds(ours, theirs), growth, about)


def test_goals_of_the_pool_are_judged_by_the_rounds_that_followed_one_another() -> None:
    rounds = dirty_results().rounds
    assert rounds.ratios("stash") == [4, 5, 5]
    assert {goal: rounds.reached(goal) for goal in rounds.ours} == {
        "median": True,
        "threads": False,
        "stash": True,
        "arbiter": None,
    }
    assert dirty_report.status(dirty_results()) == 1


def test_the_page_of_the_pool_is_made_from_what_was_measured(tmp_path: Path) -> None:
    dirty_report.write(dirty_results(), tmp_path)
    page = (tmp_path / "dirty.md").read_text()
    assert "2 of 3 targets are reached." in page
    assert "| execute, 8 threads | calls/s | 5,000 | 1,000 | 5 (5-5) | ≥ 6 | **no** |" in page
    assert "| gunicorn27 | 2 | 100 | 400 | 1,600 | 6,400 | 25,600 |" in page
    for plot in ("dirty", "dirty-nothing", "dirty-waits"):
        assert f"({plot}.svg)" in page
        assert ElementTree.parse(tmp_path / f"{plot}.svg").getroot().tag.endswith("svg")
    assert dirty_report.Results.read(tmp_path / "dirty.json") == dirty_results()
    assert set(dirty_results().rounds.ours) < set(GOALS)
