"""Readiness of file descriptors: epoll where there is one, the standard library's best selector elsewhere.

epoll is used bare, since the ``selectors`` module builds a key object for every event, which costs as much as parsing a
request.
"""

from __future__ import annotations

import select
import selectors
import sys
from typing import Final, Protocol

READ: Final = 1  # the values of EPOLLIN, EPOLLOUT, and of nothing at all
WRITE: Final = 4
EXCLUSIVE: Final = 1 << 28  # EPOLLEXCLUSIVE: of several processes that wait for one listener, wake one


class Poller(Protocol):
    """What the drivers need; masks are READ, WRITE, both, or 0. Errors and hang-ups are reported as both."""

    def register(self, fd: int, mask: int) -> None: ...

    def modify(self, fd: int, mask: int) -> None: ...

    def unregister(self, fd: int) -> None: ...

    def poll(self, timeout: float) -> list[tuple[int, int]]:
        """Wait up to *timeout* seconds; ``(fd, mask)`` for each that is ready."""

    def close(self) -> None: ...


class SelectorPoller:
    """A :class:`Poller` over :mod:`selectors`, for systems without epoll."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def register(self, fd: int, mask: int) -> None:
        mask &= READ | WRITE
        if mask:
            self._selector.register(fd, self._events(mask))

    def modify(self, fd: int, mask: int) -> None:
        known = fd in self._selector.get_map()
        if known and mask:
            self._selector.modify(fd, self._events(mask))
        elif known:
            self._selector.unregister(fd)
        else:
            self.register(fd, mask)

    def unregister(self, fd: int) -> None:
        if fd in self._selector.get_map():
            self._selector.unregister(fd)

    def poll(self, timeout: float) -> list[tuple[int, int]]:
        ready = self._selector.select(timeout)
        return [
            (key.fd, (READ if mask & selectors.EVENT_READ else 0) | (WRITE if mask & selectors.EVENT_WRITE else 0))
            for key, mask in ready
        ]

    def close(self) -> None:
        self._selector.close()

    @staticmethod
    def _events(mask: int) -> int:
        return (selectors.EVENT_READ if mask & READ else 0) | (selectors.EVENT_WRITE if mask & WRITE else 0)


def make_poller() -> Poller:
    """The best poller of this system."""
    if sys.platform == "linux":
        return select.epoll()
    return SelectorPoller()
