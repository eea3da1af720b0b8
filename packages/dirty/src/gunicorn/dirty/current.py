"""The call that an action runs for: who asked, until when, and whether it is still wanted.

Actions ask for it by :func:`current_call`; the slots make one for each request. It is a context variable, so that it
holds in the thread of a slot, in the task of an async action, and in whatever those start with a copy of their context.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextvars import ContextVar

from .errors import DirtyCancelledError
from .wire import Route

__all__ = ["CurrentCall", "call_variable", "current_call"]


class CurrentCall:
    """A request while it runs.

    :ivar request_id: the arbiter's id of it, which STATUS and the log show
    :ivar cancelled: whether nobody wants its result any more: the deadline has passed, or the caller is gone. An action
        that takes long looks at it now and then; one that goes on regardless has its worker replaced after
        `dirty_cancel_grace`.
    :ivar deadline: monotonic time (seconds) by which the pool ends it, or None. Of a stream that only `dirty_timeout`
        limits: by which its first item is due.
    """

    __slots__ = ("_on_cancel", "cancelled", "deadline", "request_id", "route")

    def __init__(self, request_id: int) -> None:
        self.request_id = request_id
        self.cancelled = False
        self.deadline: float | None = None
        self.route: Route | None = None
        self._on_cancel: Callable[[], None] | None = None

    @property
    def app_path(self) -> str:
        return self.route.app_path if self.route else ""

    @property
    def action(self) -> str:
        return self.route.action if self.route else ""

    @property
    def traceparent(self) -> str | None:
        """The caller's W3C trace context."""
        return self.route.options.traceparent if self.route else None

    @property
    def idempotency_key(self) -> str | None:
        """The caller's name for this call: the same when it is tried again after a failure."""
        return self.route.options.idempotency_key if self.route else None

    @property
    def remaining(self) -> float | None:
        """Seconds to the deadline, 0 when it has passed, None when there is none."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def wait(self, seconds: float) -> bool:
        """Sleep for so long, or until the call is cancelled. Returns :attr:`cancelled`. For blocking actions."""
        if not self.cancelled:
            event = threading.Event()
            self.on_cancel(event.set)
            try:
                event.wait(seconds)
            finally:
                self.on_cancel(None)
        return self.cancelled

    def raise_if_cancelled(self) -> None:
        """:raises DirtyCancelledError: the call is cancelled"""
        if self.cancelled:
            raise DirtyCancelledError

    # For the worker

    def cancel(self) -> None:
        """Ask it to end; from any thread."""
        self.cancelled = True
        on_cancel = self._on_cancel
        if on_cancel is not None:
            on_cancel()

    def on_cancel(self, callback: Callable[[], None] | None) -> None:
        """Have `callback` called, from another thread, when the call is cancelled; at once if it is already."""
        self._on_cancel = callback
        if self.cancelled and callback is not None:
            callback()


call_variable: ContextVar[CurrentCall] = ContextVar("gunicorn.dirty.current_call")


def current_call() -> CurrentCall:
    """The call that this code runs for.

    :raises RuntimeError: it runs for none: it is not called by an action, or in a thread that an action has started
    """
    try:
        return call_variable.get()
    except LookupError:
        raise RuntimeError("no dirty call runs here: current_call() is for actions of dirty apps") from None
