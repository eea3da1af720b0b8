"""One call of a WSGI application: what it says becomes events of the connection (PEP 3333).

    driver ─► respond(app, environ, response) ─► app(environ, response.start_response) ─► chunks ─► Connection.send

The response transmits what the application yields at once, and leaves the end of the message for the driver to write,
so that a whole response is one write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Final

from gunicorn.http.connection import Connection
from gunicorn.http.errors import LocalProtocolError
from gunicorn.http.events import Data, Informational, Request, ResponseHead
from gunicorn.wsgi.file import FileWrapper

ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
WSGIApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[Any]]
Transmit = Callable[[list[bytes]], None]
"""Writes bytes to the peer, one part after the other, waiting while it reads slowly. Raises OSError when it is gone."""

_MOST_KEPT: Final = 256
_JOINED: Final = 8192  # bytes of a part up to which copying it behind its head costs less than a list of addresses
_statuses: dict[str, tuple[int, str]] = {}


class Response:
    """The answer of one request, while the application makes it and, for the access log, afterwards.

    ``status`` is the application's status string (``"200 OK"``), ``headers`` its list of pairs, ``sent`` the number of
    body bytes, ``started`` whether the head was written.
    """

    __slots__ = ("_code", "_connection", "_reason", "_transmit", "headers", "request", "sent", "started", "status")

    def __init__(self, connection: Connection, request: Request, transmit: Transmit) -> None:
        self._connection = connection
        self._transmit = transmit
        self.request = request
        self.status = ""
        self.headers: Any = []
        self.sent = 0
        self.started = False

    @property
    def status_code(self) -> int:
        """The status as a number; 0 when the application has not given any yet."""
        return self._code if self.status else 0

    # What comes from an application is typed Any: nothing has checked yet that it is what PEP 3333 says.

    def start_response(self, status: Any, headers: Any, exc_info: ExcInfo | None = None) -> Callable[[bytes], None]:
        """PEP 3333's ``start_response``: *status* is a str, *headers* a list of pairs of str.

        A second call needs *exc_info*, which is raised when the head is out.
        """
        if exc_info:
            try:
                if self.started and exc_info[1] is not None:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # break the reference cycle, as PEP 3333 asks
        elif self.status:
            raise LocalProtocolError("start_response was called twice without exc_info (PEP 3333)")
        parsed = _statuses.get(status)
        if parsed is None:
            parsed = _parse_status(status)
        self._code, self._reason = parsed
        self.status = status
        self.headers = headers
        return self.write

    def early_hints(self, headers: Iterable[tuple[str, str]]) -> None:
        """``environ["wsgi.early_hints"]``: send 103 Early Hints now (RFC 8297)."""
        self._connection.send(Informational(103, headers))
        self._transmit(self._connection.parts_to_send())

    def write(self, data: Any) -> None:
        """Send *data* as a part of the body, now, with the head before it if that is still due."""
        self._send(data, False)
        if len(data) > _JOINED:
            self._transmit(self._connection.parts_to_send())
        elif joined := self._connection.data_to_send():
            self._transmit([joined])

    def end(self, data: Any = b"") -> None:
        """End the response, with *data* as the last part of its body; the driver writes it."""
        if self.status and not self.started and type(data) is bytes:
            # What most applications do, without the detour.
            self._connection.send_whole(self._code, self.headers, data, self._reason)
            self.started = True
            self.sent = len(data)
        else:
            self._send(data, True)

    def begin_file(self, size: int) -> int | None:
        """Answer with a file that has *size* bytes to send: how many of them the driver writes itself, after what the
        connection has to send; 0 when the request or the status forbids a body.

        None when the file has to be sent in parts like any other body: something was sent already, or the application
        promised a greater Content-Length. A smaller one is the end of what is sent (PEP 3333, "Optional
        Platform-Specific File Handling").
        """
        if self.started or not self.status:
            return None
        headers = self.headers
        declared = next((value for name, value in headers if name.lower() == "content-length"), None)
        if declared is None:
            headers = [*headers, ("Content-Length", str(size))]
        elif not declared.isascii() or not declared.isdigit() or int(declared) > size:
            return None
        else:
            size = int(declared)
        self._connection.send(ResponseHead(self._code, headers, b"", False, self._reason))
        self.started = True
        left = self._connection.pass_body()
        self.sent += left
        return left

    def _send(self, data: Any, end: bool) -> None:
        if not isinstance(data, bytes):
            raise LocalProtocolError(f"the application sent {type(data).__name__}, not bytes (PEP 3333)")
        if self.started:
            self._connection.send(Data(data, end))
        elif self.status:
            self._connection.send(ResponseHead(self._code, self.headers, data, end, self._reason))
            self.started = True
        else:
            raise LocalProtocolError("the application sent a body before it called start_response (PEP 3333)")
        self.sent += len(data)


def respond(app: WSGIApp, environ: dict[str, Any], response: Response) -> None:
    """Call *app* and send what it answers through *response*; its iterable is closed whatever happens.

    Raises what the application raises, :class:`LocalProtocolError` for an answer that cannot be sent, and OSError when
    the peer has gone.
    """
    result = app(environ, response.start_response)
    try:
        if type(result) is list or type(result) is tuple:
            # All of it is here, so its length is known and nothing is delayed by joining it.
            response.end(result[0] if len(result) == 1 else b"".join(result))
        elif not isinstance(result, FileWrapper) or not result.deliver(response):
            for data in result:
                if data:
                    response.write(data)
            response.end()
    finally:
        if hasattr(result, "close"):
            result.close()


def _parse_status(status: Any) -> tuple[int, str]:
    code, _, reason = status.partition(" ") if isinstance(status, str) else ("", "", "")
    if len(code) != 3 or not code.isascii() or not code.isdigit():
        raise LocalProtocolError(f"status {status!r} is not three digits, a space and a reason (PEP 3333)")
    parsed = int(code), reason
    if len(_statuses) < _MOST_KEPT:
        _statuses[status] = parsed
    return parsed
