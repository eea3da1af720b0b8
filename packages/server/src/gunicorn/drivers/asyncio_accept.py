"""Accepts connections on an event loop, as many as there may be; each :class:`~gunicorn.drivers.asyncio_server.Server`
has one :class:`Acceptor`.

At ``worker_connections`` it pauses, and who comes then waits in the listener's backlog. As long as somebody waits
there, connections that keep the worker waiting make room, by the rule of ``drivers.admission``.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Iterable
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from gunicorn.asgi.scope import Address, own_address, peer_address
from gunicorn.drivers import asyncio_tls
from gunicorn.drivers.admission import LOOK_AGAIN, Shortage, Stage, choose
from gunicorn.drivers.asyncio import HTTPProtocol, host_of, peer_name
from gunicorn.http.errors import RemoteProtocolError
from gunicorn.http.h1.connection import H1Connection
from gunicorn.tls import report_handshake

if TYPE_CHECKING:
    from gunicorn.drivers.asyncio_server import Server

ACCEPTS: Final = 16  # connections taken at once; the rest is left to the other workers, and to the next turn


class Acceptor:
    """Takes connections from listeners for *server*, up to *most* at a time. *context* is for TLS, or None."""

    def __init__(self, server: Server, most: int, context: Any) -> None:
        self._server = server
        self._most = most
        self._context = context
        self._listeners: dict[socket.socket, Address | None] = {}
        self._listening = False
        self._shortage = Shortage(server.log)
        self._poll = select.poll()  # of the listeners, while accepting pauses
        self._look: asyncio.Handle | None = None  # at who could make room
        self._dispensable: list[Any] = []  # who can, the first at the end
        self.greeting: dict[asyncio.Task[Any], float] = {}  # connections that become transports, and since when

    def open(self, listeners: Iterable[socket.socket]) -> None:
        """Begin to accept. *listeners* stay the caller's, who closes them."""
        for listener in listeners:
            listener.setblocking(False)
            if listener.family != socket.AF_UNIX:
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets inherit it
            name = listener.getsockname()
            # Bound to all addresses, the one that the client meant is only known of the connection.
            wild = isinstance(name, tuple) and name[0] in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
            self._listeners[listener] = None if wild else own_address(name)
            self._poll.register(listener, select.POLLIN)
        self.update()

    @property
    def paused(self) -> bool:
        return not self._listening

    def update(self) -> None:
        """Accept, or pause, as the number of connections allows."""
        server = self._server
        full = len(server.connections) + len(self.greeting) >= self._most
        if server.draining or full:
            self._pause()
            if full and not server.draining:
                if self._look is None:
                    self._look = server.loop.call_soon(self._make_room, context=server.context)
                return
        elif not self._listening:
            self._listening = True
            for listener in self._listeners:
                server.loop.add_reader(listener, self._accept, listener)
        else:
            self._dispensable.clear()
        if self._look is not None:
            self._look.cancel()
            self._look = None

    def _pause(self) -> None:
        if self._listening:
            self._listening = False
            for listener in self._listeners:
                self._server.loop.remove_reader(listener)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPTS):
            if not self._listening:
                return
            try:
                sock, name = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # The client waits in the backlog until the next tick; polling for it would only spin.
                self._shortage.failed(error, monotonic())
                self._pause()
                return
            sock.setblocking(False)
            self._greet(sock, peer_address(name), self._listeners[listener])
            self.update()

    def _greet(self, sock: socket.socket, client: Address | None, own: Address | None) -> None:
        server = self._server
        if own is None:
            own = own_address(sock.getsockname())

        def factory() -> HTTPProtocol:
            return HTTPProtocol(server, client, own)

        opening: Any
        if self._context is None:
            opening = server.loop.connect_accepted_socket(factory, sock)
        else:
            timeout = server.policy.head_timeout
            opening = asyncio_tls.open_connection(server.loop, factory, sock, self._context, timeout, self._refusal)
        task = server.loop.create_task(opening)
        self.greeting[task] = monotonic()
        task.add_done_callback(partial(self._greeted, client))

    def _greeted(self, client: Address | None, task: asyncio.Task[Any]) -> None:
        server = self._server
        self.greeting.pop(task, None)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            if server.secure:
                report_handshake(server.log, host_of(client), error)
            else:
                server.log.debug("The connection of %s could not be opened: %s", peer_name(client), error)
        self.update()
        server.check_quiet()

    def _refusal(self, error: RemoteProtocolError) -> bytes:
        """The answer to a client whose connection never became one."""
        conn = H1Connection(self._server.reader, self._server.preamble)
        conn.refuse(error)
        return conn.data_to_send()

    # ---------------------------------------------------------------- making room

    def _make_room(self) -> None:
        """While all places are taken: when somebody waits for one, let a connection go that keeps others waiting."""
        server = self._server
        self._look = server.loop.call_later(LOOK_AGAIN, self._make_room, context=server.context)
        if not self._poll.poll(0):
            return
        now = monotonic()
        if not self._dispensable:
            standings: list[tuple[Any, Stage, float, int]] = [
                (task, Stage.SILENT, now - since, 0) for task, since in self.greeting.items()
            ]
            for protocol in server.connections:
                standing = protocol.standing(now)
                if standing is not None:
                    standings.append((protocol, *standing))
            self._dispensable = choose(standings)
        while self._dispensable:
            found = self._dispensable.pop()
            if isinstance(found, asyncio.Task):
                if found.cancel():
                    return
            elif found.give_up(now):
                return
