"""Workers as fresh interpreters, for libraries that do not survive a fork (CUDA, some threads, some file handles).

A forked worker whose pool or apps ask for it executes the interpreter anew (:func:`respawn`) and goes on in
:func:`main`, in the same process, with the same channel and lifeline. What it needs to know goes along as JSON.
Called by worker.py.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import runpy
import socket
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from .channel import Channel
from .config import Hook, PoolConfig
from .errors import DirtyAppError
from .titles import set_title

if TYPE_CHECKING:
    from .worker import DirtyWorker

__all__ = ["main", "respawn"]

_LOG_FORMAT = "[%(asctime)s] [%(process)d] [%(levelname)s] %(message)s"


def respawn(worker: DirtyWorker, control: Channel, lifeline: int) -> NoReturn:
    """Become a fresh interpreter that runs the same worker.

    :raises DirtyAppError: the hook dirty_worker_init cannot be found again there
    """
    config = worker.config
    log = getattr(config.log, "error_log", config.log)
    data = {
        "control": control.fileno(),
        "lifeline": lifeline,
        "number": worker.number,
        "age": worker.age,
        "ppid": worker.ppid,
        "paths": list(worker.paths),
        "config": config.to_data(),
        "proc_name": config.proc_name,
        "sys_path": sys.path,
        "log_level": log.getEffectiveLevel() if hasattr(log, "getEffectiveLevel") else logging.INFO,
        "worker_init": _reference(config.worker_init),
    }
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    for fd in (control.fileno(), lifeline):
        os.set_inheritable(fd, True)
    arguments = [sys.executable, "-m", "gunicorn.dirty.spawned", json.dumps(data)]
    os.execv(sys.executable, arguments)  # noqa: S606 (our own interpreter and program)


def _reference(hook: Hook) -> dict[str, str]:
    """Where another process finds the hook: in a module, or in a configuration file that it runs again."""
    module, name = getattr(hook, "__module__", ""), getattr(hook, "__qualname__", "")
    if module != "__main__" and getattr(sys.modules.get(module), name, None) is hook:
        return {"module": module, "name": name}
    path = getattr(getattr(hook, "__code__", None), "co_filename", "")
    if name.isidentifier() and os.path.isfile(path):
        return {"path": os.path.abspath(path), "name": name}
    raise DirtyAppError(
        f"dirty_worker_init is {hook!r}, which a worker that is started fresh (spawn) cannot find: define it as a "
        "plain function of a module or of the configuration file"
    )


def _find(reference: dict[str, str]) -> Hook:
    if "module" in reference:
        found = getattr(importlib.import_module(reference["module"]), reference["name"])
    else:
        found = runpy.run_path(reference["path"], run_name="__config__")[reference["name"]]
    hook: Hook = found
    return hook


def main(text: str) -> int:
    """Run the worker that `text` describes. Returns the exit code."""
    data: dict[str, Any] = json.loads(text)
    sys.path[:] = data["sys_path"]
    from .worker import DirtyWorker

    logging.basicConfig(level=data["log_level"], format=_LOG_FORMAT)
    os.set_inheritable(data["control"], False)
    os.set_inheritable(data["lifeline"], False)
    config = PoolConfig(apps=(), proc_name=data["proc_name"], worker_init=_find(data["worker_init"]))
    config = config.with_data(data["config"])
    set_title(config.proc_name, "dirty-worker")
    worker = DirtyWorker(data["number"], data["age"], data["ppid"], data["paths"], config, spawned=True)
    return worker.run(Channel(socket.socket(fileno=data["control"])), data["lifeline"])


if __name__ == "__main__":
    code = 1
    try:
        code = main(sys.argv[1])
    except BaseException:
        logging.getLogger("gunicorn.dirty").exception("dirty worker failed")
    finally:
        os._exit(code)
