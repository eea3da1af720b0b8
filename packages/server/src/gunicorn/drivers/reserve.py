"""Channels of workers with a health path: they answer it themselves, also while all threads are taken.

Made by ``drivers.selector`` instead of the plain ones when the setting ``health_path`` is there. While every thread of
the crew runs a request, one more polls in their stead (``Crew``): it may answer the health path, and only that. Other
requests it reads and holds until a thread is free.
"""

from __future__ import annotations

import io
import threading
from time import monotonic
from typing import TYPE_CHECKING, Any, BinaryIO

from gunicorn.drivers.channel import Channel
from gunicorn.health import HealthPath

if TYPE_CHECKING:
    from gunicorn.drivers.selector import SelectorDriver
    from gunicorn.http.events import Request


class Reserve:
    """What such a channel adds to a plain one, or to one under TLS."""

    __slots__ = ("_driver", "_health", "held")

    def __init__(self, driver: SelectorDriver, health: HealthPath) -> None:
        self._driver = driver
        self._health = health
        self.held: tuple[Request, BinaryIO] | None = None  # complete, and waiting for a thread

    def settles(self, channel: Channel, request: Request, body: BinaryIO) -> bool:
        """Whether there is nothing to do any more now for the next request of *channel*: answered here, or held."""
        answer = self._health.answer(request)
        if answer is not None:
            channel.http.send(answer)
            channel.flush()
            channel.since = monotonic()
            return True
        if self._driver.reserved_for != threading.get_ident():
            return False
        if isinstance(body, io.BytesIO):  # which is closed when this returns; a copy shares its bytes
            body = io.BytesIO(body.getvalue())
        self.held = request, body
        return True

    def take(self) -> tuple[Request, BinaryIO] | None:
        """The request that was held, which now has its thread."""
        held, self.held = self.held, None
        return held


class ReserveChannel(Channel):
    """A plain one."""

    __slots__ = ("_reserve",)

    def __init__(self, driver: SelectorDriver, sock: Any, peer: Any, health: HealthPath) -> None:
        super().__init__(driver, sock, peer)
        self._reserve = Reserve(driver, health)

    def on_ready(self) -> None:
        held = self._reserve.take()
        if held is None:
            super().on_ready()
        else:
            request, body = held
            super()._serve(request, body)
            self.advance()

    def _serve(self, request: Request, body: BinaryIO) -> None:
        if not self._reserve.settles(self, request, body):
            super()._serve(request, body)

    def holds_request(self) -> bool:
        return self._reserve.held is not None
