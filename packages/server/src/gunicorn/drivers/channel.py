"""A client of the selector driver: its socket, its HTTP connection, and what is on the way to it.

Made by ``drivers.selector`` for each connection, and by ``drivers.tls_channel`` in a kind of its own under TLS. Nothing
here waits but :meth:`Channel.transmit` and :meth:`Channel.next_part`, which an application calls, and they wait as the
driver says.
"""

from __future__ import annotations

import io
import socket
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from gunicorn.drivers import patience
from gunicorn.drivers.body_stream import body_stream
from gunicorn.drivers.held import AVAILABLE, HeldBody
from gunicorn.drivers.outbox import FileBecameShorterError, Outbox, Parts, rest_of
from gunicorn.drivers.poller import READ, WRITE
from gunicorn.drivers.queues import open_window
from gunicorn.drivers.runner import PeerGoneError
from gunicorn.drivers.sendfile import FileRange, SendableFile
from gunicorn.drivers.spool import Spool
from gunicorn.http.errors import RemoteProtocolError, RequestTimeout
from gunicorn.http.events import Data, Request
from gunicorn.http.h1.connection import H1Connection
from gunicorn.wsgi.environ import connection_environ

if TYPE_CHECKING:
    from gunicorn.drivers.selector import SelectorDriver

RECEIVE_SIZE: Final = 65536  # bytes of one recv; measured: larger ones make malloc fetch new pages every time
NOBODY: Final = 0  # or READ, WRITE: see Channel.waits
COLLECTED: Final = 65536  # bytes of a body that are received before an application may read the rest by itself


class Channel:
    """A client's socket, its HTTP connection, and what the driver remembers about them.

    ``busy`` belongs to the thread that works on the channel; the poller leaves a busy channel alone. ``mask`` is what
    the poller should look for, ``since`` when the state began that ``http.deadline()`` speaks of. What ends channels
    that wait too long is in ``drivers.patience``.
    """

    __slots__ = (
        "_body", "_driver", "_environ", "_recv", "_request", "_send", "_send_parts", "_streaming", "began", "busy",
        "closed", "disarmed", "fd", "http", "lingering", "mask", "moved", "outbox", "peer", "rest", "since", "sock",
        "waits",
    )  # fmt: skip

    secure = False
    holds = AVAILABLE  # whether the kernel may keep bodies for it
    eager = True  # what a new connection wants has mostly come with it

    def __init__(self, driver: SelectorDriver, sock: socket.socket, peer: Any) -> None:
        self._driver = driver
        self.sock = sock
        self.fd = sock.fileno()
        self.peer = peer
        self._recv: Callable[[int], bytes] = sock.recv
        self._send: Callable[[bytes | memoryview], int] = sock.send
        self._send_parts: Callable[[Parts], int] = sock.sendmsg
        trusted = driver.policy.trusts(peer[0] if isinstance(peer, tuple) else None)
        self.http = H1Connection(driver.reader, driver.preamble, self.secure, trusted)
        self._environ: dict[str, Any] | None = None
        self._request: Request | None = None  # whose body is being received
        self._body: Spool | None = None
        self.rest: HeldBody | None = None  # what is missing of it, and waits in the kernel until all is here
        self.began = 0.0  # when the body began
        self.moved = 0  # bytes of it that have come since
        self._streaming = False  # the application reads a body that is still arriving
        self.waits = NOBODY  # for whom the application waits (to READ, to WRITE), which works on it otherwise
        self.busy = True
        self.disarmed = False
        self.closed = False
        self.lingering = False
        self.outbox: Outbox | None = None
        self.mask = READ
        self.since = driver.now

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
                if not self._wait(READ, getattr(pause, "mask", READ), limit):
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

    # ---------------------------------------------------------------- writing

    def flush(self) -> None:
        """Write what waits, keep in the outbox what the peer does not take now, and close when that is due."""
        http = self.http
        data = http.data_to_send()
        if data:
            try:
                sent = self._send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                self.close()
                return
            if sent < len(data):
                self.outbox = Outbox(memoryview(data)[sent:])
                self._driver.watch(self, WRITE)
                return
        if http.closing:
            self._finish()

    def transmit(self, parts: Parts) -> None:
        """Write *parts* for an application that streams, and wait until the kernel has all of them.

        Only then the application goes on: PEP 3333 forbids to hold back what it yielded while it computes the next.
        Raises :class:`PeerGoneError` when the peer is gone, or takes nothing for WRITE_TIMEOUT seconds.
        """
        if self.closed:
            raise PeerGoneError("the client has gone away")
        while parts:
            try:
                sent = self._send_parts(parts)
            except (BlockingIOError, InterruptedError) as pause:
                limit = patience.WRITE_TIMEOUT
                if not self._wait(WRITE, getattr(pause, "mask", WRITE), limit):
                    raise PeerGoneError(f"the client read nothing for {limit:.0f} seconds") from None
            except OSError as error:
                raise PeerGoneError(f"the client has gone away: {error}") from error
            else:
                parts = rest_of(parts, sent)

    def _wait(self, purpose: int, mask: int, limit: float | None) -> bool:
        """Wait, on behalf of the application, in order to read or to write; False when it took too long."""
        self.waits = purpose
        self.since = monotonic()
        try:
            return self._driver.wait(self, mask, limit)
        finally:
            self.waits = NOBODY

    def wrap_file(self, filelike: Any, block_size: int = RECEIVE_SIZE) -> SendableFile:
        """``wsgi.file_wrapper`` of this connection: a file that the kernel can send is sent by :meth:`send_file`."""
        return SendableFile(self, filelike, block_size)

    def send_file(self, file: FileRange) -> None:
        """Begin to send what waits in the connection and *file*, which is the channel's to close from now on."""
        self.outbox = Outbox(memoryview(self.http.data_to_send()), file)
        if self._write_outbox():
            self.outbox = None
        elif not self.closed:
            self._driver.watch(self, WRITE)

    def _empty_outbox(self) -> bool:
        """Whether the connection may go on: everything was written, and it does not close."""
        if not self._write_outbox():
            return False
        self.outbox = None
        self.since = self._driver.now
        self._driver.watch(self, READ)
        if self.http.closing:
            self._finish()
            return False
        return True

    def _write_outbox(self) -> bool:
        """Write as much of the outbox as the peer takes now; whether that was all. A peer that is gone is closed."""
        outbox = self.outbox
        assert outbox is not None
        try:
            while outbox.write(self.sock, self._send):
                self.since = monotonic()
        except (BlockingIOError, InterruptedError):
            return False
        except FileBecameShorterError:
            self._driver.log.error("A file became shorter while it was sent to ip=%s", host_of(self.peer))
            self.close()
            return False
        except OSError:
            self.close()
            return False
        outbox.close()
        return True

    # ---------------------------------------------------------------- the end

    def _finish(self) -> None:
        """Everything was sent: close, or, if the peer may still be sending, say so and wait for it to hear that.

        Closing a socket with unread input resets the connection, and the reset may overtake the answer.
        """
        if self.outbox is not None:
            return
        if not (self.lingering or self._streaming or self._request is not None):
            self.close()
            return
        self.lingering = True
        self.since = self._driver.now
        try:
            self._end_sending()
        except OSError:
            self.close()

    def _end_sending(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._environ = None  # which knows this channel
        if self._body is not None:
            self._body.close()
        if self.outbox is not None:
            self.outbox.close()
        if self.rest is not None:
            self._let_go(self.rest)
        try:
            self._driver.forget(self)
        finally:
            self.sock.close()

    def begin_drain(self) -> None:
        """Make the request at hand the last one. A connection that waits for one has a little time left for it.

        The client could not know that a request which is on its way is lost; see ``patience.check_deadline``.
        """
        if not self.http.idle:
            self.http.drain()
        # What is received from now on is drained by on_ready().


def host_of(peer: Any) -> str:
    """How a refusal names *peer*, an address as ``accept`` gives it."""
    return str(peer[0]) if isinstance(peer, tuple) else "unix"
