"""The messages that the arbiter answers itself: STATUS and MANAGE (docs/protocol.md, 3.6), and what it has to refuse.
Used by dispatch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gunicorn_dirty_protocol import Manage, ManageOp, MessageType, ProtocolError, Response

from .call import PoolCall
from .errors import DirtyError, DirtyProtocolError
from .wire import error_frame

if TYPE_CHECKING:
    from .arbiter import DirtyArbiter
    from .caller import Caller
    from .process import WorkerProcess

__all__ = ["answer", "status"]

_MAX_WAITING = 100  # calls that STATUS lists of those that wait
_MAX_STEP = 256  # workers to be added or removed at once; more is a slip of the finger
_MAX_ACTION = 200  # characters of an action's name that it shows; clients may send far more


def answer(arbiter: DirtyArbiter, caller: Caller, kind: int, request_id: int, payload: bytes) -> bytes | None:
    """The frame that answers a message of type `kind`, None when the answer comes later; never raises for what the
    client sent."""
    try:
        if kind == MessageType.STATUS:
            return Response(request_id, status(arbiter)).to_bytes()
        if kind == MessageType.MANAGE:
            return _manage(arbiter, caller, Manage.from_payload(request_id, payload))
        raise DirtyProtocolError(f"the arbiter does not answer messages of type 0x{kind:02x}")
    except ProtocolError as exc:
        error: DirtyError = DirtyProtocolError(f"malformed message of type 0x{kind:02x}: {exc}", payload)
    except DirtyError as exc:
        error = exc
    return error_frame(request_id, error)


def status(arbiter: DirtyArbiter) -> dict[str, Any]:
    """The state of the pool; times in seconds. The keys of WIRE.md and more."""
    now = arbiter.loop.now
    supervisor, dispatcher = arbiter.supervisor, arbiter.dispatcher
    processes = sorted(supervisor.processes.values(), key=lambda process: process.age)
    specs = {app.path: app.workers for app in arbiter.config.apps}
    return {
        "arbiter_pid": arbiter.pid,
        "state": arbiter.state,
        "uptime": now - arbiter.started_at,
        "socket": arbiter.listener.path,
        "workers": [_worker(process, now) for process in processes],
        "worker_count": len(processes),
        "target_workers": supervisor.placement.workers,
        "apps": [
            {
                "import_path": path,
                "worker_count": specs.get(path),
                "current_workers": sum(p.ready_at is not None and path in p.apps for p in processes),
                "worker_pids": [p.pid for p in processes if path in p.apps],
                "queued": dispatcher.scheduler.queued(path),
                **dispatcher.statistics[path].to_data(),
            }
            for path in dispatcher.scheduler.apps
        ],
        "seats": [
            {
                "number": seat.number,
                "pid": seat.process.pid if seat.process else None,
                "apps": list(seat.apps),
                "restarts": max(0, seat.restarts),
                "failures": seat.failures,
                "given_up": seat.given_up,
                "error": seat.error,
            }
            for seat in supervisor.seats.values()
        ],
        "queued": dispatcher.scheduler.waiting,
        "waiting": [_call(call, now) for call in dispatcher.scheduler.first_waiting(_MAX_WAITING)],
        "connections": len(dispatcher.callers),
        "timeout": dispatcher.timeout,
        "stash": [
            {"table": table.name, "size": len(table.entries), "bytes": table.size}
            for table in dispatcher.stash.store.tables.values()
        ],
    }


def _worker(process: WorkerProcess, now: float) -> dict[str, Any]:
    return {
        "pid": process.pid,
        "age": process.age,
        "number": process.number,
        "apps": list(process.apps),
        "booted": process.ready_at is not None,
        "state": process.state.value,
        "last_heartbeat": max(0.0, now - process.seen_at),
        "calls": process.calls_done,
        "slots": [_slot(link.index, link.call, now) for link in process.links],
    }


def _slot(index: int, call: object, now: float) -> dict[str, Any]:
    if not isinstance(call, PoolCall):
        return {"slot": index, "busy": False}
    return {"slot": index, "busy": True, **_call(call, now)}


def _call(call: object, now: float) -> dict[str, Any]:
    """A call that runs or waits: for how long it has, and how long it still may; None where nobody wants it any more,
    or for ever."""
    assert isinstance(call, PoolCall)
    return {
        "call": call.id,
        "app": call.app,
        "action": call.action[:_MAX_ACTION],
        "priority": call.priority,
        "seconds": now - (call.started if call.started is not None else call.arrived),
        "remaining": call.deadline - now if call.deadline is not None else None,
        "caller_pid": call.caller.pid if call.caller is not None else None,
    }


def _manage(arbiter: DirtyArbiter, caller: Caller, message: Manage) -> bytes | None:
    request_id = message.request_id
    if message.op is ManageOp.SHARE:
        return _share(arbiter, caller, request_id)
    if not arbiter.may_manage(caller.pid):
        raise DirtyError("only the server's master may manage the pool: use its control socket (gunicornc), or signals")
    if message.op is ManageOp.CANCEL_CALL:
        found = arbiter.dispatcher.cancel(message.count)
        return Response(request_id, {"success": found, "call": message.count}).to_bytes()
    if message.op is ManageOp.STACKS:
        _ask_stacks(arbiter, caller, message)
        return None
    return Response(request_id, _scale(arbiter, message)).to_bytes()


def _share(arbiter: DirtyArbiter, caller: Caller, request_id: int) -> bytes | None:
    """Give the connection memory that it shares with the workers, if there is some and it can be sent now."""
    shares = arbiter.dispatcher.shares
    share = shares.give(caller, arbiter.config.shared_memory)
    if share is not None:
        token, fd = share
        given = Response(request_id, {"token": token, "bytes": arbiter.config.shared_memory})
        if caller.send_file(given.to_bytes(), fd):
            return None
        shares.take_back(caller)
    return Response(request_id, {"bytes": 0}).to_bytes()


def _ask_stacks(arbiter: DirtyArbiter, caller: Caller, message: Manage) -> None:
    pid = message.count
    process = arbiter.supervisor.processes.get(pid)
    if process is None:
        raise DirtyError(f"{pid} is the pid of no dirty worker")

    def tell(stacks: dict[str, str] | None) -> None:
        if stacks is None:
            error = DirtyError(f"dirty worker {pid} does not answer: an action holds the interpreter's lock")
            caller.send_error(message.request_id, error)
        else:
            caller.send_frame(Response(message.request_id, {"pid": pid, "stacks": stacks}).to_bytes())

    process.ask_stacks(tell)


def _scale(arbiter: DirtyArbiter, message: Manage) -> dict[str, Any]:
    if not 1 <= message.count <= _MAX_STEP:
        raise DirtyProtocolError(f"the number of workers to add or remove is {message.count}, not 1 to {_MAX_STEP}")
    adding = message.op is ManageOp.ADD
    numbers, reason = arbiter.supervisor.scale(message.count if adding else -message.count)
    result: dict[str, Any] = {
        "success": bool(numbers),
        "operation": "add" if adding else "remove",
        "requested": message.count,
        "spawned" if adding else "removed": len(numbers),
        "total_workers": len(arbiter.supervisor.seats),
        "target_workers": arbiter.supervisor.placement.workers,
    }
    if reason:
        result["reason"] = reason
    return result
