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

if TYPE_CHECKING:
    from gunicorn.drivers.selector import SelectorDriver
    from gunicorn.health import HealthPath
    from gunicorn.http.events import Request

    _Base = Channel
else:
    _Base = object


class Reserve(_Base):
    """What such a channel adds to a plain one, or to one under TLS."""

    __slots__ = ("_health", "held") if TYPE_CHECKING else ()  # each heir has them, beside those of its other parent

    _health: HealthPath
    held: tuple[Request, BinaryIO] | None  # complete, and waiting for a thread

    def on_ready(self) -> None:
        if self.held is None:
            super().on_ready()
        else:
            held, self.held = self.held, None
            super()._serve(*held)
            self.advance()

    def _serve(self, request: Request, body: BinaryIO) -> None:
        answer = self._health.answer(request)
        if answer is not None:
            self.http.send(answer)
            self.flush()
            self.since = monotonic()
        elif self._driver.reserved_for == threading.get_ident():
            if isinstance(body, io.BytesIO):  # which is closed when this returns; a copy shares its bytes
                body = io.BytesIO(body.getvalue())
            self.held = request, body
        else:
            super()._serve(request, body)


class ReserveChannel(Reserve, Channel):
    """A plain one."""

    __slots__ = ("_health", "held")

    def __init__(self, driver: SelectorDriver, sock: Any, peer: Any, health: HealthPath) -> None:
        super().__init__(driver, sock, peer)
        self._health = health
        self.held = None
