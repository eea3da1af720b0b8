"""The greenlet driver: a greenlet per connection, in blocking style on gevent's hub. Used by the ``gevent`` worker.

A connection's greenlet (``drivers.greenlet_client``) reads a request, calls the application and writes the answer, and
gives way to the others wherever it would wait. Large request bodies are not collected first: the application reads them
from the socket through ``wsgi.input`` (``drivers.body_stream``), as fast as it wants to.

This half accepts connections, as many as there may be (``drivers.admission``), and keeps time for all of them: once a
TICK it gives the heartbeat, and ends what waited too long. So waiting costs no timer, and a hub that an application
blocks goes stale for the master to see.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable
from time import monotonic
from typing import Any, BinaryIO, Final

import gevent
from gevent.event import Event
from gevent.socket import socket

from gunicorn import SERVER, sock
from gunicorn.drivers import sendfile
from gunicorn.drivers.admission import LOOK_AGAIN, Shortage, choose
from gunicorn.drivers.greenlet_client import READABLE, Client
from gunicorn.drivers.runner import Runner
from gunicorn.drivers.selector import DRAIN_TICK, TICK
from gunicorn.health import HealthPath
from gunicorn.http.connection import Connection
from gunicorn.http.events import Request
from gunicorn.http.h1.head import HeadReader
from gunicorn.http.h1.response import Preamble
from gunicorn.http.policy import Policy
from gunicorn.supervision.scoreboard import BUSY_SINCE, CONNECTIONS, STATE, WorkerState
from gunicorn.wsgi.response import Transmit

NO_LIMIT: Final = 1 << 30
CLOSE_TIMEOUT: Final = 1.0  # seconds that applications have to let go when the worker ends


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
        if runner.collect_lines is not None:
            runner.collect_lines(self.hub.loop.run_callback)
        self.run_request = with_health_path(runner, HealthPath.of(worker))
        self.draining = False
        self._quitting = False
        self.secure: bool = cfg.is_ssl
        self.sendfile = sendfile.AVAILABLE and cfg.sendfile is not False and not self.secure
        self._client = Client
        if self.secure:
            from gunicorn.drivers.greenlet_tls import TLSClient

            self._client = TLSClient
            self.ssl_context = sock.ssl_context(cfg)
            self.suppress_ragged_eofs: bool = cfg.suppress_ragged_eofs
        self._worker = worker
        self._clients: set[Client] = set()
        self._most_clients: int = cfg.worker_connections or NO_LIMIT
        self._shortage = Shortage(self.log)
        self._freed = Event()  # set when a connection ends
        self._dispensable: list[Client] = []  # who was found to be given up, and is not yet
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
            self._show(now)
            if self._quitting or (self.draining and (now >= drain_until or self._only_overdue_left())):
                return
            self._woken.wait(DRAIN_TICK if self.draining else TICK)
            self._woken.clear()

    def quit(self) -> None:
        """Make :meth:`run` return without waiting for anybody. For a signal handler: the signal itself wakes it."""
        self._quitting = True

    def close(self) -> None:
        """Release everything at once. Called when the worker ends."""
        self._stop_accepting()
        gevent.killall([*self._watchers, *(client.greenlet for client in self._clients)], timeout=CLOSE_TIMEOUT)

    def forget(self, client: Client) -> None:
        """A client's last words: it has closed its socket."""
        self._clients.discard(client)
        self._worker.scoreboard.q[CONNECTIONS] = len(self._clients)
        self._freed.set()
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
                if not self._worker.alive:  # it is about to drain: whoever comes now is another's
                    return
                if len(self._clients) >= self._most_clients:
                    self._make_room()
                    continue  # another worker may have taken it meanwhile
                try:
                    self._accept_one(listener)
                except (BlockingIOError, ConnectionAbortedError):
                    pass
                except OSError as error:  # out of descriptors, mostly: the connection waits, and so do we
                    self._shortage.failed(error, monotonic())
                    self._make_room()
        finally:
            watcher.close()

    def _accept_one(self, listener: Any) -> None:
        connection, peer = listener.accept()
        connection.settimeout(None)
        self._clients.add(self._client(self, connection, peer))
        self._worker.scoreboard.q[CONNECTIONS] = len(self._clients)

    def _make_room(self) -> None:
        """Give up a connection that keeps others waiting, if there is one, and wait a while for one to end."""
        self._freed.clear()
        if not self._dispensable:
            now = monotonic()
            standings = ((client, client.standing(now)) for client in self._clients)
            self._dispensable = choose((client, *standing) for client, standing in standings if standing)
        if self._dispensable:
            self.hub.loop.run_callback(self._dispensable.pop().give_up)
        self._freed.wait(LOOK_AGAIN)

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
            elif limit and client.occupies(now) > limit and not client.overdue:
                self._replace_for(client, limit)

    def _show(self, now: float) -> None:
        """Show the request that has run longest in the scoreboard."""
        busy = [client for client in self._clients if client.busy_since]
        oldest = min(busy, key=lambda client: client.busy_since, default=None)
        slot = self._worker.scoreboard
        slot.d[BUSY_SINCE] = oldest.busy_since if oldest is not None else 0.0
        if oldest is not None and oldest.request is not None:
            slot.text[:] = oldest.request.target.label
        if slot.q[STATE] in (WorkerState.IDLE, WorkerState.BUSY):
            slot.q[STATE] = WorkerState.BUSY if slot.d[BUSY_SINCE] else WorkerState.IDLE

    def _replace_for(self, client: Client, limit: int) -> None:
        """A request over ``timeout``: log where it is, and let the worker end once the others are served."""
        client.overdue = True
        stack = "".join(traceback.format_stack(client.greenlet.gr_frame))
        request = client.request
        self._worker.overran(f"{request.method} {request.uri}" if request else "a request", limit, stack)
        self._woken.set()

    def _only_overdue_left(self) -> bool:
        return all(client.overdue and client.busy_since for client in self._clients)

    def _begin_drain(self) -> None:
        """Accept no more, end idle connections, and let the others finish what they are at."""
        self.draining = True
        self._worker.scoreboard.q[STATE] = WorkerState.DRAINING
        self._stop_accepting()
        for client in self._clients:
            client.drain()

    def _stop_accepting(self) -> None:
        gevent.killall(self._acceptors)  # before the descriptors that they wait for are closed
        self._acceptors.clear()
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        for listener in self._worker.sockets:
            listener.close()


def with_health_path(runner: Runner, health: HealthPath | None) -> Callable[..., None]:
    """What runs a request (:meth:`Runner.run`); with a health path, that is answered without the application."""
    if health is None:
        return runner.run

    def run(http: Connection, request: Request, body: BinaryIO, connection: dict[str, Any], transmit: Transmit) -> None:
        answer = health.answer(request)
        if answer is None:
            runner.run(http, request, body, connection, transmit)
        else:
            http.send(answer)

    return run
