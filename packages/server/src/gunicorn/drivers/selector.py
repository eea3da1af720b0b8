"""The selector driver: one epoll loop that never waits for a client, and runs a request once it is complete.

Used by the ``sync`` and ``gthread`` workers. A connection is read when it is readable, parsed, and its complete request
run inline by the thread that found it; how several threads share the loop is in ``drivers.crew``. What a slow reader
does not take at once stays in the connection's outbox, and is written when it can be.

    poller ─► Channel.on_ready ─► H1Connection ─► Runner ─► Channel.flush ─► socket
"""

from __future__ import annotations

import io
import select
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, BinaryIO, Final

from gunicorn import SERVER
from gunicorn.drivers.poller import EXCLUSIVE, READ, WRITE, make_poller
from gunicorn.drivers.runner import PeerGoneError, Runner
from gunicorn.drivers.spool import Spool
from gunicorn.http.errors import RemoteProtocolError, RequestTimeout
from gunicorn.http.events import Data, Request
from gunicorn.http.h1.connection import H1Connection
from gunicorn.http.h1.head import HeadReader
from gunicorn.http.h1.response import Preamble
from gunicorn.http.policy import Policy
from gunicorn.supervision.scoreboard import CONNECTIONS
from gunicorn.wsgi.environ import connection_environ

RECEIVE_SIZE: Final = 65536  # bytes of one recv
WRITE_TIMEOUT: Final = 30.0  # seconds that an application waits for a reader that takes nothing
LINGER_TIMEOUT: Final = 2.0  # seconds for the peer of a refused request to read the answer
ARRIVAL_TIMEOUT: Final = 1.0  # seconds for the first byte of a new connection, when the worker ends
TICK: Final = 1.0  # seconds between housekeeping


class Channel:
    """A client's socket, its HTTP connection, and what the driver remembers about them.

    ``busy`` belongs to the thread that works on the channel; the poller leaves a busy channel alone.
    """

    __slots__ = (
        "_body", "_driver", "_environ", "_request", "busy", "closed", "disarmed", "fd", "http", "lingering", "outbox",
        "peer", "since", "sock",
    )  # fmt: skip

    def __init__(self, driver: SelectorDriver, sock: socket.socket, peer: Any) -> None:
        self._driver = driver
        self.sock = sock
        self.fd = sock.fileno()
        self.peer = peer
        trusted = driver.policy.trusts(peer[0] if isinstance(peer, tuple) else None)
        self.http = H1Connection(driver.reader, driver.preamble, False, trusted)
        self._environ: dict[str, Any] | None = None
        self._request: Request | None = None
        self._body: Spool | None = None
        self.busy = True
        self.disarmed = False
        self.closed = False
        self.lingering = False
        self.outbox = b""
        self.since = driver.now  # when the state began that http.deadline() speaks of

    def on_ready(self) -> None:
        """Read or write what can be, run the requests that became complete, and be ready for the next call."""
        if self.outbox:
            if not self._empty_outbox():
                return
        else:
            try:
                data = self.sock.recv(RECEIVE_SIZE)
            except (BlockingIOError, InterruptedError):
                if not self.http.idle:
                    self.advance()
                return
            except OSError:
                self.close()
                return
            if self.lingering:
                if not data:
                    self.close()
                return
            http = self.http
            if not data:
                http.receive_eof()
            elif http.idle or http.request is not None:  # else the head that began earlier goes on
                self.since = self._driver.now
            http.receive_data(data)
            if self._driver.draining:
                http.drain()
        self.advance()

    def advance(self) -> None:
        """Pull events until there are none, serving each complete request; then write, and close if that is due."""
        http = self.http
        try:
            while (event := http.next_event()) is not None:
                if isinstance(event, Request):
                    if event.end_stream:
                        self._serve(event, io.BytesIO())
                        if not http.buffered:
                            return
                    else:
                        self._request, self._body = event, Spool()
                elif isinstance(event, Data):
                    self._take(event)
                if self.outbox or self.closed or self.lingering:
                    return
        except RemoteProtocolError as error:
            self.refuse(error)
            return
        self.flush()

    def refuse(self, error: RemoteProtocolError) -> None:
        """Answer a bad request, log it once, and end the connection so that the peer can still read the answer."""
        self._driver.log.warning("Invalid request from ip=%s: %s", host_of(self.peer), error)
        self.http.refuse(error)
        self.lingering = True
        self.flush()

    def _take(self, event: Data) -> None:
        body, request = self._body, self._request
        assert body is not None
        assert request is not None
        body.write(event.data, self._driver.upload_dir)
        if event.end_stream:
            self._body = self._request = None
            try:
                self._serve(request, body.rewind())
            finally:
                body.close()

    def _serve(self, request: Request, body: BinaryIO) -> None:
        environ = self._environ
        if environ is None:
            environ = self._environ = connection_environ(
                self._driver.runner.environ, self.sock, self.sock.getsockname(), self.peer
            )
        self._driver.runner.run(self.http, request, body, environ, self.transmit)
        self.flush()
        self.since = monotonic()

    # ---------------------------------------------------------------- writing

    def flush(self) -> None:
        """Write what waits, keep in the outbox what the peer does not take now, and close when that is due."""
        http = self.http
        data = http.data_to_send()
        if data:
            try:
                sent = self.sock.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                self.close()
                return
            if sent < len(data):
                self.outbox = data[sent:]
                self._driver.watch(self, WRITE)
                return
        if http.closing:
            self._finish()

    def transmit(self, data: bytes) -> None:
        """Write *data* for an application that streams, and wait until the kernel has all of it.

        Only then the application goes on: PEP 3333 forbids to hold back what it yielded while it computes the next.
        Raises :class:`PeerGoneError` when the peer is gone, or takes nothing for WRITE_TIMEOUT seconds.
        """
        if self.closed:
            raise PeerGoneError("the client has gone away")
        view = memoryview(data)
        deadline = 0.0
        try:
            while view:
                try:
                    view = view[self.sock.send(view) :]
                    deadline = 0.0
                except (BlockingIOError, InterruptedError):
                    now = monotonic()
                    deadline = deadline or now + WRITE_TIMEOUT
                    if now > deadline:
                        raise PeerGoneError(f"the client read nothing for {WRITE_TIMEOUT:.0f} seconds") from None
                    waiter = select.poll()
                    waiter.register(self.fd, select.POLLOUT)
                    waiter.poll(1000)
                    self._driver.beat()
        except OSError as error:
            if isinstance(error, PeerGoneError):
                raise
            raise PeerGoneError(f"the client has gone away: {error}") from error

    def _empty_outbox(self) -> bool:
        """Whether the connection may go on: everything was written, and it does not close."""
        try:
            self.outbox = self.outbox[self.sock.send(self.outbox) :]
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            self.close()
            return False
        self.since = self._driver.now
        if self.outbox:
            return False
        self._driver.watch(self, READ)
        if self.http.closing:
            self._finish()
            return False
        return True

    def _finish(self) -> None:
        """Everything was sent: close, or, if the peer may still be sending, say so and wait for it to hear that.

        Closing a socket with unread input resets the connection, and the reset may overtake the answer.
        """
        request_unread = self.lingering or self._request is not None
        if not request_unread:
            self.close()
            return
        self.lingering = True
        self.since = self._driver.now
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        if self._body is not None:
            self._body.close()
        try:
            self._driver.forget(self)
        finally:
            self.sock.close()

    def begin_drain(self) -> None:
        """Make the request at hand the last one; end a connection that waits for its next one, unless that just came.

        One that never had a request is not ended: its first one is on the way, and the client could not know that it is
        lost. It has ARRIVAL_TIMEOUT.
        """
        http = self.http
        if not http.idle:
            http.drain()
            return
        if self.busy or self.outbox or self.lingering:  # what is received from now on is drained by on_ready()
            return
        try:
            data = self.sock.recv(RECEIVE_SIZE)
        except (BlockingIOError, InterruptedError):
            if http.served:
                self.close()
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        http.receive_data(data)
        http.drain()
        self.busy = True
        self._driver.ready.append(self)

    # ---------------------------------------------------------------- time

    def check_deadline(self, now: float) -> None:
        """End a channel that stayed too long in its state: 408 within a request, silently between requests."""
        if self.lingering:
            limit: float | None = LINGER_TIMEOUT
        elif self.outbox:
            limit = WRITE_TIMEOUT
        elif self._driver.draining and self.http.idle:
            limit = ARRIVAL_TIMEOUT
        else:
            limit = self.http.deadline()
        if limit is None or now - self.since <= limit:
            return
        if self.lingering or self.outbox or self.http.idle:
            self.close()
        else:
            self.refuse(RequestTimeout(f"the request was not complete after {limit:g} seconds"))


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
        self.upload_dir: str | None = None
        self.now = monotonic()
        self.ready: deque[Channel] = deque()
        self.channels: dict[int, Channel] = {}
        self.draining = False
        self.stopped = False
        self._drain_until = 0.0
        self._next_tick = 0.0
        self._poller = make_poller()
        self._most_channels: int = cfg.worker_connections or sys.maxsize
        self._paused = threading.Event()  # set while no connection is accepted; see _pause
        self._pausing = threading.Lock()
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
        """A channel that is ready to be worked on, waiting for one if need be; None when the driver has stopped.

        Call it from one thread at a time. The channel is marked busy: it is the caller's until :meth:`release`.
        """
        ready = self.ready
        while not ready:
            if self._knocking and not self.stopped:
                self._accept(self._knocking.pop())
                continue
            self._housekeep()
            if self.stopped:
                return None
            for fd, _ in self._poller.poll(TICK):
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
            self.watch(channel, WRITE if channel.outbox else READ)

    def run(self) -> None:
        """Serve with the calling thread alone, one request at a time."""
        while (channel := self.next_channel()) is not None:
            channel.on_ready()
            self.release(channel)

    def watch(self, channel: Channel, mask: int) -> None:
        """Hear of *channel* when it is ready for *mask*; nothing when another thread has closed it meanwhile."""
        try:
            self._poller.modify(channel.fd, mask)
        except OSError:
            if not channel.closed:
                raise

    def forget(self, channel: Channel) -> None:
        del self.channels[channel.fd]
        self._poller.unregister(channel.fd)
        self.worker.scoreboard.q[CONNECTIONS] = len(self.channels)
        if self._paused.is_set() and len(self.channels) < self._most_channels:
            self._resume()

    def beat(self) -> None:
        """Say that this worker lives, also while an application waits for a slow reader."""
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
        self.stopped = True
        for channel in list(self.channels.values()):
            channel.close()
        self._poller.close()

    # ---------------------------------------------------------------- inside

    def _disarm(self, channel: Channel) -> None:
        """Stop hearing of a channel that another thread works on (it was sent more, or was closed by its peer)."""
        self.watch(channel, 0)
        channel.disarmed = True  # not before: release() must not arm it again ahead of us
        if not channel.busy:  # released meanwhile, before it could see the mark
            self.release(channel)

    def _on_other(self, fd: int) -> None:
        listener = self._listeners.get(fd)
        if listener is not None:
            self._knocking.append(listener)
        elif fd in self._wakeups:
            self._wakeups[fd]()
            self._next_tick = 0.0

    def _accept(self, listener: socket.socket) -> None:
        """Take one connection: with several workers, the next one is another's unless all are busy."""
        try:
            sock, peer = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:  # no descriptors, no memory: until the next tick others may have gone
            self.log.error("Connections wait, accept failed: %s", error)
            self._pause()
            return
        sock.setblocking(False)
        if isinstance(peer, tuple):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        channel = Channel(self, sock, peer)
        self.channels[channel.fd] = channel
        self._poller.register(channel.fd, READ)
        self.worker.scoreboard.q[CONNECTIONS] = len(self.channels)
        self.ready.append(channel)  # what it wants has mostly come with it
        if len(self.channels) >= self._most_channels:
            self._pause()

    def _pause(self) -> None:
        """Leave new connections in the listeners' backlogs, where another worker finds them."""
        with self._pausing:
            if not self._paused.is_set():
                self._paused.set()
                for fd in self._listeners:
                    self._poller.unregister(fd)

    def _resume(self) -> None:
        with self._pausing:
            if self._paused.is_set():
                self._paused.clear()
                for fd in self._listeners:
                    self._poller.register(fd, READ | EXCLUSIVE)

    def _housekeep(self) -> None:
        now = self.now
        if now < self._next_tick:
            return
        self._next_tick = now + TICK
        self.worker.notify()
        self.preamble.renew(time.time())
        if not self.worker.alive and not self.draining:
            self._begin_drain(now)
        for channel in list(self.channels.values()):
            if not channel.busy:
                channel.check_deadline(now)
        if self._paused.is_set() and len(self.channels) < self._most_channels:
            self._resume()
        if self.draining and (not self.channels or now >= self._drain_until):
            self.stopped = True

    def _begin_drain(self, now: float) -> None:
        """Accept no more, end idle connections, and let the others finish what they are at."""
        self.draining = True
        self._drain_until = now + self.worker.cfg.graceful_timeout
        self._pause()
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()
        self._knocking.clear()
        for channel in list(self.channels.values()):
            channel.begin_drain()


def host_of(peer: Any) -> str:
    """How a refusal names *peer*, an address as ``accept`` gives it."""
    return str(peer[0]) if isinstance(peer, tuple) else "unix"
