"""Carries HTTP connections over an event loop to an ASGI application; ``asyncio_server`` makes one per client.

:class:`HTTPProtocol` is what the transport calls: bytes in, pauses, the end. Each request it reads becomes an
:class:`~gunicorn.drivers.asyncio_exchange.Exchange`, which runs the application. The parsing is ``http.h1``'s.

Flow control: what the application does not receive stays unread in the connection, and past ``UNREAD_LIMIT`` in the
kernel; what the client does not read makes ``send()`` wait. One request of a connection is answered at a time, and the
next one is read when the response is complete, though the application may go on (background tasks).
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Final

from gunicorn.asgi.scope import Address, ScopeMaker
from gunicorn.drivers import asyncio_tls
from gunicorn.drivers.admission import Stage, overstays
from gunicorn.drivers.asyncio_exchange import Exchange
from gunicorn.http.errors import RemoteProtocolError, RequestTimeout
from gunicorn.http.events import Data
from gunicorn.http.h1.connection import H1Connection

if TYPE_CHECKING:
    from gunicorn.drivers.asyncio_server import Server

UNREAD_LIMIT: Final = 65536  # bytes received and not read by the application, past which the client has to wait
LINGER: Final = 2.0  # seconds for a client to take an answer that it got before it had sent everything
ARRIVAL: Final = 1.0  # seconds for a connection's next request to arrive, when the worker ends
FIRST_ARRIVAL: Final = 3.0  # the same for the first one, which its client could not know to be lost


def peer_name(client: Address | None) -> str:
    """A client as log lines name it."""
    return f"{client[0]}:{client[1]}" if client else "a unix socket"


def host_of(client: Address | None) -> str:
    """How a refusal names it."""
    return client[0] if client else "unix"


class HTTPProtocol(asyncio.Protocol):
    """One client's connection. *client* and *own* are its ends as scopes have them."""

    __slots__ = (
        "_deaf",
        "_drained",
        "_eof",
        "_head_begun",
        "_lingering",
        "_stalled",
        "_unsent",
        "_unsent_since",
        "client",
        "conn",
        "exchange",
        "lost",
        "scopes",
        "server",
        "since",
        "transport",
        "unsent_file",
        "writable",
    )

    transport: asyncio.Transport

    def __init__(self, server: Server, client: Address | None, own: Address | None) -> None:
        self.server = server
        self.client = client
        self.scopes = ScopeMaker(client, own, server.root_path, server.state)
        trusted = server.policy.trusts(client[0] if client else None)
        self.conn = H1Connection(server.reader, server.preamble, server.secure, trusted)
        self.exchange: Exchange | None = None  # the request whose response is not complete
        self.since = 0.0  # monotonic seconds: when the connection came into the state that conn.deadline() is for
        self.lost = False
        self.writable = True
        self._drained: list[asyncio.Future[None]] = []  # senders that wait until writable
        self._head_begun = False  # a part of a request's head has come
        self._deaf = False  # reading is paused
        self._eof = False  # the client sends no more
        self._stalled = False  # a next request may be there, but the client does not read the last response
        self.unsent_file = 0  # bytes that are still to be sent past the transport, while the client does not read
        self._unsent = 0  # bytes that the client had not taken when that was last looked at
        self._unsent_since = 0.0  # monotonic seconds: when it took some, as far as that is known
        self._lingering = False  # all is said; what still comes is thrown away

    @property
    def peer(self) -> str:
        """The client for log lines."""
        return peer_name(self.client)

    # ---------------------------------------------------------------- called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.since = monotonic()
        if self.server.secure:
            self.scopes.tls = asyncio_tls.describe(transport)
        self.server.opened(self)

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            if not self._lingering:
                self.conn.receive_data(data)
                self._read_request()
        else:
            self.conn.receive_data(data)
            if exchange.receiving and exchange.wants_body:
                self.since = monotonic()
                exchange.wake()
            # The application takes it in its own turn. Until then nothing is added: that would be a copy.
            if self.conn.buffered > UNREAD_LIMIT and not self._deaf:
                self._deaf = True
                self.transport.pause_reading()

    def eof_received(self) -> bool:
        """The client sends no more. It still gets its answer (RFC 9112 section 9.6), if it waits for one."""
        conn, exchange = self.conn, self.exchange
        conn.receive_eof()
        self._eof = True
        if exchange is None:
            if not self._lingering and not conn.closing:
                self._read_request()
        else:
            if not exchange.wants_body:
                exchange.disconnected = True
                if self.server.secure:  # the transport closes itself now, and drops without a word what is still sent
                    self.exchange = None
            exchange.wake()
            self.server.watch_gone(exchange)
        answers_due = self.exchange is not None or (conn.buffered > 0 and not conn.closing)
        return answers_due and not self.server.secure

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.writable = True
        if self.server.secure:
            self.transport.close()  # Python 3.10 would warn of a transport that only the client has closed
        self._wake_senders()
        self.client_left()
        self.server.closed(self)

    def client_left(self) -> None:
        """Tell the request at hand, if there is one, that nobody waits for its answer."""
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.disconnected = True
            exchange.wake()
            self.server.watch_gone(exchange)

    def pause_writing(self) -> None:
        self.wait_for_reader(0)

    def resume_writing(self) -> None:
        self.writable = True
        if self._stalled:
            self._stalled = False
            self.server.loop.call_soon(self._read_pipelined, context=self.server.context)
        self._wake_senders()

    # ---------------------------------------------------------------- called by the exchange

    def wait_for_reader(self, unsent_file: int) -> None:
        """Nothing more can be written until ``resume_writing``; of a file *unsent_file* bytes are to come."""
        self.writable = False
        self.unsent_file = unsent_file
        self._unsent = self._left()
        self._unsent_since = monotonic()

    async def drained(self) -> None:
        """Wait until the transport takes more, or is lost."""
        while not self.writable:
            waiter: asyncio.Future[None] = self.server.loop.create_future()
            self._drained.append(waiter)
            await waiter

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
            if event.end_stream and self._eof:
                exchange.disconnected = True
                if self.server.secure:
                    self.exchange = None
            self._hear()
        else:
            exchange.disconnected = True

    def flush(self) -> None:
        data = self.conn.data_to_send()
        if data and not self.lost:
            self.transport.write(data)

    def response_ended(self, exchange: Exchange) -> None:
        """The response of *exchange*, the one at hand, is complete: go on with the next request, or close."""
        self.exchange = None
        if exchange.receiving:
            exchange.wake()
        conn = self.conn
        if conn.closing:
            self._close(linger=exchange.wants_body)
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
        self.server.log.warning("Invalid request from ip=%s: %s", host_of(self.client), error)
        exchange, self.exchange = self.exchange, None
        self.conn.refuse(error)
        if exchange is not None:
            exchange.disconnected = True
            exchange.wake()
            self.server.watch_gone(exchange)
        if exchange is not None and exchange.begun:
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
        limit = self._arrival() if self.server.draining and conn.idle else conn.deadline()
        if limit is None or now - self.since <= limit:
            return
        if conn.idle:
            self._close(linger=False)
        elif self._stalled:
            self.server.log.debug("%s sends requests and reads no responses; its connection is closed", self.peer)
            self.transport.abort()
        elif exchange is None:
            self.refuse(RequestTimeout(f"the head of a request took more than {limit:g} seconds"))
        else:
            self.refuse(RequestTimeout(f"no byte of a request's body came for {limit:g} seconds"))

    def standing(self, now: float) -> tuple[Stage, float, int] | None:
        """What it waits for, for how many seconds, and the bytes that came in that time; None when it does not wait."""
        exchange = self.exchange
        if not self.writable or self.transport.is_closing():
            left = self._left()
            if left < self._unsent:
                self._unsent_since = now
            self._unsent = left
            return Stage.READER, now - self._unsent_since, 0
        waited = now - self.since
        if self._lingering:
            return Stage.GOODBYE, waited, 0
        if exchange is not None:
            if not exchange.wants_body or not exchange.receiving:
                return None
            return Stage.BODY, now - exchange.started, exchange.received
        if not self.conn.idle:
            return Stage.HEAD, waited, 0
        return (Stage.IDLE if self.conn.served else Stage.SILENT), waited, 0

    def give_up(self, now: float) -> bool:
        """Make room for others, if this one still keeps them waiting; False when it does not any more."""
        standing = self.standing(now)
        if self.lost or standing is None or overstays(*standing) <= 0:
            return False
        stage, seconds, _ = standing
        if stage in (Stage.HEAD, Stage.BODY):
            self.refuse(RequestTimeout(f"after {seconds:.1f} seconds others need the place of this connection"))
            self.transport.close()
        else:
            if stage == Stage.READER:
                self.server.log.debug("%s reads too slowly while others wait; its connection is closed", self.peer)
            self.transport.abort()
        return True

    def close_if_idle(self, now: float) -> None:
        """Close, unless a request is being received or answered, or may be on the way. *now* is in monotonic seconds.

        A client that is new, or uses its connection all the time, could not know whether its request was lost.
        check_deadline() ends one that sends none.
        """
        if (
            self.exchange is None
            and self.conn.idle
            and not self._lingering
            and (self._eof or now - self.since > self._arrival())
        ):
            self._close(linger=False)

    # ---------------------------------------------------------------- own

    def _left(self) -> int:
        """Bytes that the client has not taken."""
        return self.transport.get_write_buffer_size() + self.unsent_file

    def _arrival(self) -> float:
        return ARRIVAL if self.conn.served else FIRST_ARRIVAL

    def _wake_senders(self) -> None:
        waiters, self._drained = self._drained, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _read_pipelined(self) -> None:
        if self.exchange is None and not self.lost and not self._lingering:
            self._read_request()

    def _read_request(self) -> None:
        if not self.writable:
            self._stall()
            return
        try:
            request = self.conn.next_event()
        except RemoteProtocolError as error:
            self.refuse(error)
            return
        if request is not None:
            self._head_begun = False
            self.exchange = exchange = Exchange(self, request)  # type: ignore[arg-type]
            self.server.begin(exchange)
        elif self.conn.closing:
            self._close(linger=False)
        elif not self._head_begun:
            self._head_begun = True
            self.since = monotonic()
        if self._deaf:
            self._hear()

    def _stall(self) -> None:
        """Read no request of a client that does not read its responses: they would pile up."""
        if not self._stalled:
            self._stalled = True
            self.since = monotonic()
        if self.conn.buffered > UNREAD_LIMIT and not self._deaf:
            self._deaf = True
            self.transport.pause_reading()

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
