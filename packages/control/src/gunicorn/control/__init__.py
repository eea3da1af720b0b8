"""The control socket of a running server: the service that offers it, and a client.

A portion of the name ``gunicorn``; it imports with and without the server. What a script wants is
:class:`ControlClient` and the errors (``gunicorn.control.errors`` draws their tree). The server loads
``gunicorn.control.service`` by entry point.
"""

from gunicorn.control.client import ControlClient
from gunicorn.control.errors import (
    BadReplyError,
    ClientError,
    ClientTimeoutError,
    CommandFailedError,
    ConnectionDeniedError,
    ControlError,
    NothingListensError,
)

__all__ = [
    "BadReplyError",
    "ClientError",
    "ClientTimeoutError",
    "CommandFailedError",
    "ConnectionDeniedError",
    "ControlClient",
    "ControlError",
    "NothingListensError",
]
