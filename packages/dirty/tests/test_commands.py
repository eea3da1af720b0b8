"""STATUS, MANAGE and what the arbiter refuses, asked of a real pool."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gunicorn.dirty.errors import DirtyAppError, DirtyCancelledError, DirtyTimeoutError
from gunicorn.dirty.protocol import (
    MANAGE_OP_ADD,
    MANAGE_OP_REMOVE,
    STASH_OP_GET,
    BinaryProtocol,
    make_manage_message,
    make_stash_message,
)
from gunicorn_dirty_protocol import ManageOp

APP = "sampleapps:Sample"
Wait = Callable[..., Any]


def manage(op: int, count: int) -> dict[str, Any]:
    return {"type": "manage", "id": 1, "op": int(op), "count": count}


def test_status_has_the_keys_of_the_wire_and_tells_what_runs(start: Any, calls: Any, wait_for: Any) -> None:
    pool = start("--workers", "2", "--threads", "2").ready()
    client = pool.client()
    client.execute(APP, "echo", 1)
    calls.start(lambda: client.execute(APP, "sleep", 1))
    (slot,) = wait_for(pool.busy, "the call runs")
    assert (slot["app"], slot["action"]) == (APP, "sleep")
    assert 0 <= slot["seconds"] < 20
    status = pool.status()
    assert status["arbiter_pid"] == pool.pid
    assert status["worker_count"] == 2
    assert [worker["age"] for worker in status["workers"]] == [1, 2]
    for worker in status["workers"]:
        assert worker["apps"] == [APP]
        assert worker["booted"] is True
        assert 0 <= worker["last_heartbeat"] < 20
    (app,) = status["apps"]
    assert app["import_path"] == APP
    assert app["current_workers"] == 2
    assert sorted(app["worker_pids"]) == sorted(worker["pid"] for worker in status["workers"])
    assert sum(worker["calls"] for worker in status["workers"]) == 1


def test_workers_show_that_they_are_alive_while_idle(start: Any, wait_for: Any) -> None:
    pool = start("--workers", "1").ready()
    wait_for(lambda: pool.status()["workers"][0]["last_heartbeat"] > 0.3, "some time without a sign")
    wait_for(lambda: pool.status()["workers"][0]["last_heartbeat"] < 0.2, "a sign of life")


def test_workers_are_added_and_removed(start: Any, wait_for: Any) -> None:
    pool = start("--workers", "1").ready()
    result = pool.ask(make_manage_message(1, MANAGE_OP_ADD, 2))["result"]
    assert result == {
        "success": True,
        "operation": "add",
        "requested": 2,
        "spawned": 2,
        "total_workers": 3,
        "target_workers": 3,
    }
    wait_for(lambda: [worker["booted"] for worker in pool.status()["workers"]] == [True] * 3, "three are ready")
    result = pool.ask(make_manage_message(2, MANAGE_OP_REMOVE, 5))["result"]
    assert (result["success"], result["removed"], result["total_workers"]) == (True, 2, 1)
    assert "last worker" in result["reason"]
    wait_for(lambda: pool.status()["worker_count"] == 1, "one is left")
    assert pool.client().execute(APP, "echo", 1) == 1


def test_nothing_is_spawned_when_all_apps_are_at_their_limits(start: Any) -> None:
    pool = start("--workers", "1", app="Limited").ready()
    result = pool.ask(make_manage_message(1, MANAGE_OP_ADD, 1))["result"]
    assert result["success"] is False
    assert result["spawned"] == 0
    assert result["reason"] == "all apps are at their worker limits"


def test_signals_add_and_remove_too(start: Any, wait_for: Any) -> None:
    import signal

    pool = start("--workers", "1").ready()
    pool.process.send_signal(signal.SIGTTIN)
    wait_for(lambda: len(pool.worker_pids()) == 2, "a worker more")
    pool.process.send_signal(signal.SIGTTOU)
    wait_for(lambda: len(pool.worker_pids()) == 1, "a worker less")
    pool.process.send_signal(signal.SIGTTOU)
    wait_for(lambda: "last worker stays" in pool.log, "it says why not")


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (BinaryProtocol.encode_message(make_stash_message(9, STASH_OP_GET, "t", "k")), "StashKeyNotFoundError"),
        (BinaryProtocol.encode_header(0x10, 9, 3) + b"abc", "DirtyProtocolError"),
        (BinaryProtocol.encode_manage(9, MANAGE_OP_ADD, 0), "DirtyProtocolError"),
        (BinaryProtocol.encode_manage(9, 77, 1), "DirtyProtocolError"),
        (BinaryProtocol.encode_message({"type": "manage", "id": 9, "op": 3}), "DirtyProtocolError"),
        (BinaryProtocol.encode_message({"type": "manage", "id": 9, "op": 4, "count": None}), "DirtyProtocolError"),
        (BinaryProtocol.encode_header(0x12, 9, 3) + b"abc", "DirtyProtocolError"),
        (BinaryProtocol.encode_header(0x12, 9, 100_000) + bytes(100_000), "DirtyProtocolError"),
        (BinaryProtocol.encode_header(0x02, 9, 0), "DirtyProtocolError"),
        (BinaryProtocol.encode_header(0x7F, 9, 0), "DirtyProtocolError"),
        (BinaryProtocol.encode_header(0x01, 9, 3) + b"abc", "DirtyProtocolError"),
        (BinaryProtocol.encode_header(0x01, 9, 0), "DirtyProtocolError"),
    ],
)
def test_what_is_refused_is_answered_and_the_connection_goes_on(shared: Any, frame: bytes, kind: str) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(shared.path)
        sock.sendall(frame)
        answer = BinaryProtocol.read_message(sock)
        assert (answer["type"], answer["id"]) == ("error", 9)
        assert answer["error"]["error_type"] == kind
        sock.sendall(BinaryProtocol.encode_request(10, APP, "echo", (1,)))
        assert BinaryProtocol.read_message(sock) == {"type": "response", "id": 10, "result": 1}


def test_a_call_is_cancelled_by_its_id(start: Any, calls: Any, wait_for: Wait) -> None:
    pool = start("--workers", "1").ready()
    client, pids = pool.client(), pool.worker_pids()
    for _ in range(2):
        calls.start(lambda: client.execute(APP, "asleep", 3600))
    wait_for(lambda: pool.status()["queued"] == 1, "one runs, one waits")
    for _ in range(2):
        (slot,) = wait_for(pool.busy, "one runs")
        assert pool.ask(manage(ManageOp.CANCEL_CALL, slot["call"]))["result"] == {"success": True, "call": slot["call"]}
        wait_for(lambda call=slot["call"]: [call] != [slot["call"] for slot in pool.busy()], "it has ended")
    outcomes = calls.join()
    assert [type(outcome) for outcome in outcomes] == [DirtyCancelledError] * 2
    assert all("by an operator" in str(outcome) for outcome in outcomes)
    assert pool.ask(manage(ManageOp.CANCEL_CALL, 999_999))["result"]["success"] is False
    assert pool.worker_pids() == pids


def test_those_that_wait_are_listed_and_can_be_cancelled_by_their_id(start: Any, calls: Any, wait_for: Wait) -> None:
    pool = start("--workers", "1", "--timeout", "0").ready()
    client = pool.client(None)
    calls.start(lambda: client.execute(APP, "asleep", 3600))
    (running,) = wait_for(pool.busy, "one runs")
    assert running["remaining"] is None
    calls.start(lambda: client.execute(APP, "pid"))
    wait_for(lambda: pool.status()["queued"] == 1, "one waits")
    calls.start(lambda: client.using(priority=3).execute(APP, "echo", 1, timeout=3600))
    wait_for(lambda: pool.status()["queued"] == 2, "two wait")
    first, second = pool.status()["waiting"]
    assert (first["action"], first["priority"], first["caller_pid"]) == ("echo", 3, os.getpid())
    assert 3500 < first["remaining"] <= 3600
    assert (second["app"], second["action"], second["priority"], second["remaining"]) == (APP, "pid", 0, None)
    assert second["seconds"] >= first["seconds"] >= 0
    for call in (second, first):
        assert pool.ask(manage(ManageOp.CANCEL_CALL, call["call"]))["result"]["success"] is True
    wait_for(lambda: pool.status()["waiting"] == [], "none waits")
    assert pool.busy()[0]["call"] == running["call"]
    pool.ask(manage(ManageOp.CANCEL_CALL, running["call"]))
    assert [type(outcome) for outcome in calls.join()] == [DirtyCancelledError] * 3


def test_no_more_of_those_that_wait_are_listed_than_an_operator_can_read(start: Any, wait_for: Wait) -> None:
    pool = start("--workers", "1").ready()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(pool.path)
        sock.sendall(BinaryProtocol.encode_request(1, APP, "asleep", (3600,)))
        for number in range(150):
            sock.sendall(BinaryProtocol.encode_request(number + 2, APP, "x" * 10_000))
        wait_for(lambda: pool.status()["queued"] == 150, "all wait")
        waiting = pool.status()["waiting"]
        assert len(waiting) == 100
        assert {call["action"] for call in waiting} == {"x" * 200}
    wait_for(lambda: pool.status()["queued"] == 0, "nobody wants them any more")


def test_the_stacks_of_a_worker(start: Any, calls: Any, wait_for: Wait, short_dir: str) -> None:
    pool = start("--workers", "1").ready()
    client, go = pool.client(), Path(short_dir, "go")
    (pid,) = pool.worker_pids()
    calls.start(lambda: client.execute(APP, "wait_for_file", str(go)))
    wait_for(pool.busy, "it runs")
    result = pool.ask(manage(ManageOp.STACKS, pid))["result"]
    go.touch()
    assert result["pid"] == pid
    (stack,) = [stack for name, stack in result["stacks"].items() if name.startswith("dirty-slot")]
    assert "in wait_for_file" in stack
    assert "no dirty worker" in pool.ask(manage(ManageOp.STACKS, 1))["error"]["message"]
    calls.join()


def test_what_calls_were_like_is_told(start: Any) -> None:
    pool = start("--workers", "1").ready()
    client = pool.client()
    client.execute(APP, "echo", 1)
    with pytest.raises(DirtyAppError):
        client.execute(APP, "boom")
    with pytest.raises(DirtyTimeoutError):
        client.execute(APP, "asleep", 60, timeout=0.05)
    (app,) = pool.status()["apps"]
    assert (app["calls"], app["errors"], app["timeouts"], app["refused"]) == (2, 1, 1, 0)
    assert sum(app["latency"].values()) == 2
