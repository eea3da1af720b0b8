"""Builds the connection scopes that ASGI applications are called with; the asyncio driver calls this for each request.

Source: the ASGI specification, "HTTP & WebSocket ASGI Message Format" 2.4 and "Lifespan Protocol" 2.0.
"""

from __future__ import annotations

from typing import Any, Final

from gunicorn.http.events import Request

SPEC_VERSION: Final = "2.4"
"""Of the HTTP specification. Since 2.4 ``send()`` raises an OSError when the client is gone, and so does ours."""

LIFESPAN_SPEC_VERSION: Final = "2.0"

Address = tuple[str, int | None]
"""Host and port; for a listening unix socket its path and None."""

_HTTP_VERSIONS: Final = {(1, 0): "1.0", (1, 1): "1.1", (2, 0): "2"}
_ASGI: Final = {"version": "3.0", "spec_version": SPEC_VERSION}
# Interim responses do not exist in HTTP/1.0 (RFC 9110 section 15.2), so they are not offered there.
_INTERIM: Final[dict[str, dict[str, Any]]] = {"http.response.early_hint": {}, "http.response.informational": {}}
_EXTENSIONS: Final[dict[tuple[int, int], dict[str, dict[str, Any]]]] = {(1, 0): {}, (1, 1): _INTERIM, (2, 0): _INTERIM}


def http_scope(
    request: Request, client: Address | None, server: Address | None, root_path: str, state: dict[str, Any]
) -> dict[str, Any]:
    """The scope of an ``http`` connection.

    *client* is None for peers on a unix socket. *root_path* is the setting's; a trusted proxy's ``SCRIPT_NAME`` wins
    over it. ``path`` stays as it was sent, hence includes the root path where the proxy passed it on. Bytes in it that
    are no UTF-8 become U+FFFD; ``raw_path`` has them. *state* is the lifespan's: each request gets a shallow copy.
    """
    target = request.target
    return {
        "type": "http",
        "asgi": _ASGI.copy(),
        "http_version": _HTTP_VERSIONS[target.version],
        "method": target.method,
        "scheme": request.scheme,
        "path": target.path_bytes.decode("utf-8", "replace"),
        "raw_path": target.path,
        "query_string": target.query,
        "root_path": request.script_name or root_path,
        "headers": [field.pair for field in request.fields],
        "client": client,
        "server": server,
        "state": state.copy(),
        "extensions": _EXTENSIONS[target.version].copy(),
    }


def lifespan_scope(state: dict[str, Any]) -> dict[str, Any]:
    """The scope of the ``lifespan`` protocol. *state* is filled by the application and copied to each request."""
    return {
        "type": "lifespan",
        "asgi": {"version": "3.0", "spec_version": LIFESPAN_SPEC_VERSION},
        "state": state,
    }


def peer_address(name: Any) -> Address | None:
    """A socket's peer as a scope has it, from what ``accept`` or ``getpeername`` gave.

    Two items also for IPv6, whose flow info and scope id are left out. None for unix sockets, whose peers have no name.
    """
    if isinstance(name, tuple) and len(name) >= 2:
        return (name[0], name[1])
    return None


def own_address(name: Any) -> Address | None:
    """A socket's own name as a scope has it: host and port, or a unix socket's path and None."""
    if isinstance(name, tuple) and len(name) >= 2:
        return (name[0], name[1])
    if isinstance(name, bytes):  # Linux's abstract names
        return (name.decode("utf-8", "surrogateescape"), None)
    return (name, None) if name else None
