"""AccessLog: the quick way into the access log, for drivers; ``glogging.Logger.access`` is the long one.

The long way makes a ``LogRecord`` per line and passes it through handlers and formatters, which costs more than serving
a small request. While the log is set up as ``Logger.setup`` does it, with one handler of ours that prints lines, it
makes no difference if those lines are written as they are:

    driver ─► access(response, request, environ, started) ─► lines ─► flush() ─► one write to the handler's file

``access_format`` says what the function does. Drivers that call ``flush`` whenever they have nothing else to do may
collect lines in between (:meth:`AccessLog.collect`), or an event loop calls it; else every line is a write of its own.
Once a second it is checked that the set-up is still ours; when somebody has changed it, lines go the long way.

Several processes write to one file: each write is whole lines, and with O_APPEND one lands behind the other.
"""

from __future__ import annotations

import atexit
import os
import select
import stat
import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from time import monotonic
from typing import Any, Final

from gunicorn.access_format import ASGI, NAMESPACE, WSGI, Source, access_source, json_line, text_line
from gunicorn.atoms import now as date_now

Access = Callable[[Any, Any, Any, float], None]
"""Called after a response: the response, the request, the environ (or ASGI's scope), and its start (monotonic)."""

ASGIAccess = Callable[[Any], None]
"""The same for ASGI, with the exchange: ``request``, ``scope``, ``started``, ``status``, ``sent``, ``headers``."""

Schedule = Callable[[Callable[[], None]], Any]
"""Calls a function as soon as what is at hand is done: an event loop's."""

Collect = Callable[..., Callable[[], None]]
"""AccessLog.collect."""

HOLD: Final = 0.05  # seconds that a line waits at most for the next ones, where lines are collected and more come
PIPE_WRITE: Final = 4096  # bytes that a pipe takes in one piece (PIPE_BUF of Linux)
WRITE_TIMEOUT: Final = 1000  # milliseconds to wait for a pipe that is full and does not block
COMPLAIN: Final = 60.0  # seconds between two complaints that the log cannot be written

DIALECTS: Final[dict[str, Mapping[str, Source]]] = {"wsgi": WSGI, "asgi": ASGI}


def wsgi_access(log: Any) -> tuple[Access | None, Collect | None]:
    """What a WSGI driver calls after each response, or None when nobody wants to know; and how to collect lines, if it
    can.

    *log* is any logger with ``access_log_enabled`` and ``access``.
    """
    if not log.access_log_enabled:
        return None, None
    access = log.access

    def slow(resp: Any, req: Any, environ: Any, started: float) -> None:
        access(resp, req, environ, timedelta(seconds=monotonic() - started))

    make = getattr(log, "quick_access", None)
    quick: AccessLog | None = make("wsgi", slow) if make is not None else None
    return (slow, None) if quick is None else (quick.access, quick.collect)


def asgi_access(log: Any, schedule: Schedule) -> ASGIAccess | None:
    """The same for the asgi worker, whose event loop's ``call_soon`` is *schedule*."""
    if not log.access_log_enabled:
        return None
    access = log.access

    def slow(exchange: Any) -> None:
        from gunicorn.asgi.access import ResponseRecord, environ_of

        took = timedelta(seconds=monotonic() - exchange.started)
        access(ResponseRecord(exchange), exchange.request, environ_of(exchange.request, exchange.scope), took)

    make = getattr(log, "quick_access", None)
    quick: AccessLog | None = make("asgi", slow) if make is not None else None
    if quick is None:
        return slow
    quick.collect(schedule)
    return quick.access


class AccessLog:
    """Writes the access log of one worker; ``access`` is to be called after each response.

    ``date``, ``iso`` and ``began`` are the present second: in the common log format, in UTC by ISO 8601, and when it
    began in monotonic seconds.
    """

    def __init__(
        self,
        log: Any,
        handler: Any,
        dialect: str,
        slow: Callable[..., None],
        observe: Callable[[str, float], None] | None = None,
    ) -> None:
        """
        :param log: the Logger, whose only handler of the access log is *handler*.
        :param dialect: ``"wsgi"``, or ``"asgi"``: which objects ``access`` gets.
        :param slow: what to call instead when the log is no longer set up so.
        :param observe: called after each response with the status (three digits) and the seconds that it took.
        :raises ValueError: when the format cannot be read. :raises OSError: when the handler has no file.
        """
        self._log = log
        self._handler = handler
        self._stream = handler.stream
        self._fd = os.dup(self._stream.fileno())  # of its own: nobody closes it and leaves its number to a client
        self._whole = is_file(self._fd)
        self._lines: list[str] = []
        self._flushing = threading.Lock()
        self._hold = 0.0
        self._schedule: Schedule | None = None
        self._seen = 0  # lines that waited at the loop's last turn
        self._late = 0.0  # monotonic seconds: when those that wait have waited for long enough
        self._complained = -COMPLAIN
        self.next_second = self.due = self.began = 0.0
        self.date = self.iso = ""
        self._pid = os.getpid()
        self.access = self._compile(dialect, slow, observe)
        atexit.register(self._at_exit)

    def _compile(self, dialect: str, slow: Callable[..., None], observe: Any) -> Callable[..., None]:
        cfg, sources = self._log.cfg, DIALECTS[dialect]
        if cfg.log_json:
            pieces = json_line(cfg.access_log_json_fields, sources)
        else:
            pieces = text_line(cfg.access_log_format, sources)
        names: dict[str, Any] = {
            **NAMESPACE,
            "clock": self,
            "monotonic": monotonic,
            "slow": slow,
            "append": self._lines.append,
            "due": self._due,
            "observe": observe,
        }
        source = access_source(pieces, sources, observe is not None)
        exec(source, names)  # noqa: S102 - of the format it holds only literals
        access: Callable[..., None] = names["access"]
        return access

    # Lines ---------------------------------------------------------------------------------------------------------

    def collect(self, schedule: Schedule | None = None) -> Callable[[], None]:
        """Hold lines back, HOLD seconds at most, until the caller calls what is returned; or with *schedule*, by which
        the loop is asked each turn, until a turn brings no more of them.
        """
        self._schedule = schedule
        self._hold = 0.0 if schedule else HOLD
        return self.flush

    def _due(self) -> None:
        """A line has come that may not wait: the first one for long, or since the last ones were written."""
        if self._schedule is None:
            self.flush()
        else:
            self.due = float("inf")  # until flush() has been called
            self._seen, self._late = len(self._lines), monotonic() + HOLD
            self._schedule(self._turn)

    def _turn(self) -> None:
        """The loop's next turn has come; what it had at hand when it was asked is done."""
        waiting = len(self._lines)
        if waiting == self._seen or monotonic() >= self._late or self._schedule is None:
            self.flush()
        else:
            self._seen = waiting
            self._schedule(self._turn)

    def flush(self) -> None:
        """Write the lines that wait. Safe in several threads, and in a signal handler that interrupts it."""
        lines = self._lines
        while lines and self._flushing.acquire(blocking=False):  # else whoever flushes looks again when he is done
            try:
                batch = lines[:]
                self.due = monotonic() + self._hold if self._hold else 0.0
                try:
                    for piece in ["".join(batch)] if self._whole else pieces(batch, PIPE_WRITE):
                        self._write(piece)
                except OSError as exc:
                    self._complain(exc)
                del lines[: len(batch)]  # not before: an exit that interrupts this will flush again
            finally:
                self._flushing.release()

    def _write(self, text: str) -> None:
        data = text.encode("utf-8", "backslashreplace")
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                waiter = select.poll()
                waiter.register(self._fd, select.POLLOUT)
                if not waiter.poll(WRITE_TIMEOUT):
                    raise

    def _complain(self, exc: OSError) -> None:
        now = monotonic()
        if now - self._complained >= COMPLAIN:
            self._complained = now
            self._log.error("The access log cannot be written, and lines are lost: %s", exc)

    # The set-up ----------------------------------------------------------------------------------------------------

    def renew(self, now: float) -> bool:
        """Begin another second; False when the log is no longer set up as it was. *now* is in monotonic seconds."""
        if self._log.plain_access_handler() is not self._handler:
            self.flush()
            return False
        if self._handler.stream is not self._stream:
            self.reopen()
        wall = time.time()
        second = int(wall)
        self.iso = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        self.date = date_now()  # last: by this one lines are known to be of another second
        self.began = now - (wall - second)
        self.next_second = self.began + 1.0
        return True

    def reopen(self) -> None:
        """The handler has opened its file again: write what waits into the old one, and go on in the new one."""
        self.flush()
        self._stream = self._handler.stream
        os.dup2(self._stream.fileno(), self._fd, inheritable=False)
        self._whole = is_file(self._fd)

    def close(self) -> None:
        """Write what waits, and let go of the file."""
        atexit.unregister(self._at_exit)
        self.flush()
        os.close(self._fd)

    def _at_exit(self) -> None:
        if os.getpid() == self._pid:  # and not in a process that the application has forked
            self.flush()


def is_file(fd: int) -> bool:
    """Whether writes of any size stay whole among those of other processes; pipes only promise it for short ones."""
    return stat.S_ISREG(os.fstat(fd).st_mode)


def pieces(lines: list[str], most: int) -> list[str]:
    """*lines* joined to pieces of at most *most* bytes; a line that is longer is a piece of its own."""
    result: list[str] = []
    size = most
    for line in lines:
        length = len(line) if line.isascii() else len(line.encode("utf-8", "backslashreplace"))
        if size + length > most:
            result.append(line)
            size = length
        else:
            result[-1] += line
            size += length
    return result
