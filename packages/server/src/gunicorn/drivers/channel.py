"""A client of the selector driver: its requests and their bodies; ``drivers.sender`` is the half that answers.

Made by ``drivers.selector`` for each connection, and by ``drivers.tls_channel`` in a kind of its own under TLS. Nothing
here waits but :meth:`Channel.next_part`, which an application calls, and it waits as the driver says.
"""

from __future__ import annotations

import io
import socket
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from gunicorn.drivers.body_stream import body_stream
from gunicorn.drivers.errors import PeerGoneError
from gunicorn.drivers.held import AVAILABLE, HeldBody
from gunicorn.drivers.poller import READ
from gunicorn.drivers.queues import open_window
from gunicorn.drivers.sender import Sender, host_of
from gunicorn.drivers.spool import Spool
from gunicorn.http.errors import RemoteProtocolError, RequestTimeout
from gunicorn.http.events import Data, Request
from gunicorn.wsgi.environ import connection_environ

if TYPE_CHECKING:
    from gunicorn.drivers.selector import SelectorDriver

RECEIVE_SIZE: Final = 65536  # bytes of one recv; measured: larger ones make malloc fetch new pages every time
COLLECTED: Final = 65536  # bytes of a body that are received before an application may read the rest by itself


class Channel(Sender):
    """A client's connection, and what the driver remembers about it.

    ``busy`` belongs to the thread that works on the channel; the poller leaves a busy channel alone.
    """

    __slots__ = (
        "_body", "_environ", "_recv", "_request", "_streaming", "began", "busy", "disarmed", "moved", "rest",
    )  # fmt: skip

    holds = AVAILABLE  # whether the kernel may keep bodies for it
    eager = True  # what a new connection wants has mostly come with it

    def __init__(self, driver: SelectorDriver, sock: socket.socket, peer: Any) -> None:
        super().__init__(driver, sock, peer)
        self._recv: Callable[[int], bytes] = sock.recv
        self._environ: dict[str, Any] | None = None
        self._request: Request | None = None  # whose body is being received
        self._body: Spool | None = None
        self.rest: HeldBody | None = None  # what is missing of it, and waits in the kernel until all is here
        self.began = 0.0  # when the body began
        self.moved = 0  # bytes of it that have come since
        self._streaming = False  # the application reads a body that is still arriving
        self.busy = True
        self.disarmed = False

    def on_ready(self) -> None:
        """Read or write what can be, run the requests that became complete, and be ready for the next call."""
        if self.outbox is not None:
            if not self._empty_outbox():
                return
        else:
            try:
                data = self._recv(RECEIVE_SIZE)
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
                    body = b"" if event.end_stream else http.whole_body()
                    if body is None:
                        self._begin_body(event)
                    else:
                        self._serve(event, io.BytesIO(body))
                        if not http.buffered:
                            return
                elif isinstance(event, Data):
                    self._take(event)
                    if event.end_stream and not http.buffered:
                        return
                if self.outbox is not None or self.closed or self.lingering:
                    return
        except RemoteProtocolError as error:
            self.refuse(error)
            return
        if self._request is not None:
            self._hold()
        self.flush()

    def refuse(self, error: RemoteProtocolError) -> None:
        """Answer a bad request, log it once, and end the connection so that the peer can still read the answer."""
        self.report(error)
        self.http.refuse(error)
        self.lingering = True
        if self._body is not None:
            self._body.close()
        if self.rest is not None:
            self._let_go(self.rest)
        self.flush()

    def dismiss(self, error: RemoteProtocolError) -> None:
        """The same at once, without waiting until the peer has read the answer, since others need its place."""
        self.report(error)
        self.http.refuse(error)
        try:
            self._send(self.http.data_to_send())
        except OSError:
            pass
        self.close()

    def report(self, error: RemoteProtocolError) -> None:
        """Log a refusal; once, where it is found."""
        self._driver.log.warning("Invalid request from ip=%s: %s", host_of(self.peer), error)

    # ---------------------------------------------------------------- requests

    def _begin_body(self, request: Request) -> None:
        self._request = request
        self.began = self._driver.now
        self.moved = 0
        room = self._driver.room
        if room is not None:
            room.check(request.content_length)
        elif request.expects_continue:
            self._serve_stream(b"")  # 100 Continue is sent when the application reads, if it does

    def _take(self, event: Data) -> None:
        """Add to the body of the request at hand; serve it when that is complete, or when enough of it is here."""
        body, request = self._body, self._request
        assert request is not None
        self.moved += len(event.data)
        if event.end_stream:
            self._request = None
            if body is None:
                self._serve(request, io.BytesIO(event.data))
                return
            self._body = None
            try:
                body.write(event.data)
                self._serve(request, body.rewind())
            finally:
                body.close()
        else:
            room = self._driver.room
            if body is None:
                body = self._body = Spool(room)
            body.write(event.data)
            if room is None and body.size > COLLECTED:
                self._serve_stream(body.rewind().read())

    def _serve_stream(self, begin: bytes) -> None:
        """Call the application while the body is still arriving; *begin* is what has come of it."""
        request, self._request, self._body = self._request, None, None
        assert request is not None
        self._streaming = True
        open_window(self.sock, self.http.body_ahead())
        self._serve(request, body_stream(self, begin))

    def _hold(self) -> None:
        """Let the rest of the body wait in the kernel, if it may, and serve its request once all of it is there."""
        rest, request, body = self.rest, self._request, self._body
        assert request is not None
        if rest is None:
            room, left = self._driver.room, self.http.body_ahead()
            if room is None or not self.holds or not room.may_hold(request.content_length, left):
                return
            if body is not None and not body.in_memory:
                return
            self._recv = self._receive_rest
            rest = self.rest = HeldBody(self.sock, room, left)
        if not rest.here():
            return
        self.http.skip_body(rest.left)
        self._request = self._body = None
        body = body or Spool()
        try:
            self._serve(request, body_stream(rest, body.rewind().read()))
        finally:
            body.close()
            if self.rest is not None and not self._let_go(rest):
                self.close()

    def _receive_rest(self, size: int) -> bytes:
        """``recv`` while the rest of a body waits in the kernel: what that does not keep until all is there."""
        rest = self.rest
        assert rest is not None
        if rest.here():
            raise BlockingIOError  # so that advance() is called, which takes it
        data = self.sock.recv(min(size, rest.left))
        rest.left -= len(data)
        return data

    def _let_go(self, rest: HeldBody) -> bool:
        """Drop what was not read of a held body; whether the connection can go on behind it."""
        self.rest = None
        self._recv = self.sock.recv
        return rest.close()

    def _serve(self, request: Request, body: BinaryIO) -> None:
        environ = self._environ
        if environ is None:
            environ = self._environ = self._make_environ()
        self._driver.runner.run(self.http, request, body, environ, self.transmit)
        self.flush()
        self.since = monotonic()

    def _make_environ(self) -> dict[str, Any]:
        environ = connection_environ(self._driver.runner.environ, self.sock, self.sock.getsockname(), self.peer)
        if self._driver.sendfile:
            environ["wsgi.file_wrapper"] = self.wrap_file
        return environ

    def next_part(self, size: int) -> tuple[bytes, bool]:
        """The next part of the body that the application reads, waiting for it; of up to *size* bytes where possible.
        And whether it is the last.

        Raises :class:`RemoteProtocolError` for a body that is refused or too slow, PeerGoneError.
        """
        http = self.http
        while True:
            ahead = http.body_ahead()
            if not ahead:
                event = http.next_event()
                if isinstance(event, Data):
                    self.moved += len(event.data)
                    self._streaming = not event.end_stream
                    return event.data, event.end_stream
                if event is not None:
                    raise PeerGoneError("the client has gone away before the end of its request")
                self.transmit(http.parts_to_send())  # 100 Continue
            try:
                data = self._recv((size if size < ahead else ahead) or RECEIVE_SIZE)
            except (BlockingIOError, InterruptedError) as pause:
                limit = http.deadline()
                if not self.wait(READ, getattr(pause, "mask", READ), limit):
                    raise RequestTimeout(f"the request was not complete after {limit:g} seconds") from None
                continue
            except OSError as error:
                raise PeerGoneError(f"the client has gone away: {error}") from error
            if not data:
                http.receive_eof()
            elif len(data) > ahead:
                http.receive_data(data)
            else:  # nothing but body, so it needs no parser
                self.moved += len(data)
                self._streaming = streaming = not http.skip_body(len(data))
                return data, not streaming

    # ---------------------------------------------------------------- the end

    def holds_request(self) -> bool:
        """Whether one is here and waits for a thread (``drivers.reserve``)."""
        return False

    def expects_more(self) -> bool:
        return self._streaming or self._request is not None

    def close(self) -> None:
        if self.closed:
            return
        self._environ = None  # which knows this channel
        if self._body is not None:
            self._body.close()
        if self.rest is not None:
            self._let_go(self.rest)
        super().close()

    def begin_drain(self) -> None:
        """Make the request at hand the last one. A connection that waits for one has a little time left for it.

        The client could not know that a request which is on its way is lost; see ``patience.check_deadline``.
        """
        if not self.http.idle:
            self.http.drain()
        # What is received from now on is drained by on_ready().
