"""Which worker loads which app: a pure module, without processes or clock. Used by the arbiter.

Workers have stable numbers from 1. A replacement takes its predecessor's number and so its apps. Apps without a limit
load in every worker; an app limited to N workers loads in N of them, spread so that limited apps share a worker as
little as possible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["AppLimit", "Placement", "PlacementError"]


class PlacementError(Exception):
    """The number of workers cannot change so; the message says why."""


@dataclass(frozen=True)
class AppLimit:
    """An app and how many workers load it (`limit`, None for all)."""

    path: str
    limit: int | None = None


class Placement:
    """The plan for a set of apps and a number of workers.

    :ivar plan: worker number to the paths of its apps, in the order of the settings
    """

    def __init__(self, apps: Sequence[AppLimit], workers: int) -> None:
        """Plan for `workers` workers; those that would have no app to load are left out.

        :raises ValueError: two apps of one path
        """
        self._apps = tuple(apps)
        if len({app.path for app in self._apps}) != len(self._apps):
            raise ValueError("two dirty apps have the same path")
        self.plan: dict[int, tuple[str, ...]] = dict.fromkeys(range(1, workers + 1), ())
        for app in self._apps:
            for number in self._homes(app, len(self.plan)):
                self.plan[number] = (*self.plan[number], app.path)
        self.plan = {number: paths for number, paths in self.plan.items() if paths}

    def _homes(self, app: AppLimit, workers: int) -> list[int]:
        if app.limit is None or app.limit >= workers:
            return list(self.plan)
        limited = {other.path for other in self._apps if other.limit is not None and other.limit < workers}
        load = {number: sum(path in limited for path in paths) for number, paths in self.plan.items()}
        return sorted(sorted(load, key=lambda number: (load[number], number))[: app.limit])

    @property
    def workers(self) -> int:
        """How many workers the plan has."""
        return len(self.plan)

    def hosts(self, path: str) -> list[int]:
        """The numbers of the workers that load the app at `path`."""
        return [number for number, paths in self.plan.items() if path in paths]

    def add(self) -> int:
        """Plan one more worker, for the apps below their limits, and return its number (the lowest free one).

        :raises PlacementError: all apps are at their limits
        """
        paths = tuple(app.path for app in self._apps if app.limit is None or len(self.hosts(app.path)) < app.limit)
        if not paths:
            raise PlacementError("all apps are at their worker limits")
        number = next(n for n in range(1, len(self.plan) + 2) if n not in self.plan)
        self.plan[number] = paths
        return number

    def remove(self) -> int:
        """Take the newest worker that may go out of the plan and return its number.

        :raises PlacementError: every worker is needed for the limits of the apps, or is the last one
        """
        limited = {app.path for app in self._apps if app.limit is not None}
        if len(self.plan) <= 1:
            raise PlacementError("the last worker stays; stop the pool to be without one")
        for number in sorted(self.plan, reverse=True):
            if not limited.intersection(self.plan[number]):
                del self.plan[number]
                return number
        raise PlacementError("every worker is needed by an app with a number of workers of its own")
