"""Every command of the protocol: what it gives and what it does, without any socket."""

from typing import Any

import pytest
from gunicorn.control.commands import REGISTRY
from gunicorn.control.errors import CommandError, PoolUnavailableError
from gunicorn.control.registry import Access, AskPool
from gunicorn_dirty_protocol import Manage, ManageOp, Status


def run(host: Any, text: str) -> Any:
    call = REGISTRY.resolve(text.split())
    return call.command.handler(host.introspection, **call.arguments)


POOL = {"pid": 200, "socket": "/run/d.sock", "state": "running", "restarts": 2}
STATUS = {"arbiter_pid": 200, "workers": [{"pid": 201}], "worker_count": 1, "apps": ["m:A"]}


def test_the_commands_are_those_of_the_wire_document() -> None:
    assert {command.usage: command.access.value for command in REGISTRY} == {
        "show all": "reads",
        "show workers": "reads",
        "show dirty": "reads",
        "show config": "reads",
        "show stats": "reads",
        "show listeners": "reads",
        "worker add [N]": "writes",
        "worker remove [N]": "writes",
        "worker kill PID": "writes",
        "dirty add [N]": "writes",
        "dirty remove [N]": "writes",
        "dirty cancel ID": "writes",
        "dirty stacks PID": "reads",
        "reload": "writes",
        "reopen": "writes",
        "shutdown [graceful|quick]": "writes",
        "help": "reads",
    }


def test_reading_commands_change_nothing(host: Any) -> None:
    host.introspection.pool = POOL
    for command in REGISTRY:
        if command.access is Access.READ:
            run(host, " ".join([command.name, *("1" for _ in command.arguments)]))
    assert host.introspection.done == []


def test_show(host: Any) -> None:
    shown = run(host, "show workers")
    assert shown["count"] == 3
    assert [worker["pid"] for worker in shown["workers"]] == [101, 102, 103]
    assert run(host, "show stats") == host.introspection.stats()
    assert run(host, "show config") == host.introspection.config()
    assert run(host, "show listeners") == {"listeners": host.introspection.listeners(), "count": 1}


def test_worker_commands(host: Any) -> None:
    assert run(host, "worker add 2") == {"added": 2, "previous": 3, "total": 5}
    assert run(host, "worker remove") == {"removed": 1, "previous": 3, "total": 2}
    assert run(host, "worker kill 102") == {"success": True, "killed": 102}
    assert host.introspection.done == [("scale", 2), ("scale", -1), ("kill", 102)]
    with pytest.raises(CommandError, match="no HTTP worker has the pid 1; 'show workers' lists them"):
        run(host, "worker kill 1")
    reason = "a server keeps at least one worker"
    assert run(host, "worker remove 3") == {"removed": 2, "previous": 3, "total": 1, "reason": reason}
    with pytest.raises(CommandError, match="there are slots for 1024 workers"):
        run(host, "worker add 2000")


def test_server_commands(host: Any) -> None:
    run(host, "reload")
    run(host, "reopen")
    assert run(host, "shutdown") == {"status": "shutting_down", "mode": "graceful"}
    run(host, "shutdown quick")
    assert host.introspection.done == ["reload", "reopen", ("shutdown", True), ("shutdown", False)]


def test_help_lists_every_command(host: Any) -> None:
    assert run(host, "help") == {"commands": {command.usage: command.help for command in REGISTRY}}


@pytest.mark.parametrize("pool", [None, {"pid": None, "socket": None, "state": "off", "restarts": 0}])
def test_without_a_pool(host: Any, pool: Any) -> None:
    host.introspection.pool = pool
    for command in ("dirty add", "dirty remove 2", "dirty cancel 7", "dirty stacks 201"):
        with pytest.raises(PoolUnavailableError, match="--dirty-app"):
            run(host, command)
    assert run(host, "show dirty") == {"enabled": False, "pid": None}
    shown = run(host, "show all")
    assert shown["arbiter"] == {"pid": 100, "type": "arbiter", "role": "master", "uptime": 12.5}
    assert [worker["pid"] for worker in shown["web_workers"]] == [101, 102, 103]
    assert shown["web_worker_count"] == 3
    assert (shown["dirty_arbiter"], shown["dirty_workers"], shown["dirty_worker_count"]) == (None, [], 0)


def test_questions_to_the_pool(host: Any) -> None:
    host.introspection.pool = POOL
    for command, question in [
        ("show dirty", Status(1)),
        ("show all", Status(1)),
        ("dirty add", Manage(1, ManageOp.ADD, 1)),
        ("dirty remove 3", Manage(1, ManageOp.REMOVE, 3)),
        ("dirty cancel 123456789012345678", Manage(1, ManageOp.CANCEL_CALL, 123456789012345678)),
        ("dirty stacks 201", Manage(1, ManageOp.STACKS, 201)),
    ]:
        ask = run(host, command)
        assert isinstance(ask, AskPool)
        assert (ask.socket_path, ask.question) == ("/run/d.sock", question)


def test_answers_of_the_pool(host: Any) -> None:
    host.introspection.pool = POOL
    assert run(host, "show dirty").finish(STATUS) == {**POOL, **STATUS, "enabled": True}
    result = {"success": True, "operation": "add", "requested": 1, "spawned": 1}
    assert run(host, "dirty add").finish(result) == result
    stacks = {"pid": 201, "stacks": {"MainThread (1)": "File …"}}
    assert run(host, "dirty stacks 201").finish(stacks) == stacks
    assert run(host, "dirty cancel 7").finish({"success": True, "call": 7}) == {"success": True, "cancelled": 7}
    with pytest.raises(CommandError, match="no call has the id 7, or no longer; 'show dirty' lists those that run"):
        run(host, "dirty cancel 7").finish({"success": False, "call": 7})
    shown = run(host, "show all").finish(STATUS)
    assert shown["dirty_arbiter"] == {"pid": 200, "type": "dirty_arbiter", "state": "running"}
    assert shown["dirty_workers"] == [{"type": "dirty", "pid": 201}]
    assert shown["dirty_worker_count"] == 1


def test_a_silent_pool_spoils_only_what_is_about_it(host: Any) -> None:
    host.introspection.pool = POOL
    error = PoolUnavailableError("silence")
    for command in ("show dirty", "dirty add", "dirty cancel 7", "dirty stacks 201"):
        with pytest.raises(PoolUnavailableError, match="silence"):
            run(host, command).failed(error)
    shown = run(host, "show all").failed(error)
    assert shown["dirty_arbiter"]["error"] == "silence"
    assert shown["web_worker_count"] == 3
