"""One request in the hands of an ASGI application: its task, its ``receive`` and its ``send``.

``drivers.asyncio`` makes an :class:`Exchange` for each request that it reads; the order of messages is
``asgi.cycle``'s business.
"""

from __future__ import annotations

import asyncio
import sys
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from gunicorn.asgi.cycle import COMPLETE, EXPECTED, FAILED, STARTED, ClientDisconnected, HTTPCycle, Message
from gunicorn.drivers.asyncio_file import opened, send_file
from gunicorn.http.errors import LocalProtocolError
from gunicorn.http.events import Data, OutEvent, Request, ResponseHead

if TYPE_CHECKING:
    from gunicorn.drivers.asyncio import HTTPProtocol

FAILURE_HEADERS: Final = ((b"content-type", b"text/plain; charset=utf-8"),)
FAILURE_PAGE: Final = b"Internal Server Error\n"

TASK_OPTIONS: Final[dict[str, Any]] = {"name": "request"}
"""Of a request's task. It has a name because asyncio would spend time on making one up."""

if sys.version_info >= (3, 12):
    # The application's first step runs at once: one that never waits costs no turn of the loop.
    TASK_OPTIONS["eager_start"] = True


class Exchange(HTTPCycle):
    """One request, its response, and the application's task."""

    __slots__ = ("_waiters", "grace", "occupied", "overdue", "protocol", "receiving", "scope", "started", "task")

    task: asyncio.Task[None]

    def __init__(self, protocol: HTTPProtocol, request: Request) -> None:
        HTTPCycle.__init__(self, request)
        self.protocol = protocol
        self.scope = protocol.scopes.make(request)
        self.receiving = 0  # how many calls of receive() wait
        self.started = self.occupied = monotonic()  # the latter: since when it is the application's turn
        self.overdue = False  # it was said to take too long
        self.grace: asyncio.TimerHandle | None = None  # until the application is cancelled, since its client is gone
        self._waiters: list[asyncio.Future[None]] | None = None  # of those calls

    def wake(self) -> None:
        """Let ``receive()`` look again."""
        waiters, self._waiters = self._waiters, None
        if waiters is not None:
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

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
            waiter: asyncio.Future[None] = protocol.server.loop.create_future()
            if self._waiters is None:
                self._waiters = [waiter]
            else:
                self._waiters.append(waiter)
            self.receiving += 1
            try:
                await waiter
            finally:
                self.receiving -= 1
                self.occupied = monotonic()

    async def send(self, message: Message) -> None:
        """ASGI's ``send``."""
        protocol = self.protocol
        state = self.state
        if protocol.exchange is not self:
            if state != COMPLETE:
                raise ClientDisconnected(f"{protocol.peer} has disconnected")
        elif state == EXPECTED:
            if message["type"] == "http.response.start":
                self.start(message)
                return
        elif state == STARTED and message["type"] == "http.response.body" and not message.get("more_body"):
            # What most responses are: two messages.
            body = message.get("body", b"")
            if type(body) is bytes and self._trailers is None:
                data = protocol.conn.repeat(self.status, self.headers, body)
                if data is not None:
                    self.sent = len(body)
                    self.state = COMPLETE
                    protocol.transport.write(data)
                    if protocol.server.on_end is not None:
                        self._report()
                    protocol.response_ended(self)
                    if not protocol.writable:
                        await protocol.drained()
                    return
        if message["type"] == "http.response.pathsend":
            await self._send_path(message)
            return
        event = self.event_for(message)
        if event is None:
            return
        conn = protocol.conn
        try:
            conn.send(event)
        except (LocalProtocolError, TypeError) as error:
            self._send_again(event, error)
        if type(event) is Data and len(event.data) > protocol.server.joined:
            protocol.transport.writelines(conn.parts_to_send())
        else:
            protocol.transport.write(conn.data_to_send())
        if self.state == COMPLETE:
            self._report()
            protocol.response_ended(self)
        elif protocol.transport.is_closing():
            # It drops what is written and never says to wait, so that connection_lost() would never get its turn.
            protocol.client_left()
            raise ClientDisconnected(f"{protocol.peer} has disconnected")
        elif protocol.server.secure:
            await asyncio.sleep(0)  # the same, where the loop's TLS does not tell that the socket below it is closing
        if not protocol.writable:
            await protocol.drained()

    async def _send_path(self, message: Message) -> None:
        """``http.response.pathsend``: the file is the body, and ends the response."""
        protocol = self.protocol
        with opened(message["path"]) as (fd, size):
            head = self.file_head(size)
            try:
                protocol.conn.send(head)
            except LocalProtocolError:
                self.rejected(head)
                raise
            try:
                await send_file(self, fd, protocol.conn.pass_body())
            except LocalProtocolError:
                self.state = FAILED
                raise
        self.state = COMPLETE
        self._report()
        protocol.response_ended(self)

    def _send_again(self, event: OutEvent, error: Exception) -> None:
        """Header pairs may be lists, and their items bytearrays, which cannot be looked up as they are."""
        try:
            if type(event) is not ResponseHead or type(error) is not TypeError:
                raise error
            self.protocol.conn.send(ResponseHead(event.status, self.plain_headers(), event.body, event.end_stream))
        except (LocalProtocolError, TypeError):
            self.rejected(event)
            raise

    async def run(self) -> None:
        """Call the application and see it to its end; what the request's task runs."""
        server = self.protocol.server
        try:
            if server.on_begin is not None:
                server.on_begin(self)
            await server.app(self.scope, self.receive, self.send)
        except asyncio.CancelledError:
            self._ended(None)
            raise
        except Exception as error:
            self._ended(error)
        else:
            if self.state != COMPLETE:
                self._ended(None)
        finally:
            if self.grace is not None:
                self.grace.cancel()
            server.ended(self)

    def answer(self, response: ResponseHead) -> None:
        """Answer without the application, which is not called."""
        protocol = self.protocol
        protocol.conn.send(response)
        self.state = COMPLETE
        protocol.flush()
        protocol.response_ended(self)

    def _ended(self, error: Exception | None) -> None:
        """The application is done, and not as it should be: say so, and answer 500 or break off where that is due."""
        protocol, uri = self.protocol, self.request.uri
        server, log = protocol.server, protocol.server.log
        gone = protocol.exchange is not self  # or the response was complete
        if error is not None and gone and _stems_from_disconnect(error):
            log.debug("The client of %s left before the end of the response", uri)
        elif error is not None:
            server.failed()
            log.error("Error handling request %s", uri, exc_info=error)
        elif self.state == FAILED:
            server.failed()
            log.error("The response to %s could not be sent as the application gave it", uri)
        elif self.state != COMPLETE and not self.disconnected:
            server.failed()
            missing = "starting" if self.state == EXPECTED else "completing"
            log.error("The application returned without %s its response to %s", missing, uri)
        if self.state == COMPLETE:
            return
        if gone or self.begun or (error is None and self.disconnected):
            self._report()
            if not gone:
                protocol.abort()
            return
        self.status, self.headers, self.sent = 500, list(FAILURE_HEADERS), len(FAILURE_PAGE)
        protocol.conn.send(ResponseHead(500, FAILURE_HEADERS, FAILURE_PAGE, True))
        self.state = COMPLETE
        protocol.flush()
        self._report()
        protocol.response_ended(self)

    def _report(self) -> None:
        """For the access log and the hooks: nothing more will be sent. What they raise harms no client."""
        server = self.protocol.server
        try:
            if server.on_end is not None:
                server.on_end(self)
        except Exception:
            server.log.exception("Exception in the access log or post_request hook")


def _stems_from_disconnect(error: BaseException) -> bool:
    """Whether *error* is our ClientDisconnected, or what a framework or a task group made of it."""
    seen: set[BaseException] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        found = todo.pop()
        if isinstance(found, ClientDisconnected):
            return True
        if found is None or found in seen:  # a group may be the context of the exception that it holds
            continue
        seen.add(found)
        todo += [found.__cause__, found.__context__, *getattr(found, "exceptions", ())]
    return False
