"""The greenlet driver: a greenlet per connection, in blocking style on gevent's cooperative sockets.

Used by the ``gevent`` worker. A connection's greenlet reads a request, calls the application and writes the answer, and
gives way to the others wherever it would wait. Request bodies are not collected first: the application reads them from
the socket through ``wsgi.input`` (``drivers.body_stream``), as fast as it wants to.

    accept ─► Client.run ─► H1Connection ─► Runner ─► Client.transmit ─► socket

The calling greenlet keeps time for all of them: once a TICK it gives the heartbeat, and ends what waited too long. So
waiting costs no timer, and a hub that an application blocks goes stale for the master to see.
"""

from __future__ import annotations

import io
import os
import time
import traceback
from time import monotonic
from typing import Any, BinaryIO, Final

import gevent
from gevent.event import Event
from gevent.lock import BoundedSemaphore
from gevent.socket import MSG_PEEK, SHUT_WR, socket

from gunicorn import SERVER
from gunicorn.drivers.body_stream import body_stream
from gunicorn.drivers.runner import PeerGoneError, Runner
from gunicorn.drivers.selector import ARRIVAL_TIMEOUT, LINGER_TIMEOUT, RECEIVE_SIZE, TICK, WRITE_TIMEOUT, host_of
from gunicorn.http.errors import RemoteProtocolError, RequestTimeout
from gunicorn.http.events import Data, Disconnected, Request
from gunicorn.http.h1.connection import H1Connection
from gunicorn.http.h1.head import HeadReader
from gunicorn.http.h1.response import Preamble
from gunicorn.http.policy import Policy
from gunicorn.supervision.scoreboard import CONNECTIONS
from gunicorn.wsgi.environ import connection_environ

COLLECTED: Final = 65536  # bytes: a body of at most so many is received before the application is called
NO_LIMIT: Final = 1 << 30
CLOSE_TIMEOUT: Final = 1.0  # seconds that applications have to let go when the worker ends

READABLE: Final = 1  # libev's masks
# What a client's greenlet waits for; NOTHING while it runs, or waits on behalf of the application.
NOTHING: Final = 0
TO_READ: Final = 1
TO_WRITE: Final = 2
TO_LINGER: Final = 3


class Client:
    """A connection and the greenlet that serves it."""

    __slots__ = (
        "_driver", "_environ", "_http", "_peer", "_since", "_sock", "_waits", "_watcher", "busy_since", "greenlet",
        "overdue",
    )  # fmt: skip

    def __init__(self, driver: GreenletDriver, sock: Any, peer: Any) -> None:
        self._driver = driver
        self._sock = sock
        self._peer = peer
        trusted = driver.policy.trusts(peer[0] if isinstance(peer, tuple) else None)
        self._http = H1Connection(driver.reader, driver.preamble, False, trusted)
        self._environ: dict[str, Any] | None = None
        self._watcher = driver.hub.loop.io(sock.fileno(), READABLE)
        self._waits = NOTHING
        self._since = monotonic()  # when the state began that http.deadline() speaks of
        self.busy_since = 0.0  # when the application was called; 0.0 when it is not running
        self.overdue = False
        self.greenlet = gevent.spawn(self.run)

    def run(self) -> None:
        """Serve the connection to its end. Nothing of :class:`Exception` comes out."""
        try:
            self._serve()
        except PeerGoneError:
            pass
        except Exception:
            self._driver.log.exception("Error on the connection of %s", self._peer)
        finally:
            self._watcher.close()
            self._sock.close()
            self._driver.forget(self)

    def _serve(self) -> None:
        http = self._http
        while True:
            try:
                request = self._next_request()
                if request is None:
                    return
                body = self._begin_body(request)
            except RemoteProtocolError as error:
                self.report(error)
                http.refuse(error)
                break
            if body is None:
                return
            self._call(request, body)
            self.flush()
            if http.closing:
                if request.end_stream:
                    return
                break
        self.flush()
        self._linger()

    def _next_request(self) -> Request | None:
        """The next request, or None when the connection ends without one."""
        http = self._http
        while True:
            event = http.next_event()
            if isinstance(event, Request):
                return event
            if http.closing or (self._driver.draining and self._may_end()) or not self.receive():
                return None

    def _begin_body(self, request: Request) -> BinaryIO | None:
        """What the application reads its input from; None when the peer went away before it began.

        A small body is received first, so that an application that ignores it leaves the connection usable, and a slow
        sender holds nothing of the application.
        """
        if request.end_stream:
            return io.BytesIO()
        length = request.content_length
        if length is None or length > COLLECTED or request.expects_continue:
            return body_stream(self)
        parts = []
        while True:
            event = self.next_data()
            if not isinstance(event, Data):
                return None
            parts.append(event.data)
            if event.end_stream:
                return io.BytesIO(b"".join(parts))

    def _call(self, request: Request, body: BinaryIO) -> None:
        environ = self._environ
        if environ is None:
            environ = self._environ = connection_environ(
                self._driver.runner.environ, self._sock, self._sock.getsockname(), self._peer
            )
        self.busy_since = monotonic()
        self._driver.runner.run(self._http, request, body, environ, self.transmit)
        self.busy_since = 0.0

    # ---------------------------------------------------------------- receiving

    def next_data(self) -> Data | Disconnected:
        """The next part of the request's body, waiting for it.

        Raises :class:`RemoteProtocolError` for a body that is refused or too slow, PeerGoneError.
        """
        while True:
            event = self._http.next_event()
            if isinstance(event, (Data, Disconnected)):
                return event
            self.flush()  # 100 Continue
            if not self.receive():
                return Disconnected()

    def receive(self) -> bool:
        """Give the connection what the peer sends next, waiting for it; False when an idle peer waited too long.

        Raises :class:`RequestTimeout` when it took too long within a request, PeerGoneError when it has gone.
        """
        http = self._http
        idle = http.idle
        if idle or http.request is not None:  # else a head that began earlier goes on
            self._since = monotonic()
        self._waits = TO_READ
        try:
            self._driver.hub.wait(self._watcher)
            data = self._sock.recv(RECEIVE_SIZE)
        except TimeoutError:  # thrown by expire()
            if http.idle:
                return False
            raise RequestTimeout(f"the request was not complete after {http.deadline():g} seconds") from None
        except OSError as error:
            raise PeerGoneError(f"the client has gone away: {error}") from error
        finally:
            self._waits = NOTHING
        if not data:
            http.receive_eof()
            return True
        if idle:
            self._since = monotonic()
        http.receive_data(data)
        if self._driver.draining:
            http.drain()
        return True

    def report(self, error: RemoteProtocolError) -> None:
        """Log a refusal; once, where it is found."""
        self._driver.log.warning("Invalid request from ip=%s: %s", host_of(self._peer), error)

    # ---------------------------------------------------------------- writing

    def flush(self) -> None:
        """Write what waits in the connection. Raises PeerGoneError."""
        data = self._http.data_to_send()
        if data:
            self.transmit(data)

    def transmit(self, data: bytes) -> None:
        """Write *data*, waiting while the peer reads slowly.

        Raises PeerGoneError when the peer is gone, or takes nothing for WRITE_TIMEOUT seconds.
        """
        view = memoryview(data)
        self._waits = TO_WRITE
        try:
            while view:
                self._since = monotonic()
                view = view[self._sock.send(view) :]
        except TimeoutError:
            raise PeerGoneError(f"the client read nothing for {WRITE_TIMEOUT:.0f} seconds") from None
        except OSError as error:
            raise PeerGoneError(f"the client has gone away: {error}") from error
        finally:
            self._waits = NOTHING

    def _linger(self) -> None:
        """Wait until the peer, which may still be sending, has heard that this is the end.

        Closing a socket with unread input resets the connection, and the reset may overtake the answer.
        """
        self._waits = TO_LINGER
        self._since = monotonic()
        try:
            self._sock.shutdown(SHUT_WR)
            while self._sock.recv(RECEIVE_SIZE):
                pass
        except OSError:  # gone, or it lingered too long (TimeoutError)
            pass
        finally:
            self._waits = NOTHING

    # ---------------------------------------------------------------- called by the timekeeper

    def waits_too_long(self, now: float) -> bool:
        """Whether the greenlet waits for its peer longer than it may."""
        if self._waits == NOTHING:
            return False
        if self._waits == TO_READ:
            limit = ARRIVAL_TIMEOUT if self._driver.draining and self._http.idle else self._http.deadline()
        else:
            limit = WRITE_TIMEOUT if self._waits == TO_WRITE else LINGER_TIMEOUT
        return limit is not None and now - self._since > limit

    def expire(self) -> None:
        """Wake the greenlet with a TimeoutError. For the hub only: there nothing happens between look and throw."""
        if self.waits_too_long(monotonic()):
            self.greenlet.throw(TimeoutError("deadline"))

    def drain(self) -> None:
        """Make the request at hand the last one, or end now. For the hub only."""
        if self._http.request is not None:
            self._http.drain()
        elif self._waits == TO_READ and self._may_end():
            self.greenlet.throw(TimeoutError("drain"))
        # What is received from now on is drained by receive().

    def _may_end(self) -> bool:
        """Whether the connection waits for its next request, which has not come yet.

        One that never had a request may not be ended: its first one is on the way, and the client could not know that
        it is lost. It has ARRIVAL_TIMEOUT.
        """
        return self._http.idle and self._environ is not None and not self._has_come()

    def _has_come(self) -> bool:
        """Whether the peer has sent something that was not received yet; does not wait."""
        self._sock.settimeout(0.0)
        try:
            return bool(self._sock.recv(1, MSG_PEEK))
        except OSError:
            return False
        finally:
            self._sock.settimeout(None)


class GreenletDriver:
    """Serves the listeners of one worker until ``worker.alive`` is false and every connection has ended."""

    def __init__(self, worker: Any, runner: Runner) -> None:
        cfg = worker.cfg
        self.log = worker.log
        self.runner = runner
        self.policy = Policy.from_config(cfg)
        self.reader = HeadReader(self.policy)
        self.preamble = Preamble(SERVER, time.time())
        self.hub = gevent.get_hub()
        self.draining = False
        self._worker = worker
        self._clients: set[Client] = set()
        self._room = BoundedSemaphore(cfg.worker_connections or NO_LIMIT)
        self._woken = Event()
        # Of the same open files, in gevent's class: the master's were made before anything was patched.
        self._listeners = [
            socket(each.family, each.type, each.proto, fileno=os.dup(each.fileno())) for each in worker.sockets
        ]
        self._acceptors: list[Any] = []
        self._watchers: list[Any] = []

    def run(self) -> None:
        """Serve; the calling greenlet keeps time."""
        worker = self._worker
        self._acceptors += [gevent.spawn(self._accept, listener) for listener in self._listeners]
        if worker.wakeup_fd >= 0:
            self._watchers.append(gevent.spawn(self._watch_signals, worker.wakeup_fd))
        if worker.parent_fd >= 0:
            self._watchers.append(gevent.spawn(self._watch_parent, worker.parent_fd))
        drain_until = 0.0
        while True:
            now = monotonic()
            worker.notify()
            self.preamble.renew(time.time())
            if not worker.alive and not self.draining:
                drain_until = now + worker.cfg.graceful_timeout
                self._begin_drain()
            self._check_time(now)
            if self.draining and (now >= drain_until or self._only_overdue_left()):
                return
            self._woken.wait(TICK)
            self._woken.clear()

    def close(self) -> None:
        """Release everything at once. Called when the worker ends."""
        self._stop_accepting()
        gevent.killall([*self._watchers, *(client.greenlet for client in self._clients)], timeout=CLOSE_TIMEOUT)

    def forget(self, client: Client) -> None:
        """A client's last words: it has closed its socket."""
        self._clients.discard(client)
        self._worker.scoreboard.q[CONNECTIONS] = len(self._clients)
        self._room.release()
        if self.draining and not self._clients:
            self._woken.set()

    # ---------------------------------------------------------------- greenlets

    def _accept(self, listener: Any) -> None:
        """Take one connection at a time, as long as there is room; the rest waits in the backlog, or goes elsewhere."""
        listener.settimeout(0.0)
        watcher = self.hub.loop.io(listener.fileno(), READABLE)
        try:
            while True:
                self.hub.wait(watcher)
                self._room.acquire()
                accepted = False
                try:
                    accepted = self._accept_one(listener)
                except (BlockingIOError, ConnectionAbortedError):
                    pass
                except OSError as error:
                    self.log.error("accept failed: %s", error)
                    gevent.sleep(TICK)  # out of descriptors, mostly: the connection waits, and so do we
                finally:
                    if not accepted:
                        self._room.release()
        finally:
            watcher.close()

    def _accept_one(self, listener: Any) -> bool:
        sock, peer = listener.accept()
        sock.settimeout(None)
        self._clients.add(Client(self, sock, peer))
        self._worker.scoreboard.q[CONNECTIONS] = len(self._clients)
        return True

    def _watch_signals(self, fd: int) -> None:
        watcher = self.hub.loop.io(fd, READABLE)
        try:
            while True:
                self.hub.wait(watcher)
                self._worker.drain_wakeup()
                self._woken.set()
        finally:
            watcher.close()

    def _watch_parent(self, fd: int) -> None:
        watcher = self.hub.loop.io(fd, READABLE)
        try:
            self.hub.wait(watcher)
        finally:
            watcher.close()
        self._worker.alive = False
        self._woken.set()

    # ---------------------------------------------------------------- the timekeeper

    def _check_time(self, now: float) -> None:
        limit = self._worker.cfg.timeout
        for client in self._clients:
            if client.waits_too_long(now):
                self.hub.loop.run_callback(client.expire)
            elif limit and client.busy_since and now - client.busy_since > limit and not client.overdue:
                self._replace_for(client, limit)

    def _replace_for(self, client: Client, limit: int) -> None:
        """A request over ``timeout``: log where it is, and let the worker end once the others are served."""
        client.overdue = True
        stack = "".join(traceback.format_stack(client.greenlet.gr_frame))
        self.log.critical("A request runs for over %d seconds; replacing the worker.\n%s", limit, stack)
        self._worker.alive = False
        self._woken.set()

    def _only_overdue_left(self) -> bool:
        return all(client.overdue and client.busy_since for client in self._clients)

    def _begin_drain(self) -> None:
        """Accept no more, end idle connections, and let the others finish what they are at."""
        self.draining = True
        self._stop_accepting()
        for client in self._clients:
            self.hub.loop.run_callback(client.drain)

    def _stop_accepting(self) -> None:
        gevent.killall(self._acceptors)  # before the descriptors that they wait for are closed
        self._acceptors.clear()
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        for listener in self._worker.sockets:
            listener.close()
