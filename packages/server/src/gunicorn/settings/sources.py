"""Where values come from, and in which order: defaults, configuration file, GUNICORN_CMD_ARGS, command line.

``app.base.Application.load_config`` calls these. Every error names where the value was written.
"""

import ast
import importlib
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from gunicorn.errors import ConfigError, SettingError
from gunicorn.settings import absent
from gunicorn.settings.config import Config

# A name of a configuration file that nothing reads and that is this similar to a setting's is taken for a misspelling.
MISSPELLING_CUTOFF = 0.8


class ConfigFile(NamedTuple):
    """What a configuration file says: its names, and which of them it reads itself (helpers, not settings)."""

    origin: str
    values: dict[str, Any]
    helpers: frozenset[str]
    assigned: frozenset[str]


def apply(cfg: Config, values: Mapping[str, Any], origin: str) -> None:
    """Set each value; ``origin`` says in errors where they were written.

    :raises SettingError: for the first that is refused.
    """
    for name, value in values.items():
        set_one(cfg, name, value, origin)


def set_one(cfg: Config, name: str, value: Any, origin: str) -> None:
    """Set one value, or raise a SettingError that names its origin."""
    try:
        cfg.set(name, value)
    except (TypeError, ValueError) as exc:
        raise SettingError(name, f"{origin}: invalid value for {name!r}: {value!r} ({exc})") from exc
    except SettingError as exc:
        raise SettingError(name, f"{origin}: {exc}") from exc


def arguments(namespace: Any) -> dict[str, Any]:
    """The settings that were given on a parsed command line."""
    return {name: value for name, value in vars(namespace).items() if value is not None and name != "args"}


def read_config_file(location: str) -> ConfigFile:
    """Run the configuration file at ``location``: PATH, ``file:PATH`` or ``python:MODULE``.

    :raises ConfigError: when it does not exist or fails; its traceback is printed to standard error.
    """
    kind, separator, rest = location.partition(":")
    if separator and kind == "python":
        return _read_module(rest)
    return _read_path(rest if separator and kind == "file" else location)


def _read_path(path: str) -> ConfigFile:
    if not os.path.exists(path):
        raise ConfigError(f"the configuration file {path!r} does not exist (from {os.getcwd()})")
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as exc:
        raise ConfigError(f"the configuration file {path!r} cannot be read: {exc.strerror}") from exc
    namespace: dict[str, Any] = {"__name__": "__config__", "__file__": path, "__builtins__": __builtins__}
    with _failing(path):
        tree = ast.parse(source, path)
        exec(compile(tree, path, "exec"), namespace)  # noqa: S102 - a configuration file is Python
    return ConfigFile(path, namespace, *_names(tree))


def _read_module(name: str) -> ConfigFile:
    origin = f"python:{name}"
    with _failing(origin):
        loaded = sys.modules.get(name)
        module = importlib.import_module(name) if loaded is None else importlib.reload(loaded)  # a reload reads it anew
        tree = ast.Module(body=[], type_ignores=[])
        if module.__file__ is not None and module.__file__.endswith(".py"):
            with open(module.__file__, "rb") as file:
                tree = ast.parse(file.read(), module.__file__)
    return ConfigFile(origin, vars(module), *_names(tree))


class _failing:  # noqa: N801 - used as a statement
    """Turns whatever a configuration file raises into a ConfigError, and shows where it happened."""

    def __init__(self, origin: str) -> None:
        self.origin = origin

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, exc: BaseException | None, tb: Any) -> None:
        if isinstance(exc, Exception):
            traceback.print_exception(exc)
            raise ConfigError(
                f"the configuration file {self.origin!r} cannot be used: {type(exc).__name__}: {exc}"
            ) from exc


def _names(tree: ast.Module) -> tuple[frozenset[str], frozenset[str]]:
    """(names that the file reads, names that it assigns at its top level)."""
    read = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    return frozenset(read), frozenset(_assigned(tree.body))


def _assigned(body: list[ast.stmt]) -> Iterator[str]:
    for statement in body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield statement.name
        elif isinstance(statement, (ast.If, ast.Try, ast.With)):
            for part in ("body", "orelse", "finalbody"):
                yield from _assigned(getattr(statement, part, []))
        elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


def apply_config_file(cfg: Config, location: str) -> None:
    """Read a configuration file and set what it says.

    A configuration file may hold helpers: names that it reads itself, imports, private names. Any other name that is
    known, but no setting here, is an error, since its author meant it to have an effect. One that is nearly a setting
    gets a warning on standard error (there is no log yet): files in use may have such a slip, and must go on working.

    :raises ConfigError: when it cannot be read; :raises SettingError: for a value that is refused, or a setting that is
        not here.
    """
    file = read_config_file(location)
    for name, value in file.values.items():
        if name in cfg.settings:
            set_one(cfg, name, value, file.origin)
        elif name in file.assigned and name not in file.helpers and not name.startswith("_"):
            _check_stray(cfg, name, value, file.origin)


def _check_stray(cfg: Config, name: str, value: Any, origin: str) -> None:
    reason = absent.explain(name)
    if reason is not None and value:  # a falsy value asks for nothing
        raise SettingError(name, f"{origin}: {reason}")
    near = None if reason is not None else absent.nearest(name, cfg.settings, MISSPELLING_CUTOFF)
    if near is not None:
        text = f"Warning: {origin}: there is no setting {name!r}, so it has no effect; did you mean {near!r}?"
        print(text, file=sys.stderr, flush=True)
