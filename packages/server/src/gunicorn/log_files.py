"""The logs' files when things go wrong: rotated away, on a full disk. Used by ``gunicorn.glogging``."""

import contextlib
import logging
import os
import sys
import time


def replace_file(fd: int, path: str, owner: tuple[int, int] | None = None) -> None:
    """Let *fd* mean the file *path*, opened for appending; if it has to be made it is *owner*'s, a user and a group.

    The master does so before the workers, which may not be allowed to make it. One that is there was made by whoever
    rotates the files, as they want to have it.

    :raises OSError: when it cannot be opened; *fd* stays what it was.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    try:
        new = os.open(path, flags | os.O_EXCL, 0o666)
    except FileExistsError:
        new = os.open(path, flags, 0o666)
        owner = None
    try:
        if owner is not None:
            os.fchown(new, *owner)
        os.dup2(new, fd, inheritable=False)
    finally:
        os.close(new)


def close_handler(handler: logging.Handler) -> None:
    """Close it, though what it holds back may have no room on its disk."""
    with contextlib.suppress(OSError):
        handler.close()


class Losses:
    """``Handler.handleError`` of our handlers: a disk that is full is said in one line now and then, not with a
    traceback for each record that is lost.
    """

    EVERY = 10.0  # seconds

    def __init__(self, handler: logging.Handler, output: str) -> None:
        self._otherwise = handler.handleError
        self._output = output
        self._due = 0.0

    def __call__(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            self._otherwise(record)
        elif sys.stderr is not None and time.monotonic() >= self._due:
            self._due = time.monotonic() + self.EVERY
            try:
                print(f"The log {self._output!r} cannot be written, and lines are lost: {error}", file=sys.stderr)
            except (OSError, ValueError):  # it is standard error
                pass
