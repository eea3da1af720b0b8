"""An ASGI exchange in the words of the access log and the hooks, which are WSGI's; the ``asgi`` worker calls this."""

from __future__ import annotations

from typing import Any, Final

from gunicorn.asgi.cycle import HTTPCycle
from gunicorn.http.events import REASONS, Request

_PROTOCOLS: Final = {(1, 0): "HTTP/1.0", (1, 1): "HTTP/1.1", (2, 0): "HTTP/2"}


class ResponseRecord:
    """What ``Logger.atoms`` and ``post_request`` read of a response: status line, headers as text, bytes of body."""

    __slots__ = ("headers", "sent", "status")

    def __init__(self, cycle: HTTPCycle) -> None:
        self.status = f"{cycle.status} {REASONS.get(cycle.status, '')}".rstrip() if cycle.status else ""
        self.headers = [(_text(name), _text(value)) for name, value in cycle.headers]
        self.sent = cycle.sent


def environ_of(request: Request, scope: dict[str, Any]) -> dict[str, Any]:
    """The variables of *request* that log formats name, as a WSGI environ has them; without ``wsgi.input``."""
    target = request.target
    client, server = scope["client"], scope["server"]
    environ: dict[str, Any] = {
        "REQUEST_METHOD": target.method,
        "RAW_URI": target.raw,
        "SCRIPT_NAME": scope["root_path"],
        "PATH_INFO": scope["path"],
        "QUERY_STRING": target.query_string,
        "SERVER_PROTOCOL": _PROTOCOLS[target.version],
        "REMOTE_ADDR": client[0] if client else "",
        "REMOTE_PORT": str(client[1]) if client else "",
        "SERVER_NAME": server[0] if server else "",
        "SERVER_PORT": str(server[1] or "") if server else "",
        "wsgi.url_scheme": scope["scheme"],
    }
    for field in request.fields:
        key, text = field.key, field.text
        environ[key] = f"{environ[key]},{text}" if key in environ else text
    return environ


def _text(part: Any) -> str:
    return part if isinstance(part, str) else bytes(part).decode("latin-1")
