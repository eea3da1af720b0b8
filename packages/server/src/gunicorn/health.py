"""The health path: a question that the worker answers itself, without the application. Used by the drivers.

Off unless the setting ``health_path`` names a path. The answer says whether the worker serves: ``200 ok``, or ``503
draining`` when it is about to end, so that a balancer sends new clients elsewhere. It is not counted, and not in the
access log.
"""

from __future__ import annotations

from typing import Any, Final

from gunicorn.http.events import Request, ResponseHead
from gunicorn.supervision.scoreboard import STATE, ScoreboardSlot, WorkerState

METHODS: Final = ("GET", "HEAD")


class HealthPath:
    """*path* as the setting has it (``/healthz``), *slot* the scoreboard slot of the worker."""

    def __init__(self, path: str, slot: ScoreboardSlot) -> None:
        self._path = path.encode()
        self._slot = slot

    @classmethod
    def of(cls, worker: Any) -> HealthPath | None:
        """The one that the settings of *worker* ask for, if they do."""
        path = worker.cfg.health_path
        return cls(path, worker.scoreboard) if path else None

    def answer(self, request: Request) -> ResponseHead | None:
        """The whole response, when *request* asks for the path; None when it is the application's."""
        target = request.target
        if target.path != self._path or target.method not in METHODS:
            return None
        draining = self._slot.q[STATE] == WorkerState.DRAINING
        status, body = (503, b"draining") if draining else (200, b"ok")
        return ResponseHead(status, [("Content-Type", "text/plain"), ("Cache-Control", "no-store")], body, True)
