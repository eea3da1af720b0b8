"""From a :class:`~gunicorn.http.events.Request` to a WSGI environ (PEP 3333, "environ Variables")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, BinaryIO, Final

from gunicorn import SERVER_SOFTWARE
from gunicorn.http.events import Request
from gunicorn.http.fields import Field
from gunicorn.wsgi.file import FileWrapper

REQUEST_KEYS: Final = (
    "REQUEST_METHOD", "RAW_URI", "PATH_INFO", "QUERY_STRING", "SERVER_PROTOCOL",
    "wsgi.url_scheme", "wsgi.input", "wsgi.early_hints",
)  # fmt: skip

Address = tuple[Any, ...] | str | bytes | None
"""A socket address as ``getsockname`` and ``accept`` give it: ``(host, port, …)``, or a path (often empty)."""


def server_environ(errors: Any, multithread: bool, multiprocess: bool) -> dict[str, Any]:
    """The keys that are the same for every request of a worker. *errors* is ``wsgi.errors``, a text stream."""
    return {
        "wsgi.version": (1, 0),
        "wsgi.errors": errors,
        "wsgi.multithread": multithread,
        "wsgi.multiprocess": multiprocess,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
        "wsgi.input_terminated": True,
        "SERVER_SOFTWARE": SERVER_SOFTWARE,
        "SCRIPT_NAME": "",
    }


def connection_environ(server: dict[str, Any], sock: Any, local: Address, peer: Address) -> dict[str, Any]:
    """The keys that are the same for every request of a connection, over those of the worker (*server*).

    *local* and *peer* are the addresses of the two ends. PEP 3333 wants SERVER_NAME and SERVER_PORT never empty: on a
    unix socket they say ``localhost`` and ``80``, and REMOTE_ADDR is empty.
    """
    environ = server.copy()
    if isinstance(local, tuple):
        environ["SERVER_NAME"], environ["SERVER_PORT"] = str(local[0]), str(local[1])
    else:
        environ["SERVER_NAME"], environ["SERVER_PORT"] = "localhost", "80"
    if isinstance(peer, tuple):
        environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = str(peer[0]), str(peer[1])
    else:
        environ["REMOTE_ADDR"] = ""
    environ["gunicorn.socket"] = sock
    # The request's own keys have their places already: a copy of a dict that need not grow is three times as fast.
    environ.update(dict.fromkeys(REQUEST_KEYS))
    return environ


def build_environ(
    connection: dict[str, Any], request: Request, body: BinaryIO, early_hints: Callable[..., None]
) -> dict[str, Any]:
    """The environ of one request; *connection* is from :func:`connection_environ`, *body* is ``wsgi.input``.

    Fields that stand more than once are joined by commas (RFC 9110 section 5.3), cookies by semicolons (RFC 6265
    section 5.4).
    """
    environ = connection.copy()
    environ.update(request.target.environ)
    environ["wsgi.url_scheme"] = request.scheme
    environ["wsgi.input"] = body
    environ["wsgi.early_hints"] = early_hints
    fields = request.fields
    size = len(environ) + len(fields)
    for field in fields:
        key, value = field.item
        environ[key] = value
    if len(environ) != size:
        _join_repeated(environ, fields)
    if request.script_name:
        _mount(environ, request.script_name)
    return environ


def _join_repeated(environ: dict[str, Any], fields: list[Field]) -> None:
    values: dict[str, list[str]] = {}
    for field in fields:
        key, text = field.item
        values.setdefault(key, []).append(text)
    for key, texts in values.items():
        environ[key] = ("; " if key == "HTTP_COOKIE" else ",").join(texts)


def _mount(environ: dict[str, Any], script_name: str) -> None:
    """Apply a trusted proxy's SCRIPT_NAME: the application is mounted there, and sees the path below it."""
    environ["SCRIPT_NAME"] = script_name
    path: str = environ["PATH_INFO"]
    if path == script_name or path.startswith(script_name.rstrip("/") + "/"):
        environ["PATH_INFO"] = path[len(script_name.rstrip("/")) :]
