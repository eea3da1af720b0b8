"""The arbiter as a whole: side by side, start and stop, memory."""

from __future__ import annotations

import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gunicorn.dirty.errors import DirtyConnectionError, DirtyError
from gunicorn.dirty.protocol import BinaryProtocol, make_request

APP = "sampleapps:Sample"
Wait = Callable[..., Any]


def test_threads_of_a_worker_run_side_by_side(start: Any, calls: Any) -> None:
    pool = start("--workers", "1", "--threads", "4").ready()
    client = pool.client()
    begun = time.monotonic()
    for _ in range(4):
        calls.start(lambda: client.execute(APP, "sleep", 0.5))
    assert calls.join() == [0.5] * 4
    assert time.monotonic() - begun < 1.5  # 2 seconds one after the other


def test_many_threads_get_their_own_answers(start: Any, calls: Any) -> None:
    pool = start("--workers", "2", "--threads", "2").ready()
    client = pool.client()
    for number in range(8):
        calls.start(lambda number=number: [client.execute(APP, "echo", [number, i]) for i in range(200)])
    assert sorted(calls.join()) == [[[number, i] for i in range(200)] for number in range(8)]


def test_large_arguments_and_results_pass_without_lying_in_the_arbiter(start: Any) -> None:
    pool = start("--workers", "1").ready()
    client = pool.client()
    client.execute(APP, "echo", b"")
    peak = f"/proc/{pool.pid}/status"

    def high_water() -> int:
        return int(Path(peak).read_text().split("VmHWM:")[1].split()[0]) // 1024

    before = high_water()
    data = os.urandom(48 << 20)
    assert client.execute(APP, "echo", data) == data
    assert high_water() - before < 16


def test_an_idle_pool_stops_within_a_second_closing_its_apps(start: Any, short_dir: str) -> None:
    closed = os.path.join(short_dir, "closed")
    pool = start("--workers", "2", app="Closing", env={"CLOSING_FILE": closed}).ready()
    client = pool.client()
    for _ in range(10):
        client.execute("sampleapps:Closing", "pid")
    pids = pool.worker_pids()
    begun = time.monotonic()
    assert pool.stop() == 0
    assert time.monotonic() - begun < 1
    assert sorted(map(int, Path(closed).read_text().split())) == sorted(pids)
    assert not os.path.exists(pool.path)


def test_term_lets_running_calls_finish_and_refuses_new_ones(
    start: Any, calls: Any, wait_for: Wait, short_dir: str
) -> None:
    pool = start("--workers", "1").ready()
    client = pool.client()
    go = os.path.join(short_dir, "go")
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(20)
    sock.connect(pool.path)
    calls.start(lambda: client.execute(APP, "wait_for_file", go))
    wait_for(lambda: len(pool.busy()) == 1, "the call runs")
    pool.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "is stopping" in pool.log, "the pool stops")
    BinaryProtocol.write_message(sock, make_request(1, APP, "echo", (1,)))
    assert BinaryProtocol.read_message(sock)["error"]["error_type"] == "DirtyNoWorkersAvailableError"
    Path(go).touch()
    assert calls.join() == [go]
    assert pool.process.wait(10) == 0
    sock.close()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_signals_that_go_to_all_processes_at_once_cost_no_call(
    start: Any, calls: Any, wait_for: Wait, short_dir: str, method: str
) -> None:
    """As from `systemctl kill`, at a stop with KillMode=control-group, or from a terminal that is closed."""
    pool = start("--workers", "2", "--start-method", method).ready()
    client = pool.client()
    before = pool.worker_pids()
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGTERM):
        go = os.path.join(short_dir, str(number))
        calls.start(lambda go=go: client.execute(APP, "wait_for_file", go))
        wait_for(lambda number=number: len(pool.busy()) == 1, "the call runs")
        os.killpg(pool.pid, number)
        if number == signal.SIGHUP:
            wait_for(lambda: "reloads its workers" in pool.log, "the reload")
        if number == signal.SIGTERM:
            wait_for(lambda: "is stopping" in pool.log, "the pool stops")
        Path(go).touch()
        calls.threads[-1].join(20)
        assert calls.outcomes[-1] == go
        if number == signal.SIGHUP:
            wait_for(lambda: not set(pool.worker_pids()) & set(before) and pool.ready(), "all workers are new")
    assert pool.process.wait(20) == 0
    assert "ended with signal" not in pool.log.replace("ended with signal 9", "")


def test_int_stops_a_busy_pool_at_once(start: Any, calls: Any, wait_for: Wait) -> None:
    pool = start("--workers", "1").ready()
    client = pool.client()
    calls.start(lambda: client.execute(APP, "sleep", 3600))
    wait_for(lambda: len(pool.busy()) == 1, "the call runs")
    begun = time.monotonic()
    pool.stop(signal.SIGINT)
    assert time.monotonic() - begun < 3
    (outcome,) = calls.join()
    assert isinstance(outcome, DirtyError)


def test_the_grace_period_of_a_stop_ends(start: Any, calls: Any, wait_for: Wait) -> None:
    pool = start("--workers", "1", "--graceful-timeout", "0.3").ready()
    client = pool.client()
    calls.start(lambda: client.execute(APP, "sleep", 3600))
    wait_for(lambda: len(pool.busy()) == 1, "the call runs")
    pool.stop()
    (outcome,) = calls.join()
    assert isinstance(outcome, DirtyError)


RAISING_LOG = """
import logging, sys
from gunicorn.dirty.arbiter import DirtyArbiter
from gunicorn.dirty.config import PoolConfig
from gunicorn.dirty.listening import Listener

logging.basicConfig(level="INFO")

class Raising:
    '''A log whose methods raise, once each, for lines with these words.'''

    words = {"is cancelled by an operator", "broke the protocol", "is ready"}

    def __getattr__(self, level):
        def write(text, *args):
            for word in [word for word in self.words if word in text % args]:
                self.words.remove(word)
                raise RuntimeError(f"expected failure at {word}")
            getattr(logging, level)(text, *args)
        return write

apps = PoolConfig.parse_apps(["sampleapps:Sample"])
sys.exit(DirtyArbiter(PoolConfig(apps, workers=2, log=Raising()), Listener.at(sys.argv[1])).run())
"""


def test_what_nobody_expects_costs_a_client_or_a_worker_and_not_the_arbiter(
    program: Any, calls: Any, wait_for: Wait
) -> None:
    pool = program(RAISING_LOG).ready()  # although the first worker that was ready has been lost to the log
    assert "expected failure at is ready" in pool.log
    # A client: operators' connections come and go.
    client, other = pool.client(), pool.client()
    calls.start(lambda: client.execute(APP, "until_cancelled", os.devnull))
    (busy,) = wait_for(pool.busy, "the call runs")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(pool.path)
        BinaryProtocol.write_message(sock, {"type": "manage", "id": 1, "op": 3, "count": busy["call"]})
        assert sock.recv(1) == b""
    assert other.execute(APP, "echo", 1) == 1
    assert len(pool.busy()) == 1  # the call of another client is not concerned
    # A slot: its client learns that the connection is lost, its worker is replaced, the other worker's call goes on.
    with pytest.raises(DirtyConnectionError):
        other.execute(APP, "talk_out_of_turn")
    wait_for(lambda: "expected failure at broke the protocol" in pool.log, "it was noticed")
    pool.ready()
    assert other.execute(APP, "echo", 2) == 2
    client.close()
    pool.idle()
    assert pool.stop() == 0
    calls.join()


def test_a_shortage_of_descriptors_is_said_once_with_the_way_out(start: Any, wait_for: Wait) -> None:
    pool = start("--workers", "1").ready()
    assert pool.client().execute(APP, "echo", 1) == 1
    _, hard = resource.prlimit(pool.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pool.pid, resource.RLIMIT_NOFILE, (3, hard))

    def wakes() -> int:
        return int(Path(f"/proc/{pool.pid}/status").read_text().split("\nvoluntary_ctxt_switches:")[1].split()[0])

    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(pool.path)
        wait_for(lambda: "cannot accept" in pool.log, "the shortage is noticed")
        before = wakes()
        wait_for(lambda: wakes() > before + 5, "it is tried again")
        resource.prlimit(pool.pid, resource.RLIMIT_NOFILE, (hard, hard))
        BinaryProtocol.write_message(sock, make_request(1, APP, "echo", (2,)))
        assert BinaryProtocol.read_message(sock)["result"] == 2
    (line,) = [line for line in pool.log.splitlines() if "cannot accept" in line]
    assert "ulimit -n" in line
