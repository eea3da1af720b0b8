"""Learning the `workers` attribute of apps without importing them in the arbiter: a child imports them, tells, and
ends.

Called by the arbiter at its start and at a reload, since code may have changed; only for apps without a number in
their spec.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .app import workers_attribute
from .channel import Channel
from .errors import DirtyError
from .loop import READ
from .worker import SPARED

if TYPE_CHECKING:
    from .arbiter import DirtyArbiter

__all__ = ["Probe"]


class Probe:
    """One probing child. `done(limits)` is called once, from the loop; an app that could not be imported counts as
    unlimited, since its worker's start will say what is wrong with it. Making it raises OSError when it cannot be
    forked.
    """

    def __init__(
        self, arbiter: DirtyArbiter, paths: Sequence[str], done: Callable[[dict[str, int | None]], None]
    ) -> None:
        self._arbiter = arbiter
        self._done: Callable[[dict[str, int | None]], None] | None = done
        self._limits: dict[str, int | None] = dict.fromkeys(paths)
        self._channel, theirs = Channel.pair()
        try:
            self.pid = os.fork()
        except OSError:
            self._channel.close()
            theirs.close()
            raise
        if self.pid == 0:
            try:
                self._channel.close()
                arbiter.forked()
                for number in SPARED:
                    signal.signal(number, signal.SIG_IGN)
                self._tell(theirs)
            finally:
                os._exit(0)
        theirs.close()
        self._channel.sock.setblocking(False)
        arbiter.loop.register(self._channel, READ, self._on_message)

    def _tell(self, channel: Channel) -> None:
        for path in self._limits:
            try:
                channel.send({"path": path, "workers": workers_attribute(path)})
            except DirtyError:
                channel.send({"path": path, "workers": None})

    def _on_message(self, _events: int) -> None:
        messages = self._channel.receive()
        for message in messages or ():
            self._limits[message["path"]] = message["workers"]
        if messages is None:
            done = self._done
            self.close()
            if done is not None:
                done(self._limits)

    def on_error(self) -> None:
        """Something unexpected was raised while the child was listened to: what it has not told counts as unlimited."""
        done = self._done
        if done is None:
            raise  # noqa: PLE0704 (called from within the except): it was not the child
        self._arbiter.log.exception("Dirty arbiter: unexpected error with the child that looks at the apps")
        self.close()
        done(self._limits)

    def close(self) -> None:
        """End it without an answer."""
        if self._done is not None:
            self._done = None
            self._arbiter.loop.unregister(self._channel)
            self._channel.close()
            try:
                os.kill(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
