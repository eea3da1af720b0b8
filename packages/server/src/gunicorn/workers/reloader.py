"""Reloader: ends a worker when its code changes on disk (``--reload``), for the master to start a fresh one.

A thread of the worker, started by ``workers.base``. Two engines say when to look: ``poll`` looks once a second,
``inotify`` (Linux) waits for the kernel to report a change. What has changed is decided alike, by the files'
modification times.
"""

import ctypes
import glob
import os
import select
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from gunicorn.errors import ConfigError

INTERVAL = 1.0  # seconds: between two looks when polling; until newly imported modules are watched too

# <sys/inotify.h>
IN_MODIFY, IN_ATTRIB, IN_CLOSE_WRITE, IN_MOVED_TO, IN_CREATE = 0x2, 0x4, 0x8, 0x80, 0x100
IN_NONBLOCK, IN_CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC
WATCHED = IN_MODIFY | IN_ATTRIB | IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE


def module_files() -> Iterator[str]:
    """The source files of all modules that are loaded now."""
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if isinstance(path, str):
            yield path[:-1] if path.endswith((".pyc", ".pyo")) else path


def files_of(exc: BaseException) -> Iterator[str]:
    """The files that an exception is about; what fails to be imported is no module that could be watched."""
    if isinstance(exc, SyntaxError) and exc.filename:
        yield exc.filename
    yield from (frame.filename for frame in traceback.extract_tb(exc.__traceback__))
    for cause in (exc.__cause__, exc.__context__):
        if cause is not None:
            yield from files_of(cause)


class Watchlist:
    """Files and their modification times, remembered from when a file is first seen."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self._patterns = list(patterns)
        self._extra: set[str] = set()
        self._times: dict[str, float] = {}

    def add(self, path: str) -> None:
        """Watch a file besides those of modules."""
        self._extra.add(path)
        self._remember(path)

    def refresh(self) -> set[str]:
        """All files to watch now; those that are new are remembered."""
        matches = (path for pattern in self._patterns for path in glob.iglob(pattern, recursive=True))
        files = {*module_files(), *self._extra, *matches}
        for path in files - self._times.keys():
            self._remember(path)
        return files

    def changed(self) -> str | None:
        """A file that has changed since it was first seen, if there is one."""
        for path, remembered in list(self._times.items()):  # the main thread adds to it
            modified = _modified(path)
            if modified is not None and modified != remembered:
                return path
        return None

    def _remember(self, path: str) -> None:
        modified = _modified(path)
        if modified is not None:
            self._times[path] = modified


def _modified(path: str) -> float | None:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return None  # removed, perhaps for a moment, as editors do


class Poll:
    """The engine that looks again and again."""

    def wait(self, files: Iterable[str]) -> bool:
        """Wait until it is time to look; true when it is."""
        time.sleep(INTERVAL)
        return True


class Inotify:
    """The engine that lets the kernel tell (inotify(7)), through the C library, since Python has no module for it.

    :raises OSError: where there is no inotify, or too many use it.
    """

    def __init__(self) -> None:
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            self._add_watch = libc.inotify_add_watch
            self._fd = libc.inotify_init1(IN_NONBLOCK | IN_CLOEXEC)
        except AttributeError as exc:
            raise OSError("this system has no inotify") from exc
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self._watched: set[str] = set()

    def wait(self, files: Iterable[str]) -> bool:
        """Wait for a change in the directories of ``files``, for ``INTERVAL`` at most; true when there was one.

        Also true, at once, when directories are new: what has changed before they were watched has not been reported.
        """
        new = {os.path.dirname(path) or "." for path in files} - self._watched
        for directory in new:
            self._add_watch(self._fd, os.fsencode(directory), WATCHED)  # one that does not exist cannot be watched
        self._watched |= new
        if new:
            return True
        ready = select.select([self._fd], [], [], INTERVAL)[0]
        if ready:
            os.read(self._fd, 65536)
        return bool(ready)


def engine(name: str) -> Any:
    """The engine of that name; ``auto`` is inotify where it works, else poll.

    :raises ConfigError: when inotify is asked for and does not work.
    """
    if name == "poll":
        return Poll()
    try:
        return Inotify()
    except OSError as exc:
        if name == "auto":
            return Poll()
        raise ConfigError(f"reload_engine 'inotify' does not work here: {exc}; use poll") from exc


class Reloader(threading.Thread):
    """Calls ``changed(path)`` once, when a watched file has changed, and ends."""

    def __init__(self, watchlist: Watchlist, engine: Any, changed: Callable[[str], None]) -> None:
        super().__init__(name="reloader", daemon=True)
        self.watchlist = watchlist
        self._engine = engine
        self._changed = changed
        self.watchlist.refresh()  # the times as they are before the application is loaded

    def run(self) -> None:
        while True:
            if self._engine.wait(self.watchlist.refresh()):
                path = self.watchlist.changed()
                if path is not None:
                    self._changed(path)
                    return


def failing_app(text: str) -> Callable[..., Any]:
    """An application, WSGI and ASGI alike, that answers every request with status 500 and ``text``.

    It stands in for one that cannot be loaded, until its files change.
    """
    body = text.encode("utf-8", "replace")
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]

    async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            raw = [(name.lower().encode(), value.encode()) for name, value in headers]
            await send({"type": "http.response.start", "status": 500, "headers": raw})
            await send({"type": "http.response.body", "body": body})

    def app(*args: Any) -> Any:
        if len(args) != 2:
            return asgi(*args)
        start_response = args[1]
        start_response("500 Internal Server Error", headers)
        return [body]

    return app
