"""Calls a WSGI application for one request, whatever driver received it: hooks, access log, failures, counters."""

from __future__ import annotations

import contextlib
import threading
from time import monotonic
from typing import Any, BinaryIO, Final

from gunicorn.access_log import wsgi_access
from gunicorn.drivers.errors import PeerGoneError
from gunicorn.http.connection import Connection
from gunicorn.http.errors import LocalProtocolError, RemoteProtocolError
from gunicorn.http.events import Request, ResponseHead
from gunicorn.supervision.scoreboard import BUSY_SINCE, ERRORS, REQUESTS, SLOT_SIZE, ScoreboardSlot
from gunicorn.wsgi.environ import build_environ, server_environ
from gunicorn.wsgi.response import Response, Transmit, WSGIApp, respond

FAILURE_PAGE: Final = (
    b"<html><head><title>Internal Server Error</title></head><body><h1>Internal Server Error</h1></body></html>\n"
)


class Runner:
    """What the requests of one WSGI worker have in common. *multithread* goes into the environ.

    It tells ``worker.reached`` of their number, for ``max_requests``.
    """

    def __init__(self, worker: Any, multithread: bool) -> None:
        cfg = worker.cfg
        self.app: WSGIApp = worker.wsgi
        self.log = worker.log
        self.environ = server_environ(
            errors=ErrorStream(worker.log), multithread=multithread, multiprocess=cfg.workers > 1
        )
        self._counting = threading.Lock() if multithread else None
        self._worker = worker
        slot: ScoreboardSlot = worker.scoreboard
        self._numbers, self._times, self._label = slot.q, slot.d, slot.text
        self._pre_request = cfg.own_hook("pre_request")
        self._post_request = cfg.own_hook("post_request")
        self._access, self.collect_lines = wsgi_access(worker.log)  # for drivers that flush before they wait
        self._observed = bool(self._pre_request or self._post_request or self._access)
        self._mark: int = worker.next_mark

    def run(
        self, http: Connection, request: Request, body: BinaryIO, connection: dict[str, Any], transmit: Transmit
    ) -> None:
        """Serve *request*: afterwards ``http`` holds the rest of the answer, and says whether the connection goes on.

        *connection* is the environ of :func:`~gunicorn.wsgi.environ.connection_environ`. Nothing of :class:`Exception`
        comes out: what the application raises is logged and answered with 500 where that is still possible.
        """
        self._times[BUSY_SINCE] = started = monotonic()
        self._label[:] = request.target.label
        response = Response(http, request, transmit)
        environ = build_environ(connection, request, body, response.early_hints)
        try:
            if self._observed and self._pre_request:
                self._pre_request(self._worker, request)
            respond(self.app, environ, response)
        except PeerGoneError as gone:
            self.log.debug("%s %s: %s", request.method, request.uri, gone)
            http.abort()
        except RemoteProtocolError as refused:  # by a body that is read while it arrives, which has logged it
            http.refuse(refused)
        except Exception as error:
            self._fail(http, request, response, error)
        if self._observed:
            self._report(request, environ, response, started)
        self._times[BUSY_SINCE] = 0.0
        if self._counting is None:
            self._numbers[REQUESTS] = served = self._numbers[REQUESTS] + 1
        else:
            with self._counting:
                self._numbers[REQUESTS] = served = self._numbers[REQUESTS] + 1
        if served >= self._mark:
            self._mark = self._worker.reached(served)

    def _report(self, request: Request, environ: dict[str, Any], response: Response, started: float) -> None:
        """The access log's line and the post_request hook; what they raise is logged and harms no client."""
        try:
            if self._access:
                self._access(response, request, environ, started)
            if self._post_request:
                self._post_request(self._worker, request, environ, response)
        except Exception:
            self.log.exception("Exception in the access log or post_request hook")

    def _fail(self, http: Connection, request: Request, response: Response, error: Exception) -> None:
        self._numbers[ERRORS] += 1
        if isinstance(error, LocalProtocolError):
            self.log.error("Error handling request %s: %s", request.uri, error)
        else:
            self.log.exception("Error handling request %s", request.uri)
        try:
            if response.started:
                http.abort()
            else:
                response.status = "500 Internal Server Error"
                response.headers = [("Content-Type", "text/html"), ("Connection", "close")]
                http.send(ResponseHead(500, response.headers, FAILURE_PAGE, True))
                response.sent = len(FAILURE_PAGE)
        except LocalProtocolError:
            http.abort()


class GreenletRunner(Runner):
    """A Runner of which many requests run at once, on one thread: so it counts without a lock, and leaves it to the
    driver to show in the scoreboard what runs.
    """

    def __init__(self, worker: Any) -> None:
        super().__init__(worker, multithread=True)
        unseen = ScoreboardSlot(-1, memoryview(bytearray(SLOT_SIZE)))
        self._times, self._label = unseen.d, unseen.text
        self._counting = None


class ErrorStream:
    """``wsgi.errors``: a text stream into the error log's handlers, safe to share between threads.

    What cannot be written (a full disk) is lost; no request fails for that.
    """

    def __init__(self, log: Any) -> None:
        self._handlers = log.error_log.handlers
        self._lock = threading.Lock()

    def write(self, text: str) -> None:
        with self._lock:
            for stream in self._streams():
                with contextlib.suppress(OSError):
                    stream.write(text)
                    stream.flush()

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        for stream in self._streams():
            with contextlib.suppress(OSError):
                stream.flush()

    def _streams(self) -> list[Any]:
        return [handler.stream for handler in self._handlers if getattr(handler, "stream", None) is not None]
