"""MasterLoop: the master's selector, with signals and deferred calls. No thread, no event loop: the master forks.

The arbiter turns it; services register their file objects in it through the ServiceHost.
"""

import os
import selectors
import signal
from collections import deque
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

from gunicorn.supervision.service import FileObject

Callback = Callable[[int], None]


class MasterLoop:
    """One selector. Signals only put their number into a queue and wake it; ``turn`` hands them out in order."""

    def __init__(self, log: Any) -> None:
        self.log = log
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._drain)
        self._signals: deque[int] = deque()
        self._calls: deque[Callable[[], None]] = deque()

    # Signals -------------------------------------------------------------------------------------------------------

    def catch(self, signums: Iterable[signal.Signals]) -> None:
        """Queue these signals from now on, and let them wake the selector."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for signum in signums:
            signal.signal(signum, self._on_signal)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        self._signals.append(signum)

    def _drain(self, mask: int) -> None:
        try:
            while len(os.read(self._wake_read, 4096)) == 4096:
                pass
        except BlockingIOError:
            pass

    # File objects and calls ----------------------------------------------------------------------------------------

    def register(self, fileobj: FileObject, events: int, callback: Callback) -> None:
        """Call ``callback(mask)`` whenever ``fileobj`` is ready."""
        self._selector.register(fileobj, events, callback)

    def modify(self, fileobj: FileObject, events: int) -> None:
        self._selector.modify(fileobj, events, self._selector.get_key(fileobj).data)

    def unregister(self, fileobj: FileObject) -> None:
        self._selector.unregister(fileobj)

    def call_soon(self, call: Callable[[], None]) -> None:
        """Call it in the next turn, outside any callback that runs now."""
        self._calls.append(call)
        self.wakeup()

    def wakeup(self) -> None:
        """End the wait of ``turn``, or let the next one not wait."""
        try:
            os.write(self._wake_write, b".")
        except BlockingIOError:
            pass  # full: it is awake already

    def bell(self) -> int:
        """In a new child, before :meth:`close`: a descriptor of its own; whatever is written to it wakes the master."""
        return os.dup(self._wake_write)

    def turn(self, timeout: float) -> list[int]:
        """Wait up to ``timeout`` seconds for something, run callbacks and deferred calls, return the signals that came.

        An exception of a callback is logged, and costs nobody else anything.
        """
        if self._signals or self._calls:
            timeout = 0.0
        for key, mask in self._selector.select(max(0.0, timeout)):
            try:
                key.data(mask)
            except Exception:
                self.log.exception("Exception in a callback of the master for %r", key.fileobj)
        for _ in range(len(self._calls)):
            self._calls.popleft()()
        signals = list(self._signals)
        for _ in signals:
            self._signals.popleft()
        return signals

    # End -----------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the selector and the wake-up pipe, in the master at its end or in a new child.

        In a child this touches only the child's copies: nothing is unregistered, since that would reach the master's
        epoll.
        """
        if self._wake_read < 0:
            return
        signal.set_wakeup_fd(-1)
        self._selector.close()
        os.close(self._wake_read)
        os.close(self._wake_write)
        self._wake_read = self._wake_write = -1
        self._signals.clear()
        self._calls.clear()
