"""The selector driver: one epoll loop that never waits for a client, and runs a request once it is complete.

Used by the ``sync`` and ``gthread`` workers. A connection is read when it is readable, parsed, and its complete request
run inline by the thread that found it; how several threads share the loop is in ``drivers.crew``. What a slow reader
does not take at once stays in the connection's outbox, and is written when it can be.

    poller ─► Channel.on_ready ─► H1Connection ─► Runner ─► Channel.flush ─► socket
"""

from __future__ import annotations

import select
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from gunicorn import SERVER, sock
from gunicorn.drivers import sendfile
from gunicorn.drivers.admission import LOOK_AGAIN, Shortage, choose, overstays
from gunicorn.drivers.channel import Channel
from gunicorn.drivers.patience import check_deadline, give_up, standing
from gunicorn.drivers.poller import EXCLUSIVE, READ, make_poller
from gunicorn.drivers.runner import Runner
from gunicorn.drivers.sender import Sender
from gunicorn.drivers.spool import SpoolRoom
from gunicorn.health import HealthPath
from gunicorn.http.h1.head import HeadReader
from gunicorn.http.h1.response import Preamble
from gunicorn.http.policy import Policy
from gunicorn.supervision.scoreboard import CONNECTIONS, STATE, WorkerState

TICK: Final = 1.0  # seconds between housekeeping
DRAIN_TICK: Final = 0.1  # the same while the worker ends, which should not take longer than its clients do


class SelectorDriver:
    """Serves the listeners of one worker until ``worker.alive`` is false and every connection has ended.

    The thread that holds :attr:`ready` and polls is the only one that accepts and keeps time; see :meth:`next_channel`.
    """

    def __init__(self, worker: Any, runner: Runner) -> None:
        cfg = worker.cfg
        self.worker = worker
        self.log = worker.log
        self.runner = runner
        self.policy = Policy.from_config(cfg)
        self.reader = HeadReader(self.policy)
        self.preamble = Preamble(SERVER, time.time())
        # Where bodies are collected; None when applications may wait for them, and so read them as they come.
        self.room: SpoolRoom | None = SpoolRoom(cfg.tmp_upload_dir, cfg.tmp_upload_limit)
        self.sendfile = sendfile.AVAILABLE and cfg.sendfile is not False and not cfg.is_ssl
        self.wait: Callable[[Sender, int, float | None], bool] = self.wait_inline
        self.interrupted = False  # the polling thread shall come back though it has found nothing
        self.health = HealthPath.of(worker)
        self.reserved_for = 0  # the thread that polls for the health path alone, while all others are taken
        self._make_channel = make_channels(worker, self.health)
        self.now = monotonic()
        self.ready: deque[Channel] = deque()
        self.channels: dict[int, Channel] = {}
        self.draining = False
        self.stopped = False
        self._drain_until = 0.0
        self._tick = TICK
        self._next_tick = 0.0
        self._poller = make_poller()
        if runner.collect_lines is not None:
            self._flush_lines = runner.collect_lines()
            self.release = self._release_and_flush  # type: ignore[method-assign]
        self._most_channels: int = cfg.worker_connections or sys.maxsize
        self._paused = threading.Event()  # set while no connection is accepted; see _pause
        self._pausing = threading.Lock()
        self._shortage = Shortage(self.log)
        self._next_look = 0.0  # when to see whether somebody waits meanwhile
        self._dispensable: list[Channel] = []  # who may be given up then
        self._listeners: dict[int, socket.socket] = {}
        # Listeners with a connection to accept: after the work at hand, for meanwhile an idle worker may take it.
        self._knocking: list[socket.socket] = []
        for listener in worker.sockets:
            listener.setblocking(False)
            self._listeners[listener.fileno()] = listener
            self._poller.register(listener.fileno(), READ | EXCLUSIVE)
        self._wakeups: dict[int, Callable[[], None]] = {}

    def on_wakeup(self, fd: int, callback: Callable[[], None]) -> None:
        """Call *callback* from the polling thread whenever *fd* is readable."""
        self._wakeups[fd] = callback
        self._poller.register(fd, READ)

    def next_channel(self) -> Channel | None:
        """A channel that is ready to be worked on, waiting for one if need be; None when the driver has stopped, or was
        :attr:`interrupted`.

        Call it from one thread at a time. The channel is marked busy: it is the caller's until :meth:`release`.
        """
        ready = self.ready
        while not ready:
            self._housekeep()
            if self.stopped:
                return None
            if self._knocking and self.worker.alive:
                self._accept(self._knocking.pop())
                continue
            if self.interrupted:
                self.interrupted = False
                return None
            if self._paused.is_set():
                self._make_room()
            for fd, _ in self._poller.poll(self._tick):
                channel = self.channels.get(fd)
                if channel is None:
                    self._on_other(fd)
                elif not channel.busy:
                    channel.busy = True
                    ready.append(channel)
                else:
                    self._disarm(channel)
            self.now = monotonic()
        return ready.popleft()

    def release(self, channel: Channel) -> None:
        """The caller has done what it could with *channel*: the poller may report it again."""
        channel.busy = False
        if channel.disarmed and not channel.closed:
            channel.disarmed = False
            self.watch(channel, channel.mask)

    def _release_and_flush(self, channel: Channel) -> None:
        """The same when the access log holds lines back: they are written when there is nothing else at hand to do."""
        SelectorDriver.release(self, channel)
        if not self.ready:
            self._flush_lines()

    def run(self) -> None:
        """Serve with the calling thread alone, one request at a time."""
        while (channel := self.next_channel()) is not None:
            try:
                channel.on_ready()
            except Exception:
                self.fail(channel)
            self.release(channel)

    def fail(self, channel: Channel) -> None:
        """An error of the driver itself, now being handled, ends the connection and nothing else."""
        self.log.exception("Error on the connection of %s", channel.peer)
        channel.close()

    def watch(self, channel: Sender, mask: int) -> None:
        """Hear of *channel* when it is ready for *mask*; nothing when another thread has closed it meanwhile."""
        channel.mask = mask
        self.arm(channel, mask)

    def arm(self, channel: Sender, mask: int) -> None:
        """Tell the poller of what is watched; 0 for nothing."""
        try:
            self._poller.modify(channel.fd, mask)
        except OSError:
            if not channel.closed:
                raise

    def forget(self, channel: Sender) -> None:
        del self.channels[channel.fd]
        self._poller.unregister(channel.fd)
        self.worker.scoreboard.q[CONNECTIONS] = len(self.channels)
        if self._paused.is_set() and len(self.channels) < self._most_channels:
            self._resume()

    def wait_inline(self, channel: Sender, mask: int, limit: float | None) -> bool:
        """Wait until the socket of *channel* is ready for *mask*; False after *limit* seconds (None: for ever).

        The worker's only thread waits, and says meanwhile that it lives.
        """
        deadline = monotonic() + (sys.maxsize if limit is None else limit)
        waiter = select.poll()
        waiter.register(channel.fd, mask)
        while True:
            left = deadline - monotonic()
            if waiter.poll(max(0.0, min(left, TICK)) * 1000):
                return True
            if left <= 0:
                return False
            self.worker.notify()

    def drain(self) -> None:
        """Stop accepting and end when all requests are served; also called when the master is gone."""
        for fd, callback in list(self._wakeups.items()):
            if callback == self.drain:  # a closed pipe stays readable
                del self._wakeups[fd]
                self._poller.unregister(fd)
        self.worker.alive = False

    def close(self) -> None:
        """Release everything, connections included. Called when the worker ends."""
        self.stopped = True  # for a thread whose request was not waited for
        for channel in list(self.channels.values()):
            channel.close()
        self._poller.close()

    # ---------------------------------------------------------------- inside

    def _disarm(self, channel: Channel) -> None:
        """Stop hearing of a channel that another thread works on (it was sent more, or was closed by its peer)."""
        self.arm(channel, 0)
        channel.disarmed = True  # not before: release() must not arm it again ahead of us
        if not channel.busy:  # released meanwhile, before it could see the mark
            self.release(channel)

    def _on_other(self, fd: int) -> None:
        listener = self._listeners.get(fd)
        if listener is not None:
            self._knocking.append(listener)
        elif fd in self._wakeups:
            self._wakeups[fd]()
            if not (self.interrupted and self.worker.alive):
                self._next_tick = 0.0

    def _accept(self, listener: socket.socket) -> None:
        """Take one connection: with several workers, the next one is another's unless all are busy."""
        try:
            client, peer = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:  # no descriptors, no memory: until the next tick others may have gone
            self._shortage.failed(error, self.now)
            self._pause()
            return
        client.setblocking(False)
        if isinstance(peer, tuple):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            channel = self._make_channel(self, client, peer)
        except OSError:  # gone already
            client.close()
            return
        self.channels[channel.fd] = channel
        self._poller.register(channel.fd, READ)
        self.worker.scoreboard.q[CONNECTIONS] = len(self.channels)
        if channel.eager:
            self.ready.append(channel)
        else:
            channel.busy = False
        if len(self.channels) >= self._most_channels:
            self._pause()

    def _pause(self) -> None:
        """Leave new connections in the listeners' backlogs, where another worker finds them."""
        with self._pausing:
            if not self._paused.is_set():
                self._paused.set()
                self._tick = min(self._tick, LOOK_AGAIN)
                for fd in self._listeners:
                    self._poller.unregister(fd)

    def _resume(self) -> None:
        with self._pausing:
            if self._paused.is_set() and not self.draining:
                self._paused.clear()
                self._tick = TICK
                for fd in self._listeners:
                    self._poller.register(fd, READ | EXCLUSIVE)

    def _make_room(self) -> None:
        """While nobody is accepted: when somebody waits for that, give up a connection that should not keep its place.

        When there is one, the next that waits is accepted.
        """
        now = self.now
        if now < self._next_look:
            return
        self._next_look = now + LOOK_AGAIN
        waiter = select.poll()
        for fd in self._listeners:
            waiter.register(fd, select.POLLIN)
        if not waiter.poll(0):
            return
        if not self._dispensable:
            standings = ((channel, standing(channel, now)) for channel in list(self.channels.values()))
            self._dispensable = choose((channel, *stands) for channel, stands in standings if stands)
        while self._dispensable:
            channel = self._dispensable.pop()
            stands = None if channel.closed else standing(channel, now)
            if stands and overstays(*stands) > 0:
                give_up(channel)
                if channel.closed:
                    self._next_look = 0.0  # somebody takes its place, and then the next who waits is looked for
                return

    def _housekeep(self) -> None:
        now = self.now
        if now < self._next_tick:
            return
        self._next_tick = now + self._tick
        self.worker.notify()
        self.preamble.renew(time.time())
        if not self.worker.alive and not self.draining:
            self._begin_drain(now)
        for channel in list(self.channels.values()):
            if not channel.busy:
                check_deadline(channel, now, self.draining)
        if self._paused.is_set() and len(self.channels) < self._most_channels:
            self._resume()
        if not self._paused.is_set():
            # Nobody else was woken for a connection that woke a worker which then ended (EPOLLEXCLUSIVE).
            self._knocking[:] = self._listeners.values()
        if self.draining and (not self.channels or now >= self._drain_until):
            self.stopped = True

    def _begin_drain(self, now: float) -> None:
        """Accept no more, end idle connections, and let the others finish what they are at."""
        self.draining = True
        self.worker.scoreboard.q[STATE] = WorkerState.DRAINING
        self._tick = min(TICK, DRAIN_TICK)
        self._drain_until = now + self.worker.cfg.graceful_timeout
        self._pause()
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()
        self._knocking.clear()
        for channel in list(self.channels.values()):
            channel.begin_drain()


def make_channels(worker: Any, health: HealthPath | None) -> Callable[[SelectorDriver, socket.socket, Any], Channel]:
    """What makes the channels of *worker*: plain ones or under TLS, with or without a health path."""
    cfg = worker.cfg
    if not cfg.is_ssl:
        if health is None:
            return Channel
        from gunicorn.drivers.reserve import ReserveChannel

        return lambda driver, client, peer: ReserveChannel(driver, client, peer, health)
    from gunicorn.drivers.tls_channel import ReserveTLSChannel, TLSChannel

    tls = sock.ssl_context(cfg), cfg.do_handshake_on_connect, cfg.suppress_ragged_eofs
    if health is None:
        return lambda driver, client, peer: TLSChannel(driver, client, peer, *tls)
    return lambda driver, client, peer: ReserveTLSChannel(driver, client, peer, *tls, health)
