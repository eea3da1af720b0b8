"""What connections and drivers say to each other, the same for every HTTP version.

In: :class:`Request`, then :class:`Data` until ``end_stream``, or :class:`Disconnected`.
Out: any number of :class:`Informational`, one :class:`ResponseHead`, :class:`Data` until ``end_stream`` or
:class:`Trailers`.

Plain classes with slots rather than frozen dataclasses: one of each is made per request, and the plain constructor is
five times faster. Nobody changes an event after it was made.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from gunicorn.http.fields import Field

Header = tuple[bytes, bytes] | tuple[str, str]
"""A response header: bytes as ASGI has it, or str (latin-1) as WSGI has it."""

Headers = Iterable[Any]
"""Response headers as an application gives them, each a :data:`Header` if it is right; the connection finds out."""


LABEL_SIZE: Final = 104
"""Bytes of :attr:`Target.label`, the text that a worker's scoreboard slot shows while it runs the request."""


class Target:
    """A request line's target (RFC 9112 section 3.2), taken apart once and shared by requests that repeat it."""

    __slots__ = (
        "authority", "environ", "label", "method", "path", "path_bytes", "plain", "query", "query_string", "raw",
        "version",
    )  # fmt: skip

    def __init__(
        self, method: str, raw: str, path: bytes, path_bytes: bytes, query: bytes, authority: bytes | None, minor: int
    ) -> None:
        self.method = method
        self.raw = raw  # as it was sent
        self.path = path  # still percent-encoded
        self.path_bytes = path_bytes  # percent-decoded
        self.query = query
        self.query_string = query.decode("latin-1")
        self.authority = authority  # of the absolute form, else None
        self.version = (1, minor)
        self.plain = minor >= 1 and method != "HEAD"  # nothing about it restricts how the response is framed
        self.environ = {  # its part of a WSGI environ
            "REQUEST_METHOD": method,
            "RAW_URI": raw,
            "PATH_INFO": path_bytes.decode("latin-1"),
            "QUERY_STRING": self.query_string,
            "SERVER_PROTOCOL": "HTTP/1.1" if minor else "HTTP/1.0",
        }
        self.label = f"{method} {raw}".encode("latin-1")[:LABEL_SIZE].ljust(LABEL_SIZE, b"\0")


class Request:
    """The head of a request.

    ``content_length`` is None when the body is chunked; ``end_stream`` says that there is no body at all.
    ``scheme`` is ``"http"`` or ``"https"``, a trusted proxy's word included. ``headers`` and the names that follow it
    are what hooks such as ``pre_request(worker, req)`` use.
    """

    __slots__ = (
        "content_length",
        "end_stream",
        "expects_continue",
        "fields",
        "keep_alive",
        "logged",
        "scheme",
        "script_name",
        "stream_id",
        "target",
    )

    def __init__(
        self,
        stream_id: int,
        target: Target,
        fields: list[Field],
        content_length: int | None,
        scheme: str,
        keep_alive: bool,
        expects_continue: bool,
        script_name: str,
    ) -> None:
        self.stream_id = stream_id
        self.target = target
        self.fields = fields
        self.content_length = content_length
        self.end_stream = content_length == 0
        self.scheme = scheme
        self.keep_alive = keep_alive
        self.expects_continue = expects_continue
        self.script_name = script_name
        self.logged: Any = None  # what the access log has made of it, for when the same bytes come again

    @property
    def method(self) -> str:
        return self.target.method

    @property
    def uri(self) -> str:
        """The target as it was sent."""
        return self.target.raw

    @property
    def path(self) -> str:
        """The path as it was sent, percent-encoded."""
        return self.target.path.decode("latin-1")

    @property
    def query(self) -> str:
        return self.target.query_string

    @property
    def version(self) -> tuple[int, int]:
        return self.target.version

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The header fields as ``(NAME, value)``, names in upper case."""
        return [(field.pair[0].decode("latin-1").upper(), field.text) for field in self.fields]

    def should_close(self) -> bool:
        """Whether the connection ends after this request."""
        return not self.keep_alive

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.uri}>"


class Data:
    """A part of a message body, in either direction."""

    __slots__ = ("data", "end_stream", "stream_id")

    def __init__(self, data: bytes, end_stream: bool = False, stream_id: int = 1) -> None:
        self.data = data
        self.end_stream = end_stream
        self.stream_id = stream_id


class Disconnected:
    """The peer will send no more, though the request is not complete."""

    __slots__ = ("stream_id",)

    def __init__(self, stream_id: int = 1) -> None:
        self.stream_id = stream_id


class Informational:
    """An interim response (RFC 9110 section 15.2), such as 100 Continue or 103 Early Hints."""

    __slots__ = ("headers", "status", "stream_id")

    def __init__(self, status: int, headers: Headers = (), stream_id: int = 1) -> None:
        self.status = status
        self.headers = headers
        self.stream_id = stream_id


class ResponseHead:
    """The final response, with as much of its body as is known already.

    With ``end_stream`` the response is complete: its length is known and needs no chunks.
    """

    __slots__ = ("body", "end_stream", "headers", "reason", "status", "stream_id")

    def __init__(
        self,
        status: int,
        headers: Headers,
        body: bytes = b"",
        end_stream: bool = False,
        reason: str | None = None,
        stream_id: int = 1,
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.end_stream = end_stream
        self.reason = reason
        self.stream_id = stream_id


class Trailers:
    """The end of a response with fields after its body (RFC 9110 section 6.5); lost where the framing has no room."""

    __slots__ = ("headers", "stream_id")

    def __init__(self, headers: Headers, stream_id: int = 1) -> None:
        self.headers = headers
        self.stream_id = stream_id


InEvent = Request | Data | Disconnected
OutEvent = Informational | ResponseHead | Data | Trailers

REASONS: Final = {
    100: "Continue", 101: "Switching Protocols", 102: "Processing", 103: "Early Hints",
    200: "OK", 201: "Created", 202: "Accepted", 203: "Non-Authoritative Information", 204: "No Content",
    205: "Reset Content", 206: "Partial Content", 207: "Multi-Status", 208: "Already Reported", 226: "IM Used",
    300: "Multiple Choices", 301: "Moved Permanently", 302: "Found", 303: "See Other", 304: "Not Modified",
    305: "Use Proxy", 307: "Temporary Redirect", 308: "Permanent Redirect",
    400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 406: "Not Acceptable", 407: "Proxy Authentication Required", 408: "Request Timeout",
    409: "Conflict", 410: "Gone", 411: "Length Required", 412: "Precondition Failed", 413: "Content Too Large",
    414: "URI Too Long", 415: "Unsupported Media Type", 416: "Range Not Satisfiable", 417: "Expectation Failed",
    421: "Misdirected Request", 422: "Unprocessable Content", 423: "Locked", 424: "Failed Dependency",
    425: "Too Early", 426: "Upgrade Required", 428: "Precondition Required", 429: "Too Many Requests",
    431: "Request Header Fields Too Large", 451: "Unavailable For Legal Reasons",
    500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable",
    504: "Gateway Timeout", 505: "HTTP Version Not Supported", 506: "Variant Also Negotiates",
    507: "Insufficient Storage", 508: "Loop Detected", 511: "Network Authentication Required",
}  # fmt: skip
"""Reason phrases of the IANA HTTP status code registry."""
