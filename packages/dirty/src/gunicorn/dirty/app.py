"""Dirty apps: the base class that users derive from, and how a setting becomes an instance.

Users import :class:`DirtyApp`; the arbiter parses specs and learns limits; workers load.
"""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from .errors import DirtyAppError, DirtyAppNotFoundError

__all__ = [
    "AppAttributes",
    "DirtyApp",
    "app_attributes",
    "get_app_workers_attribute",
    "load_dirty_app",
    "load_dirty_app_class",
    "load_dirty_apps",
    "parse_dirty_app_spec",
    "workers_attribute",
]

_NOT_ACTIONS = frozenset(("init", "close"))
_PROBE_TIMEOUT = 60.0  # seconds for a fresh interpreter to import an app


class DirtyApp:
    """Base class of apps that live in the dirty pool: loaded once per worker, called many times.

    Public methods are the actions. They may be plain or `async def` functions, and generators of both kinds, whose
    items are streamed to the caller. With `dirty_threads` over 1 they run side by side in one process and share
    `self`.
    """

    #: How many workers load the app; None is all of them. The N of a spec `module:Class:N` wins over it.
    workers: int | None = None
    #: How many calls of the app one worker runs at a time, beside `dirty_threads` for other apps: async actions as
    #: tasks of one event loop, others in threads. None: the app's calls take a thread each, of the `dirty_threads`.
    concurrency: int | None = None
    #: Tables of the stash that are there before the first call.
    stashes: Sequence[str] = ()
    #: "spawn": workers with this app are started as fresh interpreters, for libraries that do not survive a fork, such
    #: as CUDA. None: as `dirty_start_method` says.
    start_method: str | None = None

    def init(self) -> None:
        """Called once per worker, before any action: load models, open connections. Raise to refuse the start."""

    def __call__(self, action: str, *args: Any, **kwargs: Any) -> Any:
        """Run `action` and return what it returns; override to dispatch in another way.

        :raises DirtyAppError: there is no such public method
        """
        method = None if action.startswith("_") or action in _NOT_ACTIONS else getattr(self, action, None)
        if not callable(method):
            path = f"{type(self).__module__}:{type(self).__name__}"
            raise DirtyAppError(f"{path} has no action {action!r}; actions are its public methods", path, action)
        return method(*args, **kwargs)

    def close(self) -> None:
        """Called once per worker when it stops in order: release what `init` took."""


class AppAttributes(NamedTuple):
    """The class attributes of an app that its worker heeds; see :class:`DirtyApp`."""

    concurrency: int | None
    stashes: tuple[str, ...]
    start_method: str | None


def parse_dirty_app_spec(spec: str) -> tuple[str, int | None]:
    """`module:Class` or `module:Class:N` as import path and number of workers (None when not given).

    :raises DirtyAppError: the spec is malformed
    """
    parts = [part.strip() for part in spec.split(":")]
    if len(parts) not in (2, 3) or not all(parts):
        raise DirtyAppError(f"dirty app {spec!r} is not of the form module:Class or module:Class:N", spec)
    module, name = parts[0], parts[1]
    if not all(piece.isidentifier() for piece in (*module.split("."), *name.split("."))):
        raise DirtyAppError(f"dirty app {spec!r}: {module}:{name} cannot be the path of a module and a class", spec)
    count: int | None = None
    if len(parts) == 3:
        if not parts[2].isascii() or not parts[2].isdigit() or int(parts[2]) < 1:
            raise DirtyAppError(
                f"dirty app {spec!r}: the number of workers is {parts[2]!r}, it must be 1 or more", spec
            )
        count = int(parts[2])
    return f"{module}:{name}", count


def load_dirty_app_class(import_path: str) -> type[Any]:
    """Import the class at `module:Class`.

    :raises DirtyAppNotFoundError: there is no such module or class
    :raises DirtyAppError: importing it raised (the traceback is in the details), or it is no class of callable
        instances
    """
    path, _ = parse_dirty_app_spec(import_path)
    module_name, _, class_name = path.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        if exc.name is not None and (module_name == exc.name or module_name.startswith(exc.name + ".")):
            raise DirtyAppNotFoundError(path, f"Dirty app not found: {path}: no module named {exc.name!r}") from exc
        raise _load_error(path, exc) from exc
    except Exception as exc:
        raise _load_error(path, exc) from exc
    for piece in class_name.split("."):
        try:
            found = getattr(found, piece)
        except AttributeError as exc:
            raise DirtyAppNotFoundError(
                path, f"Dirty app not found: {path}: module {module_name} has no {class_name}"
            ) from exc
    if not isinstance(found, type) or not callable(getattr(found, "__call__", None)):  # noqa: B004 (of the class)
        raise DirtyAppError(f"dirty app {path} is {found!r}; it must be a class, best derived from DirtyApp", path)
    if not any("__call__" in vars(base) for base in found.__mro__):
        raise DirtyAppError(f"dirty app {path} has no __call__(action, ...); derive it from DirtyApp", path)
    return found


def load_dirty_app(import_path: str) -> Any:
    """Import, instantiate and return the app; its `init` is not called. Raises like :func:`load_dirty_app_class`."""
    cls = load_dirty_app_class(import_path)
    try:
        return cls()
    except Exception as exc:
        raise _load_error(import_path, exc) from exc


def load_dirty_apps(import_paths: Iterable[str]) -> dict[str, Any]:
    """The apps of several paths, by path. Raises like :func:`load_dirty_app`, at the first that fails."""
    return {path: load_dirty_app(path) for path in import_paths}


def workers_attribute(import_path: str) -> int | None:
    """The class attribute `workers`, by importing the app here: only for processes that end soon.

    :raises DirtyAppError: like :func:`load_dirty_app_class`, or the attribute is not None or an int over 0
    """
    return _number(load_dirty_app_class(import_path), "workers", import_path)


def app_attributes(cls: type[Any], import_path: str) -> AppAttributes:
    """What the class says about how it wants to be run.

    :raises DirtyAppError: an attribute is not what it may be
    """
    stashes = getattr(cls, "stashes", ())
    if isinstance(stashes, str) or not all(isinstance(name, str) for name in stashes):
        raise DirtyAppError(
            f"dirty app {import_path}: stashes is {stashes!r}; it must be a list of names of tables", import_path
        )
    method = getattr(cls, "start_method", None)
    if method not in (None, "fork", "spawn"):
        raise DirtyAppError(
            f"dirty app {import_path}: start_method is {method!r}; it must be None, 'fork' or 'spawn'", import_path
        )
    return AppAttributes(_number(cls, "concurrency", import_path), tuple(stashes), method)


def _number(cls: type[Any], name: str, import_path: str) -> int | None:
    value = getattr(cls, name, None)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise DirtyAppError(f"dirty app {import_path}: {name} is {value!r}; it must be None or 1 or more", import_path)
    return value


def get_app_workers_attribute(import_path: str) -> int | None:
    """The app's class attribute `workers`, learnt in a fresh interpreter so that this process does not import the app.

    :raises DirtyAppError: the app cannot be imported, or not in 60 seconds
    """
    import subprocess  # rarely wanted, and the master imports this module

    program = (
        "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
        "from gunicorn.dirty.app import workers_attribute;"
        "from gunicorn.dirty.errors import DirtyError\n"
        "try: answer = {'workers': workers_attribute(sys.argv[2])}\n"
        "except DirtyError as exc: answer = {'error': exc.to_dict()}\n"
        "sys.__stdout__.write('\\n' + json.dumps(answer) + '\\n')"
    )
    try:
        done = subprocess.run(  # noqa: S603 (our own interpreter and program)
            [sys.executable, "-c", program, json.dumps(sys.path), import_path],
            capture_output=True,
            text=True,
            timeout=_PROBE_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise DirtyAppError(f"importing {import_path} took more than {_PROBE_TIMEOUT:g} seconds", import_path) from exc
    try:
        answer = json.loads(done.stdout.rstrip().rpartition("\n")[2])
    except ValueError as exc:
        raise DirtyAppError(
            f"importing {import_path} ended the interpreter with code {done.returncode}", import_path, None, done.stderr
        ) from exc
    if "error" in answer:
        raise DirtyAppError.from_dict(answer["error"])
    workers: int | None = answer["workers"]
    return workers


def _load_error(path: str, exc: BaseException) -> DirtyAppError:
    text = "".join(traceback.format_exception(type(exc), exc, exc.__traceback__))
    return DirtyAppError(f"dirty app {path} cannot be loaded: {type(exc).__name__}: {exc}", path, None, text)
