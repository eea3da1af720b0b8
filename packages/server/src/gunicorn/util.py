"""Small helpers of the process and of names: loading classes and applications, privileges, descriptors, daemons.

Called by the settings, the master and the workers; ``import_app`` by embedders and tools too.
"""

import ast
import contextlib
import fcntl
import importlib
import inspect
import os
import socket
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

from gunicorn.errors import AppImportError

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

# Names -------------------------------------------------------------------------------------------------------------


def import_module(name: str) -> ModuleType:
    return importlib.import_module(name)


def load_class(uri: "str | type", default: str = "gunicorn.workers.sync.SyncWorker", section: str = "worker") -> type:
    """The class that ``uri`` means: a class itself, ``package.module.Class``, or a short name of the registry.

    :param section: what kind of class it is, for the error; ``"worker"`` also allows the short names of
        ``gunicorn.workers``.
    :raises ImportError: with the reason, when there is no such class.
    """
    if inspect.isclass(uri):
        return uri
    name = str(uri)
    if name == "default":
        name = default
    if section == "worker":
        from gunicorn.workers import resolve_worker_name

        name = resolve_worker_name(name)
    module_name, _, class_name = name.replace(":", ".").rpartition(".")
    if not module_name:
        raise ImportError(f"{name!r} names no {section} class; write 'package.module.Class'")
    module = import_module(module_name)
    try:
        cls = getattr(module, class_name)
    except AttributeError:
        raise ImportError(f"the module {module_name!r} has no {section} class {class_name!r}") from None
    if not inspect.isclass(cls):
        raise ImportError(f"{name!r} is not a class")
    return cls


def import_app(uri: str) -> Callable[..., Any]:
    """The application that ``uri`` means: ``module``, ``module:name``, or ``module:factory(arg, key=value)``.

    The name defaults to ``application``; the arguments of a factory are Python literals.

    :raises AppImportError: when the text cannot be read, names nothing, or names something that cannot be called.
        Exceptions that the module itself raises while it is imported come through as they are.
    """
    module_name, _, expression = uri.partition(":")
    name, args, kwargs = _parse_app_expression(uri, expression or "application")
    module = _import_app_module(uri, module_name)
    try:
        app = getattr(module, name)
    except AttributeError:
        raise AppImportError(f"{uri!r}: the module {module_name!r} has no attribute {name!r}") from None
    if args is not None:
        try:
            app = app(*args, **kwargs)
        except TypeError as exc:
            if exc.__traceback__ is not None and exc.__traceback__.tb_next is not None:
                raise  # not the call that failed, but something inside the factory
            raise AppImportError(f"{uri!r}: the factory {name!r} cannot be called like this: {exc}") from exc
    if app is None:
        raise AppImportError(f"{uri!r} is None, so there is no application to serve")
    if not callable(app):
        raise AppImportError(f"{uri!r} is a {type(app).__name__}, which cannot be called, so it is no application")
    return app  # type: ignore[no-any-return]


def _parse_app_expression(uri: str, expression: str) -> tuple[str, list[Any] | None, dict[str, Any]]:
    """``name`` gives (name, None, {}); ``name(1, a=2)`` gives (name, [1], {"a": 2})."""
    try:
        node = ast.parse(expression, mode="eval").body
    except SyntaxError:
        raise AppImportError(f"{uri!r}: {expression!r} is neither a name nor a call of a factory") from None
    if isinstance(node, ast.Name):
        return node.id, None, {}
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        try:
            args = [ast.literal_eval(arg) for arg in node.args]
            kwargs = {kw.arg: ast.literal_eval(kw.value) for kw in node.keywords if kw.arg is not None}
        except ValueError:
            raise AppImportError(f"{uri!r}: the arguments of a factory must be literals, such as 'dev' or 8") from None
        return node.func.id, args, kwargs
    raise AppImportError(f"{uri!r}: {expression!r} is neither a name nor a call of a factory")


def _import_app_module(uri: str, module_name: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        # Only when the module that was asked for is missing; a missing import inside it has its own message.
        if exc.name is None or not (module_name == exc.name or module_name.startswith(exc.name + ".")):
            raise
        hint = "set --chdir or --pythonpath if it lies elsewhere"
        if os.path.exists(module_name):
            stem = os.path.splitext(module_name)[0].replace(os.sep, ".")
            hint = f"did you mean '{stem}:{uri.partition(':')[2] or 'application'}'?"
        raise AppImportError(f"{uri!r}: there is no module {exc.name!r} (from {os.getcwd()}); {hint}") from exc


# The process -------------------------------------------------------------------------------------------------------


def getcwd() -> str:
    """The working directory as the shell calls it: $PWD, when that is the same directory, so that symlinks stay."""
    cwd = os.getcwd()
    with contextlib.suppress(KeyError, OSError):
        pwd = os.environ["PWD"]
        if os.path.isabs(pwd) and os.path.samefile(pwd, cwd):
            return pwd
    return cwd


def set_owner_process(uid: int | None, gid: int | None, initgroups: bool = False) -> None:
    """Give up privileges: become ``uid`` and ``gid``, for good. Nothing happens when they are already ours.

    A privileged process also leaves root's supplementary groups: with ``initgroups`` for all groups of the user,
    otherwise for ``gid`` alone.

    :raises OSError: when the process may not.
    """
    if (gid is not None and gid != os.getegid()) or (uid is not None and uid != os.geteuid()):
        group = os.getegid() if gid is None else gid
        if os.geteuid() == 0:
            user = _user_name(uid) if initgroups and uid is not None else None
            if user is not None:
                os.initgroups(user, group)
            else:
                os.setgroups([group])
        os.setgid(group)
    if uid is not None and uid != os.geteuid():
        os.setuid(uid)


def _user_name(uid: int) -> str | None:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None  # a numeric user without an account, as containers have them


def chown(path: str, uid: int, gid: int) -> None:
    os.chown(path, uid, gid)


def unlink(path: str) -> None:
    """Remove a file; nothing happens when it is not there."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(path)


def close_on_exec(fd: int) -> None:
    fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.fcntl(fd, fcntl.F_GETFD) | fcntl.FD_CLOEXEC)


def set_non_blocking(fd: int) -> None:
    os.set_blocking(fd, False)


def open_standard_descriptors() -> None:
    """Put /dev/null in the place of a standard stream that was closed before the start (``2>&-``, some supervisors).

    Or the next file or socket would get its number, and take what others print, or be closed in its stead.
    """
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(fd, "w" if fd else "r", closefd=False))  # noqa: SIM115 - for good


def daemonize(enable_stdio_inheritance: bool = False) -> None:
    """Become a daemon: a child of init in its own session, standard streams on /dev/null unless inherited."""
    for step in (os.setsid, lambda: None):
        if os.fork():
            os._exit(0)
        step()
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0,) if enable_stdio_inheritance else (0, 1, 2):
        os.dup2(null, fd)
    if null > 2:
        os.close(null)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def exit_child(status: int) -> None:
    """End a forked child as the interpreter ends: wait for threads, run atexit functions, flush, and never return.

    Not ``sys.exit``: that would unwind the stack of the master, which the child has inherited, and run its clean-up.
    """
    import atexit
    import threading

    try:
        for finish in (getattr(threading, "_shutdown", None), getattr(atexit, "_run_exitfuncs", None)):
            if finish is not None:
                with contextlib.suppress(BaseException):
                    finish()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(BaseException):
                stream.flush()
    finally:
        os._exit(status)


# Addresses and dates -----------------------------------------------------------------------------------------------


def is_ipv6(address: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
    except (ValueError, OSError):
        return False
    return True


Address = "tuple[str, int] | str | int"


def parse_address(netloc: str, default_port: int = 8000) -> "tuple[str, int] | str | int":
    """What ``--bind`` means: ``host:port``, ``host``, ``:port``, ``[v6]:port``, ``unix:path``, ``fd://number``.

    :return: (host, port), a path, or a descriptor number.
    :raises ValueError: when it cannot be read.
    """
    text = netloc.strip()
    scheme, separator, rest = text.partition("://")
    if separator and scheme.lower() in ("tcp", "unix", "fd"):
        text = rest
        if scheme.lower() == "unix":
            return _unix_path(netloc, rest)
        if scheme.lower() == "fd":
            if not rest.isdigit():
                raise ValueError(f"{netloc!r} is not an address: fd:// wants the number of an open descriptor")
            return int(rest)
    elif separator:
        raise ValueError(f"{netloc!r} is not an address: use host:port, unix:path or fd://number")
    elif text.startswith("unix:"):
        return _unix_path(netloc, text[len("unix:") :])
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise ValueError(f"{netloc!r} is not an address: write [v6 address]:port")
        port = port[1:]
    elif is_ipv6(text):
        host, port = text, ""
    else:
        host, _, port = text.rpartition(":") if ":" in text else (text, "", "")
    if not port:
        return (host.lower(), default_port)
    if not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{netloc!r} is not an address: {port!r} is not a port")
    return ((host or "0.0.0.0").lower(), int(port))  # noqa: S104 - ":8000" means every interface, as people know it


def _unix_path(netloc: str, path: str) -> str:
    if not path:
        raise ValueError(f"{netloc!r} is not an address: unix: wants a path")
    return path


def http_date(timestamp: float | None = None) -> str:
    """IMF-fixdate (RFC 9110, 5.6.7) of a Unix time in seconds, in English whatever the locale is."""
    year, month, day, hour, minute, second, weekday, *_ = time.gmtime(timestamp)
    return f"{WEEKDAYS[weekday]}, {day:02d} {MONTHS[month - 1]} {year:04d} {hour:02d}:{minute:02d}:{second:02d} GMT"


def host_port(address: Any) -> str:
    """How a socket's address is written in logs: ``host:port``, ``[v6]:port``, or the path."""
    if isinstance(address, tuple):
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    if isinstance(address, bytes):
        return os.fsdecode(address)
    return str(address)
