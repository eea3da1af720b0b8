"""The server hooks: functions of the configuration file that the master or a worker calls."""

from collections.abc import Callable
from typing import Any

from gunicorn.settings import validators
from gunicorn.settings.declaration import Declaration


def _nothing_1(server: Any) -> None:
    """The default of hooks with one argument."""


def _nothing_2(server: Any, worker: Any) -> None:
    """The default of hooks with two arguments."""


def _nothing_3(server: Any, new_value: Any, old_value: Any) -> None:
    """The default of hooks with three arguments."""


def _nothing_4(worker: Any, req: Any, environ: Any, resp: Any) -> None:
    """The default of hooks with four arguments."""


def _default_ssl_context(config: Any, default_ssl_context_factory: Callable[[], Any]) -> Any:
    """The default of the hook ssl_context."""
    return default_ssl_context_factory()


_NOTHING: dict[int, Callable[..., None]] = {1: _nothing_1, 2: _nothing_2, 3: _nothing_3, 4: _nothing_4}


def _hook(name: str, arity: int, desc: str) -> Declaration:
    return {
        "name": name,
        "section": "Server Hooks",
        "validator": validators.validate_post_request
        if name == "post_request"
        else validators.validate_callable(arity),
        "type": callable,
        "default": _NOTHING[arity],
        "desc": desc,
    }


SETTINGS: tuple[Declaration, ...] = (
    _hook("on_starting", 1, "on_starting(server): in the master, just before it is set up."),
    _hook("on_reload", 1, "on_reload(server): in the master, when HUP has loaded the configuration again."),
    _hook("when_ready", 1, "when_ready(server): in the master, when it listens, before the first worker is forked."),
    _hook("pre_fork", 2, "pre_fork(server, worker): in the master, just before a worker is forked."),
    _hook("post_fork", 2, "post_fork(server, worker): in the worker, just after it was forked."),
    _hook("post_worker_init", 1, "post_worker_init(worker): in the worker, when it has loaded the application."),
    _hook("worker_int", 1, "worker_int(worker): in the worker, when INT or QUIT stops it."),
    _hook("worker_abort", 1, "worker_abort(worker): in the worker, when a request over timeout or ABRT ends it."),
    _hook("pre_exec", 1, "pre_exec(server): just before a new master is executed (USR2)."),
    _hook("pre_request", 2, "pre_request(worker, req): in the worker, before a request is handled."),
    _hook("post_request", 4, "post_request(worker, req, environ, resp): in the worker, after a request was handled."),
    _hook("child_exit", 2, "child_exit(server, worker): in the master, when a worker has ended."),
    _hook("worker_exit", 2, "worker_exit(server, worker): in the worker, when it is about to end."),
    _hook("nworkers_changed", 3, "nworkers_changed(server, new_value, old_value): the number of workers has changed."),
    _hook("on_exit", 1, "on_exit(server): in the master, just before it ends."),
    {
        "name": "ssl_context",
        "section": "Server Hooks",
        "validator": "callable:2",
        "type": callable,
        "default": _default_ssl_context,
        "desc": """\
            ssl_context(config, default_ssl_context_factory): in the master; returns the ssl.SSLContext of all workers.

            Called at the start and at each reload, when certfile is set. The factory makes the context that the other
            settings of TLS ask for; change it (sni_callback, minimum_version …), or return one of your own.
            """,
    },
)
