"""What control needs of the process it runs in: the shapes of the service host and of its introspection.

The server's master conforms to them without importing this module, and this package never imports the server. The tests
drive the service through a small host of their own.
"""

from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["Introspection", "ServiceHost"]


class Introspection(Protocol):
    """A view of the running server. Everything returned is JSON-able; nothing blocks.

    What acts (``reload``, ``shutdown`` …) takes effect from the master's loop, after the reply could be sent.
    """

    def workers(self) -> list[dict[str, Any]]:
        """Per HTTP worker at least ``pid``, ``age``, ``booted`` and ``last_heartbeat`` (seconds ago)."""

    def stats(self) -> dict[str, Any]:
        """``uptime`` (seconds), ``pid``, ``workers_current``, ``workers_target`` and the other counters."""

    def config(self) -> dict[str, Any]:
        """The settings by name."""

    def listeners(self) -> list[dict[str, Any]]:
        """The sockets that the server accepts HTTP connections on."""

    def service(self, name: str) -> dict[str, Any] | None:
        """The snapshot of a service that runs; None where there is none of that name."""

    def scale_workers(self, delta: int) -> dict[str, Any]:
        """Change the number of workers; returns ``previous`` and ``total``. Raises ValueError where it cannot."""

    def kill_worker(self, pid: int) -> None:
        """End one worker gracefully; LookupError where no worker has this pid."""

    def reload(self) -> None:
        """Read the configuration again and replace the workers, like HUP."""

    def reopen(self) -> None:
        """Reopen the log files, like USR1."""

    def shutdown(self, graceful: bool) -> None:
        """Stop the server, like TERM (graceful) or INT."""


class ServiceHost(Protocol):
    """What the master offers to a service; the part of it that control uses."""

    cfg: Any
    log: Any

    @property
    def introspection(self) -> Introspection: ...

    def register(self, fileobj: Any, events: int, callback: Callable[[int], None]) -> None:
        """Watch ``fileobj`` in the master's selector; ``callback`` gets the ready mask."""

    def modify(self, fileobj: Any, events: int) -> None:
        """Change what is watched; never to nothing."""

    def unregister(self, fileobj: Any) -> None:
        """Stop watching; call it before closing."""
