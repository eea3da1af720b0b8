"""From a request to a reply: resolves the command, checks access, calls the handler. Errors become replies here only.

Called by the endpoint, once per request, and once more when the dirty arbiter has answered a command that asked it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gunicorn.control.errors import AccessDeniedError, CommandError, PoolUnavailableError
from gunicorn.control.host import Introspection
from gunicorn.control.messages import Reply, Request
from gunicorn.control.peer import Peer
from gunicorn.control.registry import Access, AskPool, Outcome, Registry

__all__ = ["Dispatcher"]


class Dispatcher:
    """Runs the commands of ``registry`` against ``introspection``; ``log`` hears of handlers that fail unexpectedly."""

    def __init__(self, registry: Registry, introspection: Introspection, log: Any) -> None:
        self._registry = registry
        self._introspection = introspection
        self._log = log

    def dispatch(self, request: Request, peer: Peer) -> Reply | AskPool:
        """Return the reply to a request, or what to ask the dirty arbiter before there can be one."""
        return self._guarded(request, lambda: self._run(request, peer))

    def pool_answered(self, request: Request, ask: AskPool, result: Any) -> Reply:
        """Return the reply to a request for which the dirty arbiter was asked and gave ``result``."""

        def finish() -> Outcome:
            if not isinstance(result, dict):
                raise PoolUnavailableError(f"the dirty arbiter answered with {type(result).__name__}, not with a dict")
            return ask.finish(result)

        return self._replied(request, finish)

    def pool_failed(self, request: Request, ask: AskPool, error: CommandError) -> Reply:
        """Return the reply to a request for which the dirty arbiter was asked and gave no result."""
        return self._replied(request, lambda: ask.failed(error))

    def _run(self, request: Request, peer: Peer) -> Outcome:
        call = self._registry.resolve(request.words)
        command = call.command
        if command.access is Access.WRITE:
            if not peer.may_write:
                raise AccessDeniedError(f"{command.name!r} changes the server, and {peer.refusal}")
            self._log.info("Control: %s by %s", " ".join(request.words), peer)
        return command.handler(self._introspection, **call.arguments)

    def _replied(self, request: Request, make: Callable[[], Outcome]) -> Reply:
        reply = self._guarded(request, make)
        if isinstance(reply, AskPool):
            raise TypeError("a command asks the dirty arbiter once")
        return reply

    def _guarded(self, request: Request, make: Callable[[], Outcome]) -> Reply | AskPool:
        try:
            outcome = make()
        except CommandError as exc:
            return Reply(request.id, error=str(exc))
        except Exception as exc:
            # A bug of a handler or of the introspection must not end the master's loop.
            self._log.exception("Control: %r failed", request.command)
            return Reply(request.id, error=f"the server failed to run {request.command!r}: {exc!r}; see its log")
        return outcome if isinstance(outcome, AskPool) else Reply(request.id, data=outcome)
