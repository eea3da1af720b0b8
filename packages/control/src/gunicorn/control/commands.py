"""The commands of the control protocol: each is declared here, once, with its handler.

Handlers take the ``Introspection`` of the server and return data, or an ``AskPool`` where the dirty arbiter must be
asked first. They raise ``CommandError`` for what they cannot honour; ``dispatch.py`` makes replies of it all.
"""

from collections.abc import Callable
from typing import Any

from gunicorn.control.errors import CommandError, PoolUnavailableError
from gunicorn.control.host import Introspection
from gunicorn.control.registry import QUESTION_ID, Access, Argument, AskPool, Outcome, Registry
from gunicorn_dirty_protocol import Manage, ManageOp, Status

__all__ = ["REGISTRY"]

REGISTRY = Registry()
_command = REGISTRY.command
_COUNT = Argument("n", "how many", default=1)


@_command("show all", "Everything that runs: master, HTTP workers, dirty arbiter and workers", Access.READ)
def show_all(introspection: Introspection) -> Outcome:
    stats = introspection.stats()
    workers = introspection.workers()
    data = {
        "arbiter": {"pid": stats["pid"], "type": "arbiter", "role": "master", "uptime": stats.get("uptime")},
        "web_workers": [{"type": "web", **worker} for worker in workers],
        "web_worker_count": len(workers),
        "listeners": introspection.listeners(),
        "dirty_arbiter": None,
        "dirty_workers": [],
        "dirty_worker_count": 0,
    }
    pool = introspection.service("dirty")
    if pool is None or not pool.get("socket"):
        return data

    def finish(status: dict[str, Any]) -> dict[str, Any]:
        state = status.get("state", pool.get("state"))
        arbiter = {"pid": status.get("arbiter_pid"), "type": "dirty_arbiter", "state": state}
        dirty_workers = [{"type": "dirty", **worker} for worker in status.get("workers", [])]
        count = len(dirty_workers)
        return {**data, "dirty_arbiter": arbiter, "dirty_workers": dirty_workers, "dirty_worker_count": count}

    def failed(error: CommandError) -> dict[str, Any]:
        # The rest is worth showing; a pool in trouble is just when someone looks.
        arbiter = {"pid": pool.get("pid"), "type": "dirty_arbiter", "state": pool.get("state"), "error": str(error)}
        return {**data, "dirty_arbiter": arbiter}

    return AskPool(pool["socket"], Status(QUESTION_ID), finish, failed)


@_command("show workers", "The HTTP workers and what they do", Access.READ)
def show_workers(introspection: Introspection) -> Outcome:
    workers = introspection.workers()
    return {"workers": workers, "count": len(workers)}


@_command("show dirty", "The dirty pool: what its workers run; queues, latencies and errors of its apps", Access.READ)
def show_dirty(introspection: Introspection) -> Outcome:
    pool = introspection.service("dirty")
    if pool is None or not pool.get("socket"):
        return {"enabled": False, "pid": None}

    def finish(status: dict[str, Any]) -> dict[str, Any]:
        return {**pool, **status, "enabled": True, "pid": status.get("arbiter_pid", pool.get("pid"))}

    return AskPool(pool["socket"], Status(QUESTION_ID), finish, _raise)


@_command("show config", "The settings in effect", Access.READ)
def show_config(introspection: Introspection) -> Outcome:
    return introspection.config()


@_command("show stats", "Counters of the master", Access.READ)
def show_stats(introspection: Introspection) -> Outcome:
    return introspection.stats()


@_command("show listeners", "The sockets that HTTP connections arrive at", Access.READ)
def show_listeners(introspection: Introspection) -> Outcome:
    listeners = introspection.listeners()
    return {"listeners": listeners, "count": len(listeners)}


@_command("worker add", "Start N more HTTP workers", Access.WRITE, _COUNT)
def worker_add(introspection: Introspection, n: int) -> Outcome:
    result = _scale(introspection, n)
    return {"added": result["total"] - result["previous"], **result}


@_command("worker remove", "Stop N HTTP workers, gracefully", Access.WRITE, _COUNT)
def worker_remove(introspection: Introspection, n: int) -> Outcome:
    result = _scale(introspection, -n)
    removed = result["previous"] - result["total"]
    reason = {} if removed == n else {"reason": "a server keeps at least one worker"}
    return {"removed": removed, **result, **reason}


@_command(
    "worker kill",
    "Stop one HTTP worker gracefully; another takes its place",
    Access.WRITE,
    Argument("pid", "the pid of a worker"),
)
def worker_kill(introspection: Introspection, pid: int) -> Outcome:
    try:
        introspection.kill_worker(pid)
    except LookupError as exc:
        raise CommandError(f"no HTTP worker has the pid {pid}; 'show workers' lists them") from exc
    return {"success": True, "killed": pid}


@_command("dirty add", "Start N more dirty workers", Access.WRITE, _COUNT)
def dirty_add(introspection: Introspection, n: int) -> Outcome:
    return _manage(introspection, ManageOp.ADD, n)


@_command("dirty remove", "Stop N dirty workers, gracefully", Access.WRITE, _COUNT)
def dirty_remove(introspection: Introspection, n: int) -> Outcome:
    return _manage(introspection, ManageOp.REMOVE, n)


@_command(
    "dirty cancel",
    "End a call; its caller gets a DirtyCancelledError",
    Access.WRITE,
    Argument("id", "the id of a call that runs, as 'show dirty' has it", digits=18),
)
def dirty_cancel(introspection: Introspection, id: int) -> Outcome:
    def finish(result: dict[str, Any]) -> dict[str, Any]:
        if not result.get("success"):
            raise CommandError(f"no call has the id {id}, or no longer; 'show dirty' lists those that run")
        return {"success": True, "cancelled": id}

    return _manage(introspection, ManageOp.CANCEL_CALL, id, finish)


@_command(
    "dirty stacks",
    "What the threads of a dirty worker do: their tracebacks",
    Access.READ,
    Argument("pid", "the pid of a dirty worker"),
)
def dirty_stacks(introspection: Introspection, pid: int) -> Outcome:
    return _manage(introspection, ManageOp.STACKS, pid)


@_command("reload", "Read the configuration again and replace the workers (HUP)", Access.WRITE)
def reload(introspection: Introspection) -> Outcome:
    introspection.reload()
    return {"status": "reloading"}


@_command("reopen", "Reopen the log files (USR1)", Access.WRITE)
def reopen(introspection: Introspection) -> Outcome:
    introspection.reopen()
    return {"status": "reopening"}


@_command(
    "shutdown",
    "Stop the server, after the running requests (TERM) or at once (INT)",
    Access.WRITE,
    Argument("mode", "how", default="graceful", choices=("graceful", "quick")),
)
def shutdown(introspection: Introspection, mode: str) -> Outcome:
    introspection.shutdown(mode == "graceful")
    return {"status": "shutting_down", "mode": mode}


@_command("help", "The commands of this server", Access.READ)
def help_(introspection: Introspection) -> Outcome:
    return {"commands": {command.usage: command.help for command in REGISTRY}}


def _scale(introspection: Introspection, delta: int) -> dict[str, Any]:
    try:
        return introspection.scale_workers(delta)
    except ValueError as exc:
        raise CommandError(str(exc)) from exc


def _pool(introspection: Introspection) -> dict[str, Any]:
    pool = introspection.service("dirty")
    if pool is None or not pool.get("socket"):
        raise PoolUnavailableError(
            "this server runs no dirty pool; start it with --dirty-app module:Class "
            "(which needs: pip install 'gunicorn-server[dirty]')"
        )
    return pool


def _manage(
    introspection: Introspection, op: ManageOp, n: int, finish: Callable[[Any], dict[str, Any]] = dict
) -> AskPool:
    return AskPool(_pool(introspection)["socket"], Manage(QUESTION_ID, op, n), finish, _raise)


def _raise(error: CommandError) -> dict[str, Any]:
    raise error
