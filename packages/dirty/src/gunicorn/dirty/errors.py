"""The errors of the dirty pool: raised in apps, carried over the wire as data, raised again in the caller.

Imported by every part of the package and by callers, who mostly want `except DirtyError`.

    DirtyError
    ├── DirtyTimeoutError               the call took longer than allowed (details: timeout, seconds)
    ├── DirtyConnectionError            the pool cannot be reached, or went away during the call (socket_path)
    ├── DirtyWorkerError                the worker died or broke the protocol (worker_id, traceback)
    ├── DirtyAppError                   the app raised (app_path, action, traceback)
    │   └── DirtyAppNotFoundError       the pool has no such app (app_path)
    ├── DirtyNoWorkersAvailableError    no worker serves the app, nor will one (app_path)
    ├── DirtyOverloadedError            the app's queue is full: answer 503 and try later (app_path)
    ├── DirtyCancelledError             the call was ended on the caller's wish
    ├── DirtyMappingError               shared memory cannot be used; clients then send the call again without
    ├── DirtyProtocolError              bytes or values that the protocol cannot carry (raw_data)
    └── StashError                      an operation on the stash failed
        ├── StashTableNotFoundError     there is no such table (table)
        ├── StashKeyNotFoundError       there is no such key (key); a KeyError, too
        └── StashFullError              the table's bounds do not allow it (table)

On the wire an error is a dict of `error_type`, `message` and `details`; a type that the reader does not know is read as
:exc:`DirtyError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = [
    "DirtyAppError",
    "DirtyAppNotFoundError",
    "DirtyCancelledError",
    "DirtyConnectionError",
    "DirtyError",
    "DirtyMappingError",
    "DirtyNoWorkersAvailableError",
    "DirtyOverloadedError",
    "DirtyProtocolError",
    "DirtyTimeoutError",
    "DirtyWorkerError",
    "StashError",
    "StashFullError",
    "StashKeyNotFoundError",
    "StashTableNotFoundError",
]

_RAW_DATA_SHOWN = 64  # bytes of offending input that travel in an error


class DirtyError(Exception):
    """Base of all errors of the pool.

    :ivar message: what happened, for people
    :ivar details: str keys to values that the protocol can carry; the keys of each type are its constructor's arguments
    """

    def __init__(self, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Any] = dict(details or {})

    def __str__(self) -> str:
        return self.message

    def to_dict(self) -> dict[str, Any]:
        """The error as the wire carries it (keys `error_type`, `message`, `details`)."""
        return {"error_type": type(self).__name__, "message": self.message, "details": self.details}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> DirtyError:
        """The error that `data` describes, as the most specific class known here; never raises on odd input."""
        message = data.get("message")
        details = data.get("details")
        cls = _TYPES.get(str(data.get("error_type")), DirtyError)
        error = cls.__new__(cls)
        DirtyError.__init__(
            error,
            message if isinstance(message, str) else "the pool reported an error without a message",
            details if isinstance(details, Mapping) else None,
        )
        return error

    def __reduce__(self) -> Any:
        # Subclasses have constructors of their own shape; the wire form is the one that all share.
        return (DirtyError.from_dict, (self.to_dict(),))


class DirtyTimeoutError(DirtyError):
    """The call did not finish in `timeout` seconds."""

    def __init__(self, message: str = "the dirty call timed out", timeout: float | None = None) -> None:
        super().__init__(message, {"timeout": timeout})

    @property
    def timeout(self) -> float | None:
        return self.details.get("timeout")


class DirtyConnectionError(DirtyError):
    """No pool listens at `socket_path`, or the connection to it broke before the call was answered."""

    def __init__(self, message: str, socket_path: str | None = None) -> None:
        super().__init__(message, {"socket_path": socket_path})

    @property
    def socket_path(self) -> str | None:
        return self.details.get("socket_path")


class DirtyWorkerError(DirtyError):
    """The worker that ran the call died or broke the protocol. Whether the action took effect is unknown."""

    def __init__(self, message: str, worker_id: int | None = None, traceback: str | None = None) -> None:
        super().__init__(message, {"worker_id": worker_id, "traceback": traceback})

    @property
    def worker_id(self) -> int | None:
        return self.details.get("worker_id")

    @property
    def traceback(self) -> str | None:
        return self.details.get("traceback")


class DirtyAppError(DirtyError):
    """The app could not be loaded, has no such action, or its action raised; `traceback` is the worker's."""

    def __init__(
        self, message: str, app_path: str | None = None, action: str | None = None, traceback: str | None = None
    ) -> None:
        super().__init__(message, {"app_path": app_path, "action": action, "traceback": traceback})

    @property
    def app_path(self) -> str | None:
        return self.details.get("app_path")

    @property
    def action(self) -> str | None:
        return self.details.get("action")

    @property
    def traceback(self) -> str | None:
        return self.details.get("traceback")


class DirtyAppNotFoundError(DirtyAppError):
    """`app_path` is not one of the pool's apps, or cannot be imported."""

    def __init__(self, app_path: str, message: str | None = None) -> None:
        DirtyError.__init__(self, message or f"Dirty app not found: {app_path}", {"app_path": app_path})


class DirtyNoWorkersAvailableError(DirtyError):
    """No worker serves `app_path` and none is being started for it."""

    def __init__(self, app_path: str, message: str | None = None) -> None:
        super().__init__(message or f"No workers available for dirty app: {app_path}", {"app_path": app_path})

    @property
    def app_path(self) -> str | None:
        return self.details.get("app_path")


class DirtyOverloadedError(DirtyError):
    """The queue of `app_path` is full. Answer an HTTP client 503 with Retry-After (RFC 9110, 15.6.4)."""

    def __init__(self, app_path: str, message: str | None = None) -> None:
        super().__init__(message or f"The queue of dirty app {app_path} is full", {"app_path": app_path})

    @property
    def app_path(self) -> str | None:
        return self.details.get("app_path")


class DirtyCancelledError(DirtyError):
    """The call was ended because its caller no longer wanted it."""

    def __init__(self, message: str = "the dirty call was cancelled") -> None:
        super().__init__(message)


class DirtyMappingError(DirtyError):
    """The shared memory that a request names cannot be used; it has not run. Clients send it again without."""


class DirtyProtocolError(DirtyError):
    """Bytes that are not the protocol, or a value that it cannot carry; `raw_data` is the start of the bytes, in
    hex."""

    def __init__(self, message: str, raw_data: bytes | None = None) -> None:
        super().__init__(message, {"raw_data": None if raw_data is None else bytes(raw_data[:_RAW_DATA_SHOWN]).hex()})

    @property
    def raw_data(self) -> str | None:
        return self.details.get("raw_data")


class StashError(DirtyError):
    """An operation on the stash failed."""


class StashTableNotFoundError(StashError):
    """There is no table of that name."""

    def __init__(self, table: str) -> None:
        super().__init__(f"Table not found: {table}", {"table": table})


class StashKeyNotFoundError(StashError, KeyError):
    """There is no such key in the table, or no such table."""

    def __init__(self, key: Any) -> None:
        super().__init__(f"Key not found: {key}", {"key": key})


class StashFullError(StashError):
    """A write does not fit into the table's bounds, and the table does not evict."""

    def __init__(self, table: str, reason: str) -> None:
        super().__init__(f"Table full: {table} ({reason})", {"table": table})


_TYPES: dict[str, type[DirtyError]] = {
    cls.__name__: cls
    for cls in (
        DirtyError,
        DirtyTimeoutError,
        DirtyConnectionError,
        DirtyWorkerError,
        DirtyAppError,
        DirtyAppNotFoundError,
        DirtyNoWorkersAvailableError,
        DirtyOverloadedError,
        DirtyCancelledError,
        DirtyMappingError,
        DirtyProtocolError,
        StashError,
        StashTableNotFoundError,
        StashKeyNotFoundError,
        StashFullError,
    )
}
