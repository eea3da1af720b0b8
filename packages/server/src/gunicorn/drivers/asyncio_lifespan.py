"""Runs an application's lifespan on an event loop; the ``asgi`` worker starts it before it accepts connections."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

from gunicorn.asgi.lifespan import FAILED, UNSUPPORTED, Lifespan
from gunicorn.asgi.scope import lifespan_scope


class LifespanRunner:
    """One application's lifespan. *mode* is the setting ``asgi_lifespan``."""

    def __init__(self, app: Any, mode: str, log: Any) -> None:
        self.lifespan = Lifespan(mode)
        self._app = app
        self._log = log
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def state(self) -> dict[str, Any]:
        """What the application keeps for its requests."""
        return self.lifespan.state

    async def startup(self) -> bool:
        """Wait until the application is ready. False when it cannot be served; the reason is in the log."""
        lifespan = self.lifespan
        if lifespan.mode == "off":
            return True
        self._task = asyncio.get_running_loop().create_task(self._run(), name="lifespan")
        await self._settled()
        if lifespan.phase == FAILED:
            self._log.error("ASGI lifespan: %s", lifespan.problem, exc_info=lifespan.error)
            return False
        if lifespan.phase == UNSUPPORTED:
            if lifespan.noteworthy:
                self._log.warning("ASGI lifespan: %s; serving it without", lifespan.problem, exc_info=lifespan.error)
            else:
                self._log.debug("ASGI lifespan: the application does not take part")
        return True

    async def shutdown(self, timeout: float) -> None:
        """Let the application clean up, for up to *timeout* seconds."""
        lifespan = self.lifespan
        lifespan.shutdown()
        self._changed.set()
        try:
            await asyncio.wait_for(self._settled(), timeout)
        except asyncio.TimeoutError:
            self._log.error("ASGI lifespan: the application's shutdown took over %g seconds", timeout)
        if lifespan.phase == FAILED:
            self._log.error("ASGI lifespan: %s", lifespan.problem, exc_info=lifespan.error)
        if self._task is not None and not self._task.done():
            # The application may still return from its call, or never: it is not waited for.
            self._task.cancel()
            await asyncio.wait([self._task], timeout=1.0)

    async def _settled(self) -> None:
        while not self.lifespan.settled:
            self._changed.clear()
            await self._changed.wait()

    async def _run(self) -> None:
        lifespan = self.lifespan
        try:
            await self._app(lifespan_scope(lifespan.state), self._receive, self._send)
        except asyncio.CancelledError:
            lifespan.returned(None)
            raise
        except Exception as error:
            lifespan.returned(error)
        else:
            lifespan.returned(None)
        finally:
            self._changed.set()

    async def _receive(self) -> dict[str, str]:
        while True:
            message = self.lifespan.next_message()
            if message is not None:
                return message
            self._changed.clear()
            await self._changed.wait()

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        self.lifespan.sent(message)
        self._changed.set()
