"""An overloaded pool as HTTP says it: 503 with Retry-After (RFC 9110, 15.6.4 and 10.2.3), for WSGI and ASGI apps.

    application = overload_wsgi(application)

Wrapped around a web application by its author. A call that finds its app's queue full (`dirty_queue_size`), or no
worker to serve it, raises in the application; what it does not handle becomes the answer here, unless an answer has
begun.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from types import GeneratorType
from typing import Any

from .errors import DirtyNoWorkersAvailableError, DirtyOverloadedError

__all__ = ["overload_asgi", "overload_wsgi"]

WSGIApp = Callable[..., Iterable[bytes]]
ASGIApp = Callable[[Any, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]

_REFUSALS = (DirtyOverloadedError, DirtyNoWorkersAvailableError)
_BODY = b"The service is overloaded. Please try again later.\n"


def _headers(retry_after: int) -> list[tuple[str, str]]:
    return [
        ("Retry-After", str(retry_after)),
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(_BODY))),
    ]


def overload_wsgi(app: WSGIApp, retry_after: int = 1) -> WSGIApp:
    """The WSGI application `app`, answering 503 where it raises DirtyOverloadedError or DirtyNoWorkersAvailableError.

    :param retry_after: seconds after which the client is asked to try again
    """

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            result = app(environ, start_response)
            if not isinstance(result, GeneratorType):
                return result
            # A generator runs when it is iterated: its first item is where it begins to answer.
            try:
                first = next(result)
            except StopIteration:
                return []
            return _Resumed(first, result)
        except _REFUSALS:
            # PEP 3333: with exc_info, start_response replaces headers that were not sent yet, and raises if they were.
            start_response("503 Service Unavailable", _headers(retry_after), sys.exc_info())
            return [_BODY]

    return application


class _Resumed:
    """A generator whose first item was taken; closing this closes it (PEP 3333)."""

    def __init__(self, first: bytes, items: GeneratorType[bytes, Any, Any]) -> None:
        self._first = first
        self._items = items

    def __iter__(self) -> Iterator[bytes]:
        return itertools.chain((self._first,), self._items)

    def close(self) -> None:
        self._items.close()


def overload_asgi(app: ASGIApp, retry_after: int = 1) -> Callable[..., Coroutine[Any, Any, None]]:
    """The ASGI application `app`, answering HTTP requests 503 where it raises one of the two before it has answered.

    :param retry_after: seconds after which the client is asked to try again
    """

    async def application(
        scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        begun = False

        async def noticing(message: Any) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await app(scope, receive, noticing)
        except _REFUSALS:
            if begun:
                raise
            headers = [(name.lower().encode(), value.encode()) for name, value in _headers(retry_after)]
            await send({"type": "http.response.start", "status": 503, "headers": headers})
            await send({"type": "http.response.body", "body": _BODY})

    return application
