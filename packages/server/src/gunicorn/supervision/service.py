"""The one interface between the master and the parts that it hosts: the dirty pool, the control endpoint, others'
services.

A service is a class found under the entry-point group ``gunicorn.services``; the master calls it without arguments.
Services conform by shape and never import this module, so that their distributions need nothing of the server.
``arbiter`` drives them, ``app.base`` discovers them, when a Config is built and never at import.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from gunicorn.errors import ConfigError
from gunicorn.supervision.entry_points import entry_points, load

ENTRY_POINT_GROUP = "gunicorn.services"

# Known services start in this order and stop in reverse; others follow by name.
START_ORDER = ("dirty", "control")


class HasFileno(Protocol):
    def fileno(self) -> int: ...


FileObject = int | HasFileno


class Introspection(Protocol):
    """What a service may ask of the master, and what it may ask the master to do.

    Every answer is JSON-able data, cheap to make, and never waits. Requests to act take effect from the master's loop,
    after the caller could send its reply.
    """

    def workers(self) -> list[dict[str, Any]]: ...
    def stats(self) -> dict[str, Any]: ...
    def config(self) -> dict[str, Any]: ...
    def listeners(self) -> list[dict[str, Any]]: ...
    def service(self, name: str) -> dict[str, Any] | None: ...
    def scale_workers(self, delta: int) -> dict[str, Any]: ...
    def kill_worker(self, pid: int) -> None: ...
    def reload(self) -> None: ...
    def reopen(self) -> None: ...
    def shutdown(self, graceful: bool) -> None: ...


class ServiceHost(Protocol):
    """What the master offers to a service."""

    @property
    def cfg(self) -> Any: ...
    @property
    def log(self) -> Any: ...
    @property
    def pid(self) -> int: ...
    @property
    def introspection(self) -> Introspection: ...

    def register(self, fileobj: FileObject, events: int, callback: Callable[[int], None]) -> None:
        """Watch ``fileobj`` in the master's selector; the callback gets the mask of ready ``selectors.EVENT_*``."""

    def modify(self, fileobj: FileObject, events: int) -> None: ...
    def unregister(self, fileobj: FileObject) -> None: ...

    def spawn(self, main: Callable[[], int | None], title: str) -> int:
        """Fork a child that runs ``main`` and exits with its result; returns the child's pid.

        In the child the master's descriptors are closed, the other services' ``forked()`` were called, signals are at
        their defaults (USR1 is ignored) and the process has its title. An exception of ``main`` is logged with its
        traceback, and the status is 1.
        """

    def reconfigure(self) -> None:
        """In a child of the service: load the configuration again, as the master does at a reload, for what cannot be
        sent to another process (hooks). ``cfg`` is the new one then, and ``log`` writes to where that says.

        :raises Exception: it cannot be loaded here, and the old one stays.
        """

    def set_title(self, title: str) -> object:
        """Show the calling process, a child of the service's child, as ``gunicorn: title``. A plain function, which a
        child that becomes another interpreter can import again."""


@runtime_checkable
class Service(Protocol):
    """A part of the system that lives in the master's loop and may have children of its own."""

    name: str

    @property
    def settings(self) -> Sequence[Mapping[str, Any]]:
        """Declarations (``gunicorn.settings.declaration``), read before the command line is parsed."""

    def start(self, host: ServiceHost) -> None:
        """Called in the master before workers are forked. Must not raise for operational trouble: log it and go on."""

    def child_exited(self, pid: int, status: int) -> bool:
        """A child ended, with its ``waitpid`` status; true when it was this service's."""

    def tick(self, now: float) -> float | None:
        """Do what is due at ``now`` (``time.monotonic()``); returns when the next tick is wanted, or None."""

    def reload(self, host: ServiceHost) -> None:
        """HUP: ``host.cfg`` is the new configuration."""

    def reopen(self) -> None:
        """USR1: log files have been moved away and are to be opened again."""

    def stop(self, graceful: bool) -> None:
        """Begin to stop and return at once; a second call with ``graceful=False`` hurries."""

    @property
    def stopped(self) -> bool:
        """True when nothing of this service runs any more."""

    @property
    def patience(self) -> float:
        """Seconds that it may take to stop gracefully, where that is more than ``graceful_timeout``."""

    def close(self) -> None:
        """Release everything; the last call, in the master."""

    def forked(self) -> None:
        """Called in every new child that is not this service's: close inherited descriptors, touch nothing on disk."""

    def snapshot(self) -> dict[str, Any]:
        """The service's state as JSON-able data."""


def discover(group: str = ENTRY_POINT_GROUP) -> list[Service]:
    """One instance of each installed service, in start order.

    :raises ConfigError: when an installed service cannot be loaded: serving without it would hide a broken
        installation.
    """
    services: dict[str, Service] = {}
    for name, value in entry_points(group):
        if name in services:
            continue  # the same distribution seen twice on sys.path: the first wins, as for imports
        try:
            service = load(value)()
        except Exception as exc:
            raise ConfigError(
                f"the service {name!r} is installed ({value}) but cannot be loaded: "
                f"{type(exc).__name__}: {exc}; repair or uninstall its distribution"
            ) from exc
        services[name] = service
    return in_start_order(services.values())


def in_start_order(services: "Sequence[Service] | Any") -> list[Service]:
    """Services sorted as they are started: the pool before what looks into it."""
    rank = {name: index for index, name in enumerate(START_ORDER)}
    return sorted(services, key=lambda service: (rank.get(service.name, len(rank)), service.name))
