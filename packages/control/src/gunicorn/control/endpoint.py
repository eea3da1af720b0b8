"""The control socket's connections as non-blocking state machines in the master's selector.

Made and ticked by ``service.py``. No thread and no event loop: every callback does a bounded amount of work (one
receive, one request, one send), so neither a slow nor a hostile client holds up the master. All deadlines are kept by
``tick``.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable

from gunicorn.control.connection import ServerConnection
from gunicorn.control.dispatch import Dispatcher
from gunicorn.control.host import ServiceHost
from gunicorn.control.messages import Reply, Request
from gunicorn.control.peer import Peer, peer_of
from gunicorn.control.pool import ANSWER_TIMEOUT, PoolCall
from gunicorn.control.registry import AskPool
from gunicorn.control.socket_file import SocketFile

__all__ = ["IDLE_TIMEOUT", "MAX_CONNECTIONS", "MAX_GUESTS", "STALL_TIMEOUT", "Endpoint"]

MAX_CONNECTIONS = 32
MAX_GUESTS = 16
"""How many of the connections may be of users who may only look, so that they cannot keep the owner out."""
IDLE_TIMEOUT = 300.0
"""Seconds after which a connection without a request is closed; a prompt reconnects unnoticed."""
STALL_TIMEOUT = 10.0
"""Seconds that a client has for sending the whole of a request, counted from its first byte, and for taking a reply."""

_READ_SIZE = 65536


class Endpoint:
    """Accepts control connections and answers their requests.

    ``clock`` gives monotonic seconds, the same that ``tick`` is called with.
    """

    def __init__(self, host: ServiceHost, dispatcher: Dispatcher, clock: Callable[[], float] = time.monotonic) -> None:
        self.host = host
        self.dispatcher = dispatcher
        self.clock = clock
        self._listener: SocketFile | None = None
        self._accepting = False
        self._connections: list[Connection] = []

    @property
    def listener(self) -> SocketFile | None:
        return self._listener

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    @property
    def busy(self) -> bool:
        """Whether a request is being answered or a reply is on its way."""
        return any(connection.busy for connection in self._connections)

    def listen(self, listener: SocketFile) -> None:
        """Accept connections from ``listener``, which is the endpoint's from now on."""
        self._listener = listener
        self._accept_more()

    def stop_listening(self) -> None:
        """Close the listener and remove its file; connections stay."""
        if self._listener is not None:
            self._accept_no_more()
            self._listener.close()
            self._listener = None

    def tick(self, now: float) -> None:
        """Close what has passed its deadline."""
        for connection in list(self._connections):
            connection.tick(now)
        self._accept_more()

    def close(self) -> None:
        """Close everything."""
        self.stop_listening()
        for connection in list(self._connections):
            connection.close()

    def forked(self) -> None:
        """Close the descriptors that a child has inherited. The selector (an epoll set is shared across a fork) and the
        socket's file are the master's."""
        if self._listener is not None:
            self._listener.sock.close()
            self._listener = None
        for connection in self._connections:
            connection.forked()
        self._connections.clear()

    def _accept_more(self) -> None:
        if self._listener is not None and not self._accepting:
            self.host.register(self._listener.sock, selectors.EVENT_READ, self._acceptable)
            self._accepting = True

    def _accept_no_more(self) -> None:
        if self._listener is not None and self._accepting:
            self.host.unregister(self._listener.sock)
            self._accepting = False

    def _acceptable(self, mask: int) -> None:
        if self._listener is None:
            return
        if len(self._connections) >= MAX_CONNECTIONS and not self._drop_idle():
            # All of them are within a deadline of some seconds; the backlog holds the rest until then.
            self._accept_no_more()
            return
        try:
            sock, _address = self._listener.sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as exc:  # out of descriptors: without the pause the selector would spin on the listener
            self.host.log.error("Control: cannot accept a connection: %s", exc)
            self._accept_no_more()
            return
        try:
            peer = peer_of(sock, self._listener.mode)
        except OSError:  # without credentials there is no access
            sock.close()
            return
        if not peer.may_write and sum(not connection.peer.may_write for connection in self._connections) >= MAX_GUESTS:
            sock.close()
            return
        self._connections.append(Connection(self, sock, peer))

    def _drop_idle(self) -> bool:
        """Make room for a new connection by closing the one that has been idle for longest."""
        idle = [connection for connection in self._connections if connection.idle]
        if idle:
            min(idle, key=lambda connection: connection.deadline).close()
        return bool(idle)

    def forget(self, connection: Connection) -> None:
        """Called by a connection that has closed."""
        self._connections.remove(connection)
        self._accept_more()


class Connection:
    """One client: reads until there is a request, asks the dirty pool if the command does, writes the reply, reads on.

    While it waits for the pool the socket is not watched, and while it writes it is not read.
    """

    def __init__(self, endpoint: Endpoint, sock: socket.socket, peer: Peer) -> None:
        self._endpoint = endpoint
        self._host = endpoint.host
        self._sock = sock
        self._watched = 0
        self._protocol = ServerConnection()
        self._out = memoryview(b"")
        self._call: PoolCall | None = None
        self._closed = False
        sock.setblocking(False)
        self.peer = peer
        self.deadline = endpoint.clock() + IDLE_TIMEOUT
        self._watch(selectors.EVENT_READ)

    @property
    def busy(self) -> bool:
        """Whether a request is being answered or a reply is on its way."""
        return self._call is not None or bool(self._out)

    @property
    def idle(self) -> bool:
        """Whether it could be closed without anybody missing an answer."""
        return not self.busy and not self._protocol.mid_request

    def tick(self, now: float) -> None:
        """Act on a deadline that has passed."""
        if self._call is not None:
            if now >= self._call.deadline:
                self._call.expire()
        elif now >= self.deadline:
            self.close()

    def close(self) -> None:
        """Close the connection, with whatever is under way on it."""
        if self._closed:
            return
        self._closed = True
        if self._call is not None:
            self._call.close()
            self._call = None
        self._out = memoryview(b"")
        self._watch(0)
        self._sock.close()
        self._endpoint.forget(self)

    def forked(self) -> None:
        """Close the descriptors in a child, leaving the selector alone."""
        self._closed = True
        if self._call is not None:
            self._call.forked()
        self._sock.close()

    def _watch(self, events: int) -> None:
        if events == self._watched:
            return
        if not self._watched:
            self._host.register(self._sock, events, self._ready)
        elif events:
            self._host.modify(self._sock, events)
        else:
            self._host.unregister(self._sock)
        self._watched = events

    def _ready(self, mask: int) -> None:
        if self._closed:
            return
        try:
            if self._watched & selectors.EVENT_READ:
                self._receive()
            elif self._out:
                self._send()
            else:
                self.deadline = self._endpoint.clock() + STALL_TIMEOUT
                self._next()
        except (BlockingIOError, InterruptedError):
            return
        except OSError:  # the client is gone
            self.close()
        except Exception:
            # A fault of ours. Kept open, the connection would raise it again in every turn.
            self._host.log.exception("Control: closing a connection after an internal error")
            self.close()

    def _receive(self) -> None:
        if not self._protocol.mid_request:
            self.deadline = self._endpoint.clock() + STALL_TIMEOUT
        data = self._sock.recv(_READ_SIZE)
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        self._next()

    def _next(self) -> None:
        """Take the next request, if it has arrived; one at a time."""
        request = self._protocol.next_request()
        if request is not None:
            self._answer(request)
        elif not self._reply_pending():
            if self._protocol.finished:
                self.close()
            else:
                if not self._protocol.mid_request:
                    self.deadline = self._endpoint.clock() + IDLE_TIMEOUT
                self._watch(selectors.EVENT_READ)

    def _answer(self, request: Request) -> None:
        dispatcher = self._endpoint.dispatcher
        outcome = dispatcher.dispatch(request, self.peer)
        if not isinstance(outcome, AskPool):
            self._reply(outcome)
            return
        ask = outcome
        self._watch(0)
        self._call = PoolCall(
            self._host,
            ask,
            self._endpoint.clock() + ANSWER_TIMEOUT,
            lambda result: self._reply(dispatcher.pool_answered(request, ask, result)),
            lambda error: self._reply(dispatcher.pool_failed(request, ask, error)),
        )
        self._call.start()

    def _reply(self, reply: Reply) -> None:
        self._call = None
        self._protocol.send_reply(reply)
        self._reply_pending()

    def _reply_pending(self) -> bool:
        """Begin to send what the protocol has to say; return whether there is anything."""
        self._out = memoryview(self._protocol.data_to_send())
        if not self._out:
            return False
        self.deadline = self._endpoint.clock() + STALL_TIMEOUT
        try:
            self._send()
        except (BlockingIOError, InterruptedError):
            self._watch(selectors.EVENT_WRITE)
        except OSError:
            self.close()
        return True

    def _send(self) -> None:
        sent = self._sock.send(self._out)
        self._out = self._out[sent:]
        # Also when all is sent: a next request that has arrived already is taken in the loop's next turn, when the
        # selector finds the socket writable. So a client with many requests shares the master with everyone else.
        self._watch(selectors.EVENT_WRITE)
