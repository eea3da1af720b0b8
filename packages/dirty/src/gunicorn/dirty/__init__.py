"""The dirty pool: processes that hold what is heavy or stateful, called from web requests.

    from gunicorn.dirty import DirtyApp, get_dirty_client

Names are loaded by their first use (PEP 562): the server's master imports this package and must stay small.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import stash
    from .app import DirtyApp
    from .batching import batched
    from .client import DirtyClient, close_dirty_client, get_dirty_client, get_dirty_client_async
    from .current import CurrentCall, current_call
    from .errors import (
        DirtyAppError,
        DirtyAppNotFoundError,
        DirtyCancelledError,
        DirtyConnectionError,
        DirtyError,
        DirtyNoWorkersAvailableError,
        DirtyOverloadedError,
        DirtyProtocolError,
        DirtyTimeoutError,
        DirtyWorkerError,
        StashError,
        StashFullError,
        StashKeyNotFoundError,
        StashTableNotFoundError,
    )
    from .overload import overload_asgi, overload_wsgi

__all__ = [
    "CurrentCall",
    "DirtyApp",
    "DirtyAppError",
    "DirtyAppNotFoundError",
    "DirtyCancelledError",
    "DirtyClient",
    "DirtyConnectionError",
    "DirtyError",
    "DirtyNoWorkersAvailableError",
    "DirtyOverloadedError",
    "DirtyProtocolError",
    "DirtyTimeoutError",
    "DirtyWorkerError",
    "StashError",
    "StashFullError",
    "StashKeyNotFoundError",
    "StashTableNotFoundError",
    "batched",
    "close_dirty_client",
    "current_call",
    "get_dirty_client",
    "get_dirty_client_async",
    "overload_asgi",
    "overload_wsgi",
    "stash",
]

# Where each name is, unless in errors.
_HOMES = {
    "DirtyApp": "app",
    "batched": "batching",
    **dict.fromkeys(("CurrentCall", "current_call"), "current"),
    **dict.fromkeys(("overload_asgi", "overload_wsgi"), "overload"),
    **dict.fromkeys(("DirtyClient", "close_dirty_client", "get_dirty_client", "get_dirty_client_async"), "client"),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "stash":
        return import_module(f"{__name__}.stash")  # which sets it here, too
    value = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
