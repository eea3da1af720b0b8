"""ServiceGroup: the services that the master hosts, started in order and stopped in reverse; and the host that they
see.
"""

import os
import signal
from collections.abc import Callable, Sequence
from typing import Any

from gunicorn.supervision import fork, proctitle
from gunicorn.supervision.loop import MasterLoop
from gunicorn.supervision.service import FileObject, Introspection, Service

_NOT_STOPPING, _GRACEFUL, _HURRIED = range(3)

# After stop(graceful=False) a service has this long to end before its children are killed.
HURRY_SECONDS = 5.0


class Host:
    """The ServiceHost that one service sees; knows which children are that service's."""

    def __init__(self, group: "ServiceGroup", service: Service) -> None:
        self._group = group
        self._service = service
        self.pid = os.getpid()
        self.introspection = group.introspection

    @property
    def cfg(self) -> Any:
        return self._group.cfg

    @property
    def log(self) -> Any:
        return self._group.log

    def register(self, fileobj: FileObject, events: int, callback: Callable[[int], None]) -> None:
        self._group.loop.register(fileobj, events, callback)

    def modify(self, fileobj: FileObject, events: int) -> None:
        self._group.loop.modify(fileobj, events)

    def unregister(self, fileobj: FileObject) -> None:
        self._group.loop.unregister(fileobj)

    def spawn(self, main: Callable[[], int | None], title: str) -> int:
        """See ``supervision.service.ServiceHost.spawn``."""
        return self._group.spawn(self._service, main, title)

    def reconfigure(self) -> None:
        """See ``supervision.service.ServiceHost.reconfigure``."""
        self._group.reconfigure()

    set_title = staticmethod(proctitle.set_title)


class ServiceGroup:
    """All services of one master."""

    def __init__(
        self,
        services: Sequence[Service],
        loop: MasterLoop,
        introspection: Introspection,
        signums: Sequence[signal.Signals],
        in_child: Callable[[Service | None], None],
        reconfigure: Callable[[], None],
    ) -> None:
        """
        :param services: in start order. :param signums: the signals that the master catches.
        :param in_child: called first in each child, with the service that it belongs to: closes what is the master's.
        :param reconfigure: loads the configuration in a service's child, and calls :meth:`configure`.
        """
        self.cfg: Any = None
        self.log: Any = None
        self.loop = loop
        self.introspection = introspection
        self._signums = signums
        self._in_child = in_child
        self.reconfigure = reconfigure
        self._services = list(services)
        self._hosts = {service.name: Host(self, service) for service in services}
        self._started: list[Service] = []
        self._children: dict[int, str] = {}  # pid -> name of the service
        self._next_tick: dict[str, float | None] = {}
        self._stop_stage = _NOT_STOPPING  # of the last one of _started
        self._stage_end = 0.0

    # Life ----------------------------------------------------------------------------------------------------------

    def configure(self, cfg: Any, log: Any) -> None:
        """The configuration and the logger that services see from now on."""
        self.cfg = cfg
        self.log = log

    def start(self, now: float) -> None:
        """Start each; one that raises is logged and left out."""
        for service in self._services:
            try:
                service.start(self._hosts[service.name])
            except Exception:
                self.log.exception("The service %s cannot start; serving goes on without it", service.name)
                continue
            self._started.append(service)
        self._tick_all(now)

    def reload(self, now: float) -> None:
        """The configuration has changed."""
        for service in self._started:
            self._guard(service, "reload", self._hosts[service.name])
        self._tick_all(now)

    def reopen(self) -> None:
        """The log files are to be opened again, in the services' processes too."""
        for service in self._started:
            if hasattr(service, "reopen"):  # which older services have not
                self._guard(service, "reopen")

    def tick(self, now: float) -> float | None:
        """Call the ticks that are due; returns when the next one is."""
        for service in self._started:
            due = self._next_tick.get(service.name)
            if due is not None and now >= due:
                self._tick_one(service, now)
        return self.next_tick()

    def next_tick(self) -> float | None:
        """When the next tick is due."""
        return min((due for due in self._next_tick.values() if due is not None), default=None)

    def child_exited(self, pid: int, status: int, now: float) -> bool:
        """True when the child was a service's."""
        owner = self._children.pop(pid, None)
        for service in self._started:
            if self._guard(service, "child_exited", pid, status):
                self._tick_all(now)
                return True
        return owner is not None

    # Stop ----------------------------------------------------------------------------------------------------------

    def stop_step(self, now: float, graceful: bool, patience: float) -> bool:
        """Stop the services one after the other, the last started first; call it in every turn until it returns True.

        :param graceful: false hurries, also one that has begun to stop gracefully.
        :param patience: seconds that each has to stop gracefully before it is hurried, unless it wants more.
        """
        while self._started:
            service = self._started[-1]
            if self._stop_stage == _NOT_STOPPING and graceful:
                self._enter_stage(service, _GRACEFUL, now + max(patience, getattr(service, "patience", 0.0)))
            if self._stop_stage != _HURRIED and (not graceful or now >= self._stage_end):
                self._enter_stage(service, _HURRIED, now + HURRY_SECONDS)
            self._tick_one(service, now)
            if not self._is_stopped(service):
                if now < self._stage_end:
                    return False
                self.log.error("The service %s does not stop; its processes are killed", service.name)
                self.kill_children(service)
            self._guard(service, "close")
            self._started.pop()
            self._next_tick.pop(service.name, None)
            self._stop_stage = _NOT_STOPPING
        return True

    def stop_deadline(self) -> float | None:
        """When ``stop_step`` has something to do, if nothing else happens."""
        return self._stage_end if self._started and self._stop_stage != _NOT_STOPPING else None

    def _enter_stage(self, service: Service, stage: int, end: float) -> None:
        self._stop_stage = stage
        self._stage_end = end
        self._guard(service, "stop", stage == _GRACEFUL)

    def _is_stopped(self, service: Service) -> bool:
        try:
            return bool(service.stopped)
        except Exception:
            self.log.exception("The service %s cannot say whether it has stopped", service.name)
            return False

    def kill_children(self, service: Service | None = None) -> None:
        """KILL the children of a service, or of all."""
        for pid, name in self._children.items():
            if service is None or name == service.name:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass

    @property
    def children(self) -> list[int]:
        """The pids of the services' children that have not been reaped."""
        return list(self._children)

    # Children ------------------------------------------------------------------------------------------------------

    def spawn(self, service: Service, main: Callable[[], int | None], title: str) -> int:
        """Fork a child of ``service``; see ``supervision.service.ServiceHost.spawn``."""

        def child() -> int:
            self._in_child(service)
            proctitle.set_title(title)
            try:
                return main() or 0
            except Exception:
                self.log.exception("Exception in %s", title)
                return fork.UNCAUGHT

        pid = fork.fork(self._signums, (signal.SIGUSR1,), child, at_exit=False)
        self._children[pid] = service.name
        return pid

    def forked(self, owner: Service | None = None) -> None:
        """In a new child: let every service but the child's own close what it holds."""
        for service in self._started:
            if service is not owner:
                self._guard(service, "forked")

    # Looking in ----------------------------------------------------------------------------------------------------

    def snapshot(self, name: str) -> dict[str, Any] | None:
        """What the service of that name says of itself; None when it does not run."""
        for service in self._started:
            if service.name == name:
                snapshot = self._guard(service, "snapshot")
                return snapshot if isinstance(snapshot, dict) else None
        return None

    def _tick_all(self, now: float) -> None:
        for service in list(self._started):
            self._tick_one(service, now)

    def _tick_one(self, service: Service, now: float) -> None:
        self._next_tick[service.name] = self._guard(service, "tick", now)

    def _guard(self, service: Service, method: str, *args: Any) -> Any:
        """Call a service; what it raises is logged, since the master must outlive it."""
        try:
            return getattr(service, method)(*args)
        except Exception:
            self.log.exception("Exception in %s() of the service %s", method, service.name)
            return None
