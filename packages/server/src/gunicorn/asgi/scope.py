"""Builds the connection scopes that ASGI applications are called with; the asyncio driver calls this for each request.

Source: the ASGI specification, "HTTP & WebSocket ASGI Message Format" 2.4 and "Lifespan Protocol" 2.0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gunicorn.http.events import Request

SPEC_VERSION: Final = "2.4"
"""Of the HTTP specification. Since 2.4 ``send()`` raises an OSError when the client is gone, and so does ours."""

LIFESPAN_SPEC_VERSION: Final = "2.0"

Copies = tuple[Callable[[], dict[str, Any]], Callable[[], Any], Callable[[], Any]]
"""Methods that copy a scope, its headers and its extensions."""

Address = tuple[str, int | None]
"""Host and port; for a listening unix socket its path and None."""

_HTTP_VERSIONS: Final = {(1, 0): "1.0", (1, 1): "1.1", (2, 0): "2"}
_ASGI: Final = {"version": "3.0", "spec_version": SPEC_VERSION}
_copy_asgi: Final = _ASGI.copy
_FILES: Final[dict[str, dict[str, Any]]] = {"http.response.pathsend": {}}
# What HTTP/1.0 does not have is not offered there: interim responses (RFC 9110 section 15.2), and trailers.
_MODERN: Final[dict[str, dict[str, Any]]] = {
    "http.response.early_hint": {},
    "http.response.informational": {},
    "http.response.trailers": {},
}
_EXTENSIONS: Final[dict[tuple[int, int], dict[str, dict[str, Any]]]] = {
    (1, 0): _FILES,
    (1, 1): {**_FILES, **_MODERN},
    (2, 0): _MODERN,
}


class ScopeMaker:
    """Makes the scopes of one connection's requests.

    *client* is None for peers on a unix socket. *root_path* is the setting's; a trusted proxy's ``SCRIPT_NAME`` wins
    over it. *state* is the lifespan's: each request gets a shallow copy. *tls* is the value of the extension ``tls``,
    for connections that have it (``asgi.tls``).
    """

    __slots__ = ("_client", "_copies", "_copy_state", "_last", "_root_path", "_server", "tls")

    def __init__(self, client: Address | None, server: Address | None, root_path: str, state: dict[str, Any]) -> None:
        self._client = client
        self._server = server
        self._root_path = root_path
        self._copy_state = state.copy
        self._last: Request | None = None  # a connection gives the same one again when the same bytes come
        self._copies: Copies | None = None  # what copies its scope, once it has come twice
        self.tls: dict[str, Any] | None = None

    def make(self, request: Request) -> dict[str, Any]:
        """The scope of *request*. Nothing in it that can be changed is shared, but for what ``state`` holds.

        ``path`` stays as it was sent, hence includes the root path where the proxy passed it on. Bytes in it that are
        no UTF-8 become U+FFFD; ``raw_path`` has them.
        """
        copies = self._copies
        if request is not self._last:
            self._last, self._copies = request, None
            return self._new(request)
        if copies is None:
            template = self._new(request)
            copies = self._copies = template.copy, template["headers"].copy, template["extensions"].copy
        copy, copy_headers, copy_extensions = copies
        scope = copy()
        scope["asgi"] = _copy_asgi()
        scope["headers"] = copy_headers()
        scope["state"] = self._copy_state()
        scope["extensions"] = copy_extensions()
        return scope

    def _new(self, request: Request) -> dict[str, Any]:
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
            "root_path": request.script_name or self._root_path,
            "headers": [field.pair for field in request.fields],
            "client": self._client,
            "server": self._server,
            "state": self._copy_state(),
            "extensions": self._extensions(target.version),
        }

    def _extensions(self, version: tuple[int, int]) -> dict[str, Any]:
        found = _EXTENSIONS[version].copy()
        if self.tls is not None:
            found["tls"] = self.tls
        return found


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
