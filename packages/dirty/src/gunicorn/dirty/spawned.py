"""Workers as fresh interpreters, for libraries that do not survive a fork (CUDA, some threads, some file handles).

A forked worker whose pool or apps ask for it executes the interpreter anew (:func:`respawn`) and goes on in
:func:`main`, in the same process, with the same channel and lifeline. What it needs to know goes along in a file
without a name. Called by worker.py.
"""

from __future__ import annotations

import importlib
import logging
import os
import pickle
import runpy
import signal
import socket
import sys
import tempfile
from typing import TYPE_CHECKING, Any, NoReturn

from .channel import Channel
from .config import Hook, PoolConfig
from .errors import DirtyAppError
from .titles import set_title, show_through, shown_through

if TYPE_CHECKING:
    from .worker import DirtyWorker

__all__ = ["main", "respawn"]

_LOG_FORMAT = "[%(asctime)s] [%(process)d] [%(levelname)s] %(message)s"


def respawn(worker: DirtyWorker, control: Channel, lifeline: int) -> NoReturn:
    """Become a fresh interpreter that runs the same worker.

    :raises DirtyAppError: the hook dirty_worker_init cannot be found again there
    """
    from .worker import SPARED  # which imports this module

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
        "host": _portable(config),
        "titles": _by_name(shown_through()),
        "worker_init": _reference(config.worker_init),
    }
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    file = _nameless(pickle.dumps(data))
    for fd in (control.fileno(), lifeline, file):
        os.set_inheritable(fd, True)
    # What is ignored stays so: logs that are to be opened again must not kill an interpreter that is starting.
    for number in SPARED:
        signal.signal(number, signal.SIG_IGN)
    arguments = [sys.executable, "-m", "gunicorn.dirty.spawned", str(file)]
    os.execv(sys.executable, arguments)  # noqa: S606 (our own interpreter and program)


def _portable(config: PoolConfig) -> bytes | None:
    """`cfg` and `log`, for objects that can be pickled, as the server's can."""
    try:
        return pickle.dumps((config.cfg, config.log))
    except Exception as exc:
        config.log.warning(
            "A dirty worker that is started fresh (spawn) gets no worker.cfg, and logs to standard error, since the "
            "server's configuration and log cannot be pickled: %s", exc,
        )  # fmt: skip
        return None


def _by_name(function: Any) -> bytes | None:
    try:
        return pickle.dumps(function)
    except Exception:
        return None


def _nameless(data: bytes) -> int:
    """A descriptor of a file without a name, from which `data` can be read. Settings may hold secrets, and a command
    line can be read by everybody."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("dirty-worker")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    with open(os.dup(fd), "wb") as file:
        file.write(data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


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


def _restore(data: dict[str, Any]) -> tuple[Any, Any]:
    """`cfg` and `log` of the pool, as far as they could be brought here."""
    cfg: Any = None
    log: Any = None
    failure: Exception | None = None
    if data["host"] is not None:
        try:
            cfg, log = pickle.loads(data["host"])  # noqa: S301 (what our own process wrote)
        except Exception as exc:
            failure = exc
    if log is None or isinstance(log, logging.Logger):
        logging.basicConfig(level=data["log_level"], format=_LOG_FORMAT)
        log = log or logging.getLogger("gunicorn.dirty")
    if failure is not None:
        log.warning("The server's configuration and log cannot be had here: %s: %s", type(failure).__name__, failure)
    return cfg, log


def main(fd: int) -> int:
    """Run the worker that is described in the file. Returns the exit code."""
    with open(fd, "rb") as file:
        data: dict[str, Any] = pickle.load(file)  # noqa: S301 (what our own process wrote)
    sys.path[:] = data["sys_path"]
    from .worker import DirtyWorker

    os.set_inheritable(data["control"], False)
    os.set_inheritable(data["lifeline"], False)
    cfg, log = _restore(data)
    worker_init = _find(data["worker_init"])
    config = PoolConfig(apps=(), proc_name=data["proc_name"], worker_init=worker_init, cfg=cfg, log=log)
    config = config.with_data(data["config"])
    if data["titles"] is not None:
        show_through(pickle.loads(data["titles"]))  # noqa: S301
    set_title(config.proc_name, "dirty-worker")
    worker = DirtyWorker(data["number"], data["age"], data["ppid"], data["paths"], config, spawned=True)
    return worker.run(Channel(socket.socket(fileno=data["control"])), data["lifeline"])


if __name__ == "__main__":
    code = 1
    try:
        code = main(int(sys.argv[1]))
    except BaseException:
        logging.getLogger("gunicorn.dirty").exception("dirty worker failed")
    finally:
        os._exit(code)
