"""An application's lifespan as a pure state machine; ``drivers.asyncio_lifespan`` runs it.

``asgi_lifespan`` is ``auto`` (served whether or not the application knows the protocol), ``on`` (an application that
fails in it is not served) or ``off``. Source: the ASGI specification, "Lifespan Protocol" 2.0.

An exception of an application that was never asked for ``receive()`` only says that it does not know lifespan scopes,
which ASGI allows, so nothing is logged about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gunicorn.http.errors import LocalProtocolError

STARTING: Final = "starting"
RUNNING: Final = "running"  # startup is complete
UNSUPPORTED: Final = "unsupported"  # the application does not take part; it is served all the same
STOPPING: Final = "stopping"
STOPPED: Final = "stopped"
FAILED: Final = "failed"

MODES: Final = ("auto", "on", "off")


class Lifespan:
    """Where an application stands between its startup and its shutdown.

    ``state`` is the dictionary that the application fills at startup. ``problem`` says what went wrong, if anything
    did, and ``error`` is the application's exception, if it was one. ``noteworthy`` tells whether a problem in mode
    ``auto`` deserves a line in the log though the application is served.
    """

    def __init__(self, mode: str) -> None:
        if mode not in MODES:
            raise ValueError(f"asgi_lifespan is {mode!r}; it is one of {', '.join(MODES)}")
        self.mode = mode
        self.phase = UNSUPPORTED if mode == "off" else STARTING
        self.state: dict[str, Any] = {}
        self.problem = ""
        self.error: BaseException | None = None
        self._received = 0

    @property
    def settled(self) -> bool:
        """Whether nothing more is to come in the present half (startup or shutdown)."""
        return self.phase not in (STARTING, STOPPING)

    @property
    def noteworthy(self) -> bool:
        return bool(self.problem) and (self.phase == FAILED or self._received > 0)

    def next_message(self) -> dict[str, str] | None:
        """What ``receive()`` answers now; None: it has to wait for the shutdown."""
        if self._received == 0:
            self._received = 1
            return {"type": "lifespan.startup"}
        if self._received == 1 and self.phase == STOPPING:
            self._received = 2
            return {"type": "lifespan.shutdown"}
        return None

    def sent(self, message: Mapping[str, Any]) -> None:
        """Take what the application gave to ``send()``. Raises :class:`LocalProtocolError` when it does not fit."""
        kind = message["type"]
        if kind in ("lifespan.startup.complete", "lifespan.startup.failed"):
            if self.phase != STARTING:
                raise LocalProtocolError(f"{kind} comes once, in answer to lifespan.startup; now it is {self.phase}")
            if kind.endswith("complete"):
                self.phase = RUNNING
            else:
                self._fail("the application's startup failed", message)
        elif kind in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
            if self.phase != STOPPING:
                raise LocalProtocolError(f"{kind} comes once, in answer to lifespan.shutdown; now it is {self.phase}")
            if kind.endswith("complete"):
                self.phase = STOPPED
            else:
                self._fail("the application's shutdown failed", message)
        else:
            raise LocalProtocolError(f"message type {kind!r} is none of the lifespan protocol")

    def shutdown(self) -> None:
        """Begin the shutdown, if there was a startup."""
        if self.phase == RUNNING:
            self.phase = STOPPING

    def returned(self, error: BaseException | None) -> None:
        """The application's call for the lifespan ended, with *error* if it raised."""
        if self.phase == STARTING:
            if error is None:
                self.problem = "the application returned from its lifespan without lifespan.startup.complete"
            else:
                self.problem = "the application raised an exception in its lifespan before lifespan.startup.complete"
            self.error = error
            self.phase = FAILED if self.mode == "on" else UNSUPPORTED
        elif self.phase in (RUNNING, STOPPING):
            ended_early = self.phase == RUNNING
            self.phase = STOPPED
            if error is not None:
                self.problem, self.error = "the application raised an exception in its lifespan", error
                self.phase = FAILED
            elif ended_early and self._received < 2:
                # It has nothing to do at shutdown; its startup stands.
                self.phase = STOPPED

    def _fail(self, what: str, message: Mapping[str, Any]) -> None:
        self.phase = FAILED
        said = str(message.get("message", "")).strip()
        self.problem = f"{what}: {said}" if said else what
