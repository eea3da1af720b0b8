"""A worker as the arbiter sees it: the forked process, its channel and slots; and the seat that it fills.

A *seat* is a place in the placement, with a number and apps; processes come and go in it. Used by the arbiter only.
"""

from __future__ import annotations

import enum
import os
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from . import mirror
from .call import PoolCall
from .calls import SOCKET_VARIABLE
from .channel import Channel
from .link import SlotLink
from .loop import READ, Timer
from .scheduler import Member
from .titles import set_title
from .worker import SPARED, DirtyWorker

if TYPE_CHECKING:
    from .arbiter import DirtyArbiter

__all__ = ["ProcessState", "Seat", "WorkerProcess"]

_PATIENCE = 3.0  # seconds for a worker to say what its threads do


class ProcessState(str, enum.Enum):
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"  # finishes its calls, then stops
    STOPPING = "stopping"  # was told to stop, or killed


class Seat:
    """A place for one worker.

    :ivar process: who fills it, or is on the way to; None while waiting to try again, and when given up
    :ivar member: the place in the schedule of whoever fills it next or now
    :ivar failures: starts in a row that did not lead to a working process
    :ivar restarts: how many processes were started after the first
    :ivar error: why the last start failed, for people
    """

    def __init__(self, number: int, apps: tuple[str, ...]) -> None:
        self.number = number
        self.apps = apps
        self.process: WorkerProcess | None = None
        self.member: Member | None = None
        self.failures = 0
        self.restarts = -1
        self.given_up = False
        self.error = ""
        self.retry: Timer | None = None


class WorkerProcess:
    """One forked worker, from fork to reaping. The object that hooks in the arbiter are given as `worker`. Making it
    raises OSError when there are no descriptors, processes or memory for it.

    :ivar age: how many-th process of the pool it is, from 1
    :ivar ready_at: monotonic time at which its apps were loaded, or None
    :ivar seen_at: monotonic time of its last sign of life
    :ivar lifeline: writing end of a pipe that only the arbiter has, so that its end is the arbiter's end
    :ivar hung: it has a call that does not end; its worker goes when its other slots are done
    :ivar lost: it was found to be dead, or dying, without having been told to stop
    :ivar vacated: its seat waits for a successor, to be started at its death
    """

    def __init__(self, arbiter: DirtyArbiter, seat: Seat, member: Member, age: int) -> None:
        self.arbiter = arbiter
        self.seat = seat
        self.member = member
        self.number = seat.number
        self.apps = seat.apps
        self.age = age
        self.cfg = arbiter.cfg
        self.state = ProcessState.LOADING
        self.links: list[SlotLink] = []
        self.started_at = self.seen_at = arbiter.loop.now
        self.ready_at: float | None = None
        self.hung = False
        self.lost = False
        self.vacated = False
        self.boot_error = ""
        self.kill_timer: Timer | None = None
        self.pid = 0
        self._requests = 0
        self._asked: dict[int, Callable[[dict[str, str] | None], None]] = {}
        self.lifeline = -1
        self._channel: Channel | None = None
        self._fork()

    def _fork(self) -> None:
        arbiter = self.arbiter
        with ExitStack() as opened:
            ours, theirs = Channel.pair()
            opened.callback(ours.close)
            opened.callback(theirs.close)
            lifeline, self.lifeline = os.pipe()
            opened.callback(os.close, lifeline)
            opened.callback(os.close, self.lifeline)
            pid = os.fork()
            opened.pop_all()
        if pid == 0:
            code = 1
            try:
                ours.close()
                arbiter.forked()
                for number in SPARED:  # until the worker has handlers
                    signal.signal(number, signal.SIG_IGN)
                os.close(self.lifeline)
                set_title(arbiter.config.proc_name, "dirty-worker")
                os.environ[SOCKET_VARIABLE] = arbiter.listener.path  # for apps that call others, and the stash
                mirror.install(arbiter.dispatcher.stash.store.counts, arbiter.listener.path)
                worker = DirtyWorker(self.number, self.age, arbiter.pid, self.apps, arbiter.config)
                arbiter.config.post_fork(arbiter, worker)
                code = worker.run(theirs, lifeline)
            except BaseException:
                arbiter.log.exception("dirty worker %d failed", self.number)
            finally:
                os._exit(code)
        self.pid = pid
        os.close(lifeline)
        theirs.close()
        ours.sock.setblocking(False)
        self._channel = ours
        arbiter.loop.register(ours, READ, self._on_message)

    # What it runs

    @property
    def busy(self) -> list[SlotLink]:
        return [link for link in self.links if link.call is not None]

    @property
    def calls_done(self) -> int:
        return sum(link.used for link in self.links) - len(self.busy)

    # What it says

    def _on_message(self, _events: int) -> None:
        channel = self._channel
        if channel is None:
            return
        try:
            messages = channel.receive()
        except ValueError as exc:
            self.arbiter.supervisor.broken(self, f"side channel: {exc}")
            messages = None
        if messages is None:
            self._close_channel()
            self.arbiter.supervisor.broken(self, "")
            return
        self.seen_at = self.arbiter.loop.now
        for message in messages:
            self._handle(message)

    def on_error(self) -> None:
        """Something unexpected was raised while it was listened to: its state is not known any more."""
        self.arbiter.log.exception("Dirty arbiter: unexpected error with worker %d (pid %d)", self.number, self.pid)
        self._close_channel()
        self.arbiter.supervisor.broken(self, "its state is unknown")

    def _handle(self, message: dict[str, Any]) -> None:
        if "slots" in message:
            self._add_slots(message["slots"])
        elif message.get("ready"):
            for table in message.get("stashes", ()):
                self.arbiter.dispatcher.stash.store.ensure(table)
            self.arbiter.dispatcher.shares.introduce(self)
            self.arbiter.supervisor.ready(self)
        elif "failed" in message:
            self.boot_error = message["failed"]
        elif "cancelled" in message:
            index, call_id = message["cancelled"]
            call = self.links[index].call
            if isinstance(call, PoolCall) and call.id == call_id:
                self.links[index].pad()
        elif "stacks" in message:
            tell = self._asked.pop(message["request"], None)
            if tell is not None:
                tell(message["stacks"])
        elif message.get("leaving"):
            self.arbiter.supervisor.leaving(self)

    def _add_slots(self, slots: list[str | None]) -> None:
        """The worker has made these slots (the apps that they are reserved for), whose sockets came along."""
        assert self._channel is not None
        files = self._channel.files
        for only in slots:
            sock = socket.socket(fileno=files.pop(0))
            sock.setblocking(False)
            index = len(self.links)
            self.links.append(SlotLink(self.arbiter.dispatcher, self, self.member, index, sock, only))

    # What it is told

    def cancel(self, index: int, call_id: int, acknowledge: bool) -> None:
        """The call with this id, in this slot, is to end; `acknowledge` asks for word that it will not be run if it
        has not come whole yet."""
        if self._channel is not None:
            self._channel.send({"cancel": [index, call_id, acknowledge]})

    def share(self, token: int, fd: int) -> None:
        """It gets this memory of a client's. One that cannot be given it says so to those that name it."""
        if self._channel is not None:
            try:
                self._channel.send_files({"share": [token, os.fstat(fd).st_ino]}, [fd])
            except OSError as exc:
                self.arbiter.log.debug("Dirty worker (pid %d) gets no shared memory: %s", self.pid, exc)

    def unshare(self, token: int) -> None:
        """The memory is nobody's any more."""
        if self._channel is not None:
            self._channel.send({"unshare": token})

    def ask_stacks(self, tell: Callable[[dict[str, str] | None], None]) -> None:
        """Have `tell` called with what its threads run (names to tracebacks), or None when it does not answer."""
        self._requests += 1
        number = self._requests
        self._asked[number] = tell
        if self._channel is not None:
            self._channel.send({"stacks": number})

        def late() -> None:
            if self._asked.pop(number, None) is not None:
                tell(None)

        self.arbiter.loop.call_later(_PATIENCE, late)

    def stop(self, grace: float) -> None:
        """Ask it to close its apps and exit; it is killed after `grace` seconds."""
        if self.state is ProcessState.STOPPING:
            return
        self.state = ProcessState.STOPPING
        if self._channel is not None:
            self._channel.send({"stop": True})
        self.kill_after(grace)

    def kill(self) -> None:
        self.state = ProcessState.STOPPING
        self._signal(signal.SIGKILL)

    def kill_after(self, delay: float) -> None:
        """Kill it in `delay` seconds if it still lives."""
        if self.kill_timer is not None:
            self.kill_timer.cancel()
        self.kill_timer = self.arbiter.loop.call_later(delay, self.kill)

    def forward(self, number: int) -> None:
        """Send it a signal."""
        self._signal(number)

    def _signal(self, number: int) -> None:
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            pass

    # Its end

    def close(self) -> None:
        """Give back descriptors and timers."""
        if self.kill_timer is not None:
            self.kill_timer.cancel()
        for link in self.links:
            link.close()
        self._close_channel()
        os.close(self.lifeline)

    def _close_channel(self) -> None:
        if self._channel is not None:
            self.arbiter.loop.unregister(self._channel)
            self._channel.close()
            self._channel = None
