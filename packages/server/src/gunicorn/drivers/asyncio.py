"""Carries HTTP connections over an event loop to an ASGI application; ``asyncio_server`` makes one per client.

:class:`HTTPProtocol` is what the transport calls: bytes in, pauses, the end. :class:`Exchange` is one request with the
task that the application runs in. The parsing is ``http.h1``'s, the order of messages ``asgi.cycle``'s.

Flow control: what the application does not receive stays unread in the connection, and past ``UNREAD_LIMIT`` in the
kernel; what the client does not read makes ``send()`` wait. One request of a connection is answered at a time, and the
next one is read when the response is complete, though the application may go on (background tasks).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from gunicorn.asgi.cycle import COMPLETE, EXPECTED, FAILED, STARTED, STREAMING, ClientDisconnected, HTTPCycle, Message
from gunicorn.asgi.scope import Address, http_scope
from gunicorn.http.errors import LocalProtocolError, RemoteProtocolError, RequestTimeout
from gunicorn.http.events import Data, Request, ResponseHead
from gunicorn.http.h1.connection import H1Connection

if TYPE_CHECKING:
    from gunicorn.drivers.asyncio_server import Server

UNREAD_LIMIT: Final = 65536  # bytes received and not read by the application, past which the client has to wait
LINGER: Final = 2.0  # seconds for a client to take an answer that it got before it had sent everything

FAILURE_HEADERS: Final = ((b"content-type", b"text/plain; charset=utf-8"),)
FAILURE_PAGE: Final = b"Internal Server Error\n"

Task: Callable[..., asyncio.Task[None]]
if sys.version_info >= (3, 12):
    from functools import partial

    # The application's first step runs at once: one that never waits costs no turn of the loop.
    Task = partial(asyncio.Task, eager_start=True)
else:
    Task = asyncio.Task


class HTTPProtocol(asyncio.Protocol):
    """One client's connection. *client* and *own* are its ends as scopes have them."""

    __slots__ = (
        "_deaf",
        "_drained",
        "_head_begun",
        "_lingering",
        "client",
        "conn",
        "exchange",
        "lost",
        "own",
        "server",
        "since",
        "transport",
        "writable",
    )

    transport: asyncio.Transport

    def __init__(self, server: Server, client: Address | None, own: Address | None) -> None:
        self.server = server
        self.client = client
        self.own = own
        trusted = server.policy.trusts(client[0] if client else None)
        self.conn = H1Connection(server.reader, server.preamble, server.secure, trusted)
        self.exchange: Exchange | None = None  # the request whose response is not complete
        self.since = 0.0  # monotonic seconds: when the connection came into the state that conn.deadline() is for
        self.lost = False
        self.writable = True
        self._drained: asyncio.Event | None = None
        self._head_begun = False  # a part of a request's head has come
        self._deaf = False  # reading is paused
        self._lingering = False  # all is said; what still comes is thrown away

    @property
    def peer(self) -> str:
        """The client for log lines."""
        return f"{self.client[0]}:{self.client[1]}" if self.client else "a unix socket"

    # ---------------------------------------------------------------- called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.since = monotonic()
        self.server.opened(self)

    def data_received(self, data: bytes) -> None:
        if self._lingering:
            return
        self.conn.receive_data(data)
        exchange = self.exchange
        if exchange is None:
            self._read_request()
        elif exchange.receiving:
            self.since = monotonic()
            exchange.wake()
        elif self.conn.buffered > UNREAD_LIMIT and not self._deaf:
            self._deaf = True
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        """The client sends no more. It still gets its answer (RFC 9112 section 9.6), if it waits for one."""
        conn, exchange = self.conn, self.exchange
        conn.receive_eof()
        if exchange is None:
            if not self._lingering and not conn.closing:
                self._read_request()
        else:
            if not exchange.wants_body:
                exchange.disconnected = True
            exchange.wake()
            self.server.watch_gone(exchange)
        return self.exchange is not None and not self.server.secure

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.writable = True
        if self._drained is not None:
            self._drained.set()
        exchange = self.exchange
        if exchange is not None:
            self.exchange = None
            exchange.disconnected = True
            exchange.wake()
            self.server.watch_gone(exchange)
        self.server.closed(self)

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        if self._drained is not None:
            self._drained.set()

    # ---------------------------------------------------------------- called by the exchange

    async def drained(self) -> None:
        """Wait until the transport takes more, or is lost."""
        if self._drained is None:
            self._drained = asyncio.Event()
        while not self.writable:
            self._drained.clear()
            await self._drained.wait()

    def read_body(self, exchange: Exchange) -> None:
        """Give *exchange* the next part of its body, if there is one."""
        conn = self.conn
        try:
            event = conn.next_event()
        except RemoteProtocolError as error:
            self.refuse(error)
            return
        data = conn.data_to_send()  # 100 Continue
        if data:
            self.transport.write(data)
        if event is None:
            self._hear()
        elif type(event) is Data:
            exchange.feed(event)
            self._hear()
        else:
            exchange.disconnected = True

    def flush(self) -> None:
        data = self.conn.data_to_send()
        if data and not self.lost:
            self.transport.write(data)

    def response_ended(self) -> None:
        """The response at hand is complete: go on with the next request, or close."""
        exchange, self.exchange = self.exchange, None
        if exchange is not None and exchange.receiving:
            exchange.wake()
        conn = self.conn
        if conn.closing:
            self._close(exchange is not None and exchange.wants_body)
            return
        self.since = monotonic()
        if conn.buffered:
            # Not from here: this is the task, and the context, of the request before.
            self.server.loop.call_soon(self._read_pipelined, context=self.server.context)

    def abort(self) -> None:
        """End the connection so that the client sees that something is missing."""
        self.conn.abort()
        self.exchange = None
        self.transport.abort()

    def refuse(self, error: RemoteProtocolError) -> None:
        """Answer with the error's status where that is still possible, and close; one line in the log."""
        self.server.log.warning("Refused a request from %s: %s", self.peer, error)
        exchange, self.exchange = self.exchange, None
        started = self.conn.framing_started
        self.conn.refuse(error)
        if exchange is not None:
            exchange.disconnected = True
            exchange.wake()
            self.server.watch_gone(exchange)
        if started:
            self.abort()
        else:
            self.flush()
            self._close(linger=True)

    # ---------------------------------------------------------------- called by the server

    def check_deadline(self, now: float) -> None:
        """End a connection whose client takes too long. *now* is in monotonic seconds."""
        exchange, conn = self.exchange, self.conn
        if self._lingering:
            if now - self.since > LINGER:
                self.transport.abort()
            return
        if exchange is not None and not (exchange.receiving and exchange.wants_body):
            return
        limit = conn.deadline()
        if limit is None or now - self.since <= limit:
            return
        if conn.idle:
            self._close(linger=False)
        elif exchange is None:
            self.refuse(RequestTimeout(f"the head of a request took more than {limit:g} seconds"))
        else:
            self.refuse(RequestTimeout(f"no byte of a request's body came for {limit:g} seconds"))

    def close_if_idle(self) -> None:
        """Close, unless a request is being received or answered."""
        if self.exchange is None and self.conn.idle and not self._lingering:
            self._close(linger=False)

    # ---------------------------------------------------------------- own

    def _read_pipelined(self) -> None:
        if self.exchange is None and not self.lost and not self._lingering:
            self._read_request()

    def _read_request(self) -> None:
        try:
            request = self.conn.next_event()
        except RemoteProtocolError as error:
            self.refuse(error)
            return
        if request is not None:
            self._head_begun = False
            self.exchange = exchange = Exchange(self, request)  # type: ignore[arg-type]
            exchange.start()
        elif self.conn.closing:
            self._close(linger=False)
        elif not self._head_begun:
            self._head_begun = True
            self.since = monotonic()
        if self._deaf:
            self._hear()

    def _hear(self) -> None:
        if self._deaf and self.conn.buffered <= UNREAD_LIMIT:
            self._deaf = False
            self.transport.resume_reading()

    def _close(self, linger: bool) -> None:
        """Close when everything is written.

        With *linger* the client may still be sending: closing at once would reset the connection, and could take the
        answer from it before it was read (RFC 9112 section 9.6). So only our side is closed, and the rest dropped.
        """
        transport = self.transport
        if transport.is_closing():
            return
        if linger and transport.can_write_eof():
            self._lingering = True
            self.since = monotonic()
            transport.write_eof()
            if self._deaf:
                self._deaf = False
                transport.resume_reading()
        else:
            transport.close()


class Exchange(HTTPCycle):
    """One request, its response, and the application's task."""

    __slots__ = ("_arrived", "grace", "protocol", "receiving", "scope", "started", "task")

    task: asyncio.Task[None]

    def __init__(self, protocol: HTTPProtocol, request: Request) -> None:
        HTTPCycle.__init__(self, request)
        server = protocol.server
        self.protocol = protocol
        self.scope = http_scope(request, protocol.client, protocol.own, server.root_path, server.state)
        self.receiving = 0  # how many calls of receive() wait
        self.started = monotonic()
        self.grace: asyncio.TimerHandle | None = None  # until the application is cancelled, since its client is gone
        self._arrived: asyncio.Event | None = None

    def start(self) -> None:
        server = self.protocol.server
        server.begun(self)
        self.task = Task(self._run(), loop=server.loop)

    def wake(self) -> None:
        """Let ``receive()`` look again."""
        if self._arrived is not None:
            self._arrived.set()

    async def receive(self) -> dict[str, Any]:
        """ASGI's ``receive``."""
        while True:
            message = self.next_message()
            if message is not None:
                return message
            protocol = self.protocol
            if protocol.exchange is self and self.wants_body:
                protocol.read_body(self)
                message = self.next_message()
                if message is not None:
                    return message
                if not self.receiving:
                    protocol.since = monotonic()
            if self._arrived is None:
                self._arrived = asyncio.Event()
            self._arrived.clear()
            self.receiving += 1
            try:
                await self._arrived.wait()
            finally:
                self.receiving -= 1

    async def send(self, message: Message) -> None:
        """ASGI's ``send``."""
        event = self.event_for(message)
        if event is None:
            return
        protocol = self.protocol
        if protocol.exchange is not self:
            self.state = FAILED
            raise ClientDisconnected(f"{protocol.peer} has disconnected")
        conn = protocol.conn
        try:
            conn.send(event)
        except TypeError:
            self._send_again(event)
        except LocalProtocolError:
            self.rejected(conn.framing_started)
            raise
        protocol.transport.write(conn.data_to_send())
        if self.state == COMPLETE:
            protocol.response_ended()
        if not protocol.writable:
            await protocol.drained()

    def _send_again(self, event: Any) -> None:
        """Header pairs may be lists, and their items bytearrays, which cannot be looked up as they are."""
        conn = self.protocol.conn
        started = conn.framing_started
        try:
            if started or type(event) is not ResponseHead:
                raise LocalProtocolError(f"the body of http.response.body is no byte string: {event.data!r:.80}")
            conn.send(ResponseHead(event.status, self.plain_headers(), event.body, event.end_stream))
        except (LocalProtocolError, TypeError):
            self.rejected(conn.framing_started)
            raise

    async def _run(self) -> None:
        server = self.protocol.server
        try:
            await server.app(self.scope, self.receive, self.send)
        except asyncio.CancelledError:
            self._ended(None)
            raise
        except ClientDisconnected as gone:
            self._ended(None if self.disconnected else gone)
        except Exception as error:
            self._ended(error)
        else:
            self._ended(None)
        finally:
            if self.grace is not None:
                self.grace.cancel()
            server.ended(self)

    def _ended(self, error: BaseException | None) -> None:
        """The application is done: log what went wrong, and answer 500 or break off where the response is not whole."""
        protocol, request = self.protocol, self.request
        log = protocol.server.log
        if error is not None:
            protocol.server.failed()
            log.error("Error handling request %s", request.uri, exc_info=error)
        if self.state == COMPLETE or protocol.exchange is not self:
            return
        if error is None:
            if self.state == FAILED:
                log.error("The response to %s could not be sent as the application gave it", request.uri)
            elif not self.disconnected:
                begun = "completing" if self.state in (STARTED, STREAMING) else "starting"
                log.error("The application returned without %s its response to %s", begun, request.uri)
            protocol.server.failed()
        if protocol.conn.framing_started:
            protocol.abort()
            return
        self.state = EXPECTED
        self.status = 500
        self.headers = FAILURE_HEADERS
        protocol.conn.send(ResponseHead(500, FAILURE_HEADERS, FAILURE_PAGE, True))
        self.state = COMPLETE
        self.sent = len(FAILURE_PAGE)
        protocol.flush()
        protocol.response_ended()
