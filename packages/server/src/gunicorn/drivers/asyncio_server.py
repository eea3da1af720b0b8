"""Serves on an event loop: keeps count of connections and requests; the ``asgi`` worker makes one :class:`Server`.

Everything that depends on time hangs on one timer that ticks every ``TICK`` seconds for all connections: the heartbeat,
the Date line, the deadlines.
"""

from __future__ import annotations

import asyncio
import contextvars
import socket
import sys
import time
from asyncio import Task
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final

from gunicorn import SERVER
from gunicorn.asgi.cycle import COMPLETE
from gunicorn.drivers import asyncio_file
from gunicorn.drivers.asyncio import HTTPProtocol
from gunicorn.drivers.asyncio_accept import Acceptor
from gunicorn.drivers.asyncio_exchange import TASK_OPTIONS, Exchange
from gunicorn.drivers.asyncio_watch import find_overdue, stack_of
from gunicorn.health import HealthPath
from gunicorn.http.h1.head import HeadReader
from gunicorn.http.h1.response import Preamble
from gunicorn.http.policy import Policy
from gunicorn.supervision.scoreboard import (
    BUSY_SINCE,
    CONNECTIONS,
    ERRORS,
    REQUESTS,
    SLOT_SIZE,
    STATE,
    ScoreboardSlot,
    WorkerState,
)

TICK: Final = 0.5  # seconds
JOINED: Final = 16384  # bytes of a block up to which joining it with its frame is cheaper than writing several pieces
STOP: Final = 0.5  # seconds for cancelled requests to clean up
IDLE: Final = int(WorkerState.IDLE)
BUSY: Final = int(WorkerState.BUSY)

ASGIApp = Callable[[dict[str, Any], Callable[..., Any], Callable[..., Any]], Awaitable[None]]


@dataclass
class Options:
    """What a server is told by its worker. Times are seconds."""

    policy: Policy
    root_path: str = ""
    most_connections: int = 1000
    disconnect_grace: float = 3.0
    """From ``http.disconnect`` to the cancellation of the application."""
    max_requests: int = 0
    """When so many were answered ``on_limit`` is called; 0 for never."""
    ssl: Any = None
    """An :class:`ssl.SSLContext`, or None."""
    sendfile: bool = True
    """Whether the kernel may send files (``http.response.pathsend``)."""
    timeout: float = 0.0
    """How long one request may occupy the application (see ``asyncio_watch``); 0 for ever."""
    slot: ScoreboardSlot = field(default_factory=lambda: ScoreboardSlot(-1, memoryview(bytearray(SLOT_SIZE))))
    health: HealthPath | None = None
    """Answered without the application."""
    on_begin: Callable[[Exchange], None] | None = None
    """Called before the application (the hook ``pre_request``)."""
    on_end: Callable[[Exchange], None] | None = None
    """Called when the response is complete, or never will be (the access log, the hook ``post_request``)."""
    on_tick: Callable[[], None] = lambda: None
    on_limit: Callable[[], int | None] = lambda: None
    """Returns the number of requests at which to call it again, or None for never."""
    on_overdue: Callable[[str, str], None] = lambda what, stack: None
    """Called for each request over ``timeout`` with its method and URI, and the stack of its task."""


class Server:
    """Serves *app* on the listeners given to :meth:`start`. Used on the thread of *loop* only.

    ``state`` is the lifespan's. ``running`` are the requests whose application has not returned, ``connections`` the
    clients.
    """

    def __init__(
        self, app: ASGIApp, loop: asyncio.AbstractEventLoop, log: Any, options: Options, state: dict[str, Any]
    ) -> None:
        self.app = app
        self.loop = loop
        self.log = log
        self.state = state
        self.policy = options.policy
        self.root_path = options.root_path
        self.secure = options.ssl is not None
        # Not with asyncio's own loop: it joins the pieces, or forgets to pause the writer (CVE-2024-12254).
        self.joined = JOINED if type(loop).__module__.startswith("uvloop") else sys.maxsize
        self.sends_files = options.sendfile and asyncio_file.AVAILABLE and not self.secure
        self.reader = HeadReader(options.policy)
        self.preamble = Preamble(SERVER, time.time())
        self.context = contextvars.copy_context()  # for what is not called on behalf of a request
        self.connections: set[HTTPProtocol] = set()
        self.running: dict[Exchange, None] = {}  # in the order of their beginnings
        self._task_options = {"loop": loop, **TASK_OPTIONS}
        self.requests = 0
        self.draining = False
        self._options = options
        self._mark = options.max_requests or sys.maxsize  # the number of requests at which there is something to do
        self.on_begin = options.on_begin
        self.on_end = options.on_end
        self._slot = options.slot
        self._q = options.slot.q
        self._d = options.slot.d
        self._text = options.slot.text
        if options.health is not None:
            self.begin = self._answer_or_begin  # type: ignore[method-assign]
        self._acceptor = Acceptor(self, options.most_connections, options.ssl)
        self._timer: asyncio.TimerHandle | None = None
        self._quiet: asyncio.Event | None = None  # set when the last connection and the last request have ended

    # ---------------------------------------------------------------- life

    def start(self, listeners: Iterable[socket.socket]) -> None:
        """Begin to accept. *listeners* stay the caller's, who closes them."""
        self._acceptor.open(listeners)
        self._tick()

    async def drain(self, timeout: float) -> None:
        """Stop accepting, close idle connections, and wait up to *timeout* seconds for the requests in flight.

        A connection that was used lately is not taken for idle, as its next request may be on the way. A request over
        its time (``timeout``) is not waited for.
        """
        self.draining = True
        self._acceptor.update()
        self._q[STATE] = int(WorkerState.DRAINING)
        self.begin = self._begin_last  # type: ignore[method-assign]
        for protocol in self.connections:
            if not protocol.conn.idle:
                protocol.conn.drain()
        for _ in range(2):  # what the clients have sent already is read, and will be answered
            await asyncio.sleep(0)
        now = monotonic()
        for protocol in list(self.connections):
            protocol.close_if_idle(now)
        if not self._is_quiet():
            self._quiet, self._mark = asyncio.Event(), 0
            try:
                await asyncio.wait_for(self._quiet.wait(), timeout)
            except asyncio.TimeoutError:
                self.log.warning(
                    "%d requests did not end within the graceful timeout of %g seconds", len(self.running), timeout
                )

    async def stop(self) -> None:
        """End everything at once: requests are cancelled, connections reset."""
        self.draining = True
        self._acceptor.update()
        if self._timer is not None:
            self._timer.cancel()
        for protocol in list(self.connections):
            protocol.transport.abort()
        tasks = [exchange.task for exchange in self.running] + list(self._acceptor.greeting)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=STOP)
        self.running.clear()  # those whose task had not begun never said that they ended
        await asyncio.sleep(0)  # transports say connection_lost in the loop's next turn

    # ---------------------------------------------------------------- called by protocols and exchanges

    def opened(self, protocol: HTTPProtocol) -> None:
        self.connections.add(protocol)
        self._q[CONNECTIONS] = len(self.connections)

    def closed(self, protocol: HTTPProtocol) -> None:
        self.connections.discard(protocol)
        self._q[CONNECTIONS] = len(self.connections)
        if self._acceptor.paused:
            self._acceptor.update()
        self.check_quiet()

    def begin(self, exchange: Exchange) -> None:
        running = self.running
        if not running:
            self._show(exchange)
            if not self.draining:
                self._q[STATE] = BUSY
        running[exchange] = None
        exchange.task = Task(exchange.run(), **self._task_options)

    def _begin_last(self, exchange: Exchange) -> None:
        """``begin`` while draining."""
        exchange.protocol.conn.drain()
        if self._options.health is not None:
            self._answer_or_begin(exchange)
        else:
            Server.begin(self, exchange)

    def _answer_or_begin(self, exchange: Exchange) -> None:
        """``begin`` with a health path."""
        health = self._options.health
        assert health is not None
        answer = health.answer(exchange.request)
        if answer is None:
            Server.begin(self, exchange)
        else:
            exchange.answer(answer)

    def ended(self, exchange: Exchange) -> None:
        running = self.running
        running.pop(exchange, None)
        self.requests = requests = self.requests + 1
        self._q[REQUESTS] = requests
        if not running:
            self._d[BUSY_SINCE] = 0.0
            if not self.draining:
                self._q[STATE] = IDLE
        if requests >= self._mark:
            if self._quiet is None:
                self._mark = self._options.on_limit() or sys.maxsize
            else:
                self.check_quiet()

    def _show(self, exchange: Exchange) -> None:
        """Let the scoreboard name *exchange*: the oldest that runs, as of the last tick, or of when it began alone."""
        self._d[BUSY_SINCE] = exchange.started
        self._text[:] = exchange.request.target.label

    def failed(self) -> None:
        self._q[ERRORS] += 1

    def watch_gone(self, exchange: Exchange) -> None:
        """The client of *exchange* is gone, or sends no more: cancel the application after the grace period."""
        if exchange.grace is None and exchange in self.running:
            exchange.grace = self.loop.call_later(
                self._options.disconnect_grace, self._grace_over, exchange, exchange.sent
            )

    def _grace_over(self, exchange: Exchange, sent: int) -> None:
        protocol = exchange.protocol
        exchange.grace = None
        if exchange.state == COMPLETE:  # it is no longer the client's
            return
        if not protocol.lost and exchange.sent > sent:
            # The client has only closed its own side: it still takes what is sent.
            self.watch_gone(exchange)
            return
        exchange.task.cancel()

    # ---------------------------------------------------------------- time

    def _tick(self) -> None:
        self._timer = self.loop.call_later(TICK, self._tick)
        self._options.on_tick()
        self.preamble.renew(time.time())
        now = monotonic()
        for protocol in list(self.connections):
            protocol.check_deadline(now)
        if self.running:
            self._show(next(iter(self.running)))
            if self._options.timeout:
                self._check_overdue(now)
        self._acceptor.update()
        self.check_quiet()

    def _check_overdue(self, now: float) -> None:
        limit = self._options.timeout
        for exchange in find_overdue(self.running, now, limit):
            request = exchange.request
            self._options.on_overdue(f"{request.method} {request.uri}", stack_of(exchange.task))

    def _is_quiet(self) -> bool:
        """Whether there is nothing left to wait for."""
        if self._acceptor.greeting:
            return False
        if not self.running:
            return not self.connections
        return all(exchange.overdue for exchange in self.running) and len(self.connections) <= len(self.running)

    def check_quiet(self) -> None:
        """Let :meth:`drain` return when there is nothing left to wait for."""
        if self._quiet is not None and self._is_quiet():
            self._quiet.set()
