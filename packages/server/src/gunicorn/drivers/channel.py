"""A client of the selector driver: its socket, its HTTP connection, and what is on the way to it.

Made by ``drivers.selector`` for each connection, and by ``drivers.tls_channel`` in a kind of its own under TLS. Nothing
here waits but :meth:`Channel.transmit` and :meth:`Channel.next_data`, which an application calls, and they wait as the
driver says.
"""

from __future__ import annotations

import io
import socket
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from gunicorn.drivers.admission import Stage
from gunicorn.drivers.body_stream import body_stream
from gunicorn.drivers.poller import READ, WRITE
from gunicorn.drivers.runner import PeerGoneError
from gunicorn.drivers.sendfile import FileRange, SendableFile
from gunicorn.drivers.spool import Spool
from gunicorn.http.errors import RemoteProtocolError, RequestTimeout
from gunicorn.http.events import Data, Disconnected, Request
from gunicorn.http.h1.connection import H1Connection
from gunicorn.wsgi.environ import connection_environ

if TYPE_CHECKING:
    from gunicorn.drivers.selector import SelectorDriver

RECEIVE_SIZE: Final = 65536  # bytes of one recv; measured: larger ones make malloc fetch new pages every time
NOBODY: Final = 0  # or READ, WRITE: see Channel.standing
COLLECTED: Final = 65536  # bytes of a body that are received before an application may read the rest by itself
MSG_MORE: Final = getattr(socket, "MSG_MORE", 0)
WRITE_TIMEOUT: Final = 30.0  # seconds that an application waits for a reader that takes nothing
LINGER_TIMEOUT: Final = 2.0  # seconds for the peer of a refused request to read the answer
ARRIVAL_TIMEOUT: Final = 1.0  # seconds for the next request to arrive, or its first byte, when the worker ends


class Outbox:
    """What the peer did not take yet: bytes, and after them a part of a file."""

    __slots__ = ("data", "file")

    def __init__(self, data: memoryview, file: FileRange | None = None) -> None:
        self.data = data
        self.file = file

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


class Channel:
    """A client's socket, its HTTP connection, and what the driver remembers about them.

    ``busy`` belongs to the thread that works on the channel; the poller leaves a busy channel alone. ``mask`` is what
    the poller should look for, ``since`` when the state began that ``http.deadline()`` speaks of.
    """

    __slots__ = (
        "_began", "_body", "_driver", "_environ", "_moved", "_recv", "_request", "_send", "_streaming", "_waits",
        "busy", "closed", "disarmed", "fd", "http", "lingering", "mask", "outbox", "peer", "since", "sock",
    )  # fmt: skip

    secure = False
    eager = True  # what a new connection wants has mostly come with it

    def __init__(self, driver: SelectorDriver, sock: socket.socket, peer: Any) -> None:
        self._driver = driver
        self.sock = sock
        self.fd = sock.fileno()
        self.peer = peer
        self._recv: Callable[[int], bytes] = sock.recv
        self._send: Callable[[bytes | memoryview], int] = sock.send
        trusted = driver.policy.trusts(peer[0] if isinstance(peer, tuple) else None)
        self.http = H1Connection(driver.reader, driver.preamble, self.secure, trusted)
        self._environ: dict[str, Any] | None = None
        self._request: Request | None = None  # whose body is being received
        self._body: Spool | None = None
        self._began = 0.0  # when the body began
        self._moved = 0  # bytes of it that have come since
        self._streaming = False  # the application reads a body that is still arriving
        self._waits = NOBODY  # for whom the application waits, which works on it otherwise
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
                    if event.end_stream:
                        self._serve(event, io.BytesIO())
                        if not http.buffered:
                            return
                    else:
                        self._begin_body(event)
                elif isinstance(event, Data):
                    self._take(event)
                    if event.end_stream and not http.buffered:
                        return
                if self.outbox is not None or self.closed or self.lingering:
                    return
        except RemoteProtocolError as error:
            self.refuse(error)
            return
        self.flush()

    def refuse(self, error: RemoteProtocolError) -> None:
        """Answer a bad request, log it once, and end the connection so that the peer can still read the answer."""
        self.report(error)
        self.http.refuse(error)
        self.lingering = True
        if self._body is not None:
            self._body.close()
        self.flush()

    def report(self, error: RemoteProtocolError) -> None:
        """Log a refusal; once, where it is found."""
        self._driver.log.warning("Invalid request from ip=%s: %s", host_of(self.peer), error)

    # ---------------------------------------------------------------- requests

    def _begin_body(self, request: Request) -> None:
        self._request = request
        self._began = self._driver.now
        self._moved = 0
        room = self._driver.room
        if room is not None:
            room.check(request.content_length)
        elif request.expects_continue:
            self._serve_stream(b"")  # 100 Continue is sent when the application reads, if it does

    def _take(self, event: Data) -> None:
        """Add to the body of the request at hand; serve it when that is complete, or when enough of it is here."""
        body, request = self._body, self._request
        assert request is not None
        self._moved += len(event.data)
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
        self._serve(request, body_stream(self, begin))

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

    def next_data(self) -> Data | Disconnected:
        """The next part of the body that the application reads, waiting for it.

        Raises :class:`RemoteProtocolError` for a body that is refused or too slow, PeerGoneError.
        """
        http = self.http
        while True:
            event = http.next_event()
            if event is not None:
                assert isinstance(event, (Data, Disconnected))
                if isinstance(event, Data):
                    self._moved += len(event.data)
                    self._streaming = not event.end_stream
                return event
            data = http.data_to_send()
            if data:  # 100 Continue
                self.transmit(data)
            try:
                data = self._recv(RECEIVE_SIZE)
            except (BlockingIOError, InterruptedError) as pause:
                limit = http.deadline()
                if not self._wait(READ, getattr(pause, "mask", READ), limit):
                    raise RequestTimeout(f"the request was not complete after {limit:g} seconds") from None
                continue
            except OSError as error:
                raise PeerGoneError(f"the client has gone away: {error}") from error
            if data:
                http.receive_data(data)
            else:
                http.receive_eof()

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

    def transmit(self, data: bytes) -> None:
        """Write *data* for an application that streams, and wait until the kernel has all of it.

        Only then the application goes on: PEP 3333 forbids to hold back what it yielded while it computes the next.
        Raises :class:`PeerGoneError` when the peer is gone, or takes nothing for WRITE_TIMEOUT seconds.
        """
        if self.closed:
            raise PeerGoneError("the client has gone away")
        view = memoryview(data)
        while view:
            try:
                view = view[self._send(view) :]
            except (BlockingIOError, InterruptedError) as pause:
                if not self._wait(WRITE, getattr(pause, "mask", WRITE), WRITE_TIMEOUT):
                    raise PeerGoneError(f"the client read nothing for {WRITE_TIMEOUT:.0f} seconds") from None
            except OSError as error:
                raise PeerGoneError(f"the client has gone away: {error}") from error

    def _wait(self, purpose: int, mask: int, limit: float | None) -> bool:
        """Wait, on behalf of the application, in order to read or to write; False when it took too long."""
        self._waits = purpose
        self.since = monotonic()
        try:
            return self._driver.wait(self, mask, limit)
        finally:
            self._waits = NOBODY

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
        file = outbox.file
        try:
            while outbox.data:
                # With a file to follow, the head travels in the first packet of it.
                sent = self._send(outbox.data) if file is None else self.sock.send(outbox.data, MSG_MORE)
                outbox.data = outbox.data[sent:]
                self.since = monotonic()
            while file is not None and file.left:
                if not file.send(self.fd):
                    self._driver.log.error("A file became shorter while it was sent to ip=%s", host_of(self.peer))
                    self.close()
                    return False
                self.since = monotonic()
        except (BlockingIOError, InterruptedError):
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
        try:
            self._driver.forget(self)
        finally:
            self.sock.close()

    def begin_drain(self) -> None:
        """Make the request at hand the last one. A connection that waits for one has a little time left for it.

        The client could not know that a request which is on its way is lost; see :meth:`check_deadline`.
        """
        if not self.http.idle:
            self.http.drain()
        # What is received from now on is drained by on_ready().

    # ---------------------------------------------------------------- time

    def check_deadline(self, now: float) -> None:
        """End a channel that stayed too long in its state: 408 within a request, silently between requests."""
        if self.lingering:
            limit: float | None = LINGER_TIMEOUT
        elif self.outbox is not None:
            limit = WRITE_TIMEOUT
        elif self._driver.draining and self.http.idle:
            limit = ARRIVAL_TIMEOUT
        else:
            limit = self.http.deadline()
        if limit is None or now - self.since <= limit:
            return
        if self.lingering or self.outbox is not None:
            self.close()
        elif self.http.idle:
            if not self._has_come():
                self.close()
        else:
            self.refuse(RequestTimeout(f"the request was not complete after {limit:g} seconds"))

    # ---------------------------------------------------------------- its place, when others wait for one

    def standing(self, now: float) -> tuple[Stage, float, int] | None:
        """What the channel waits for and how long it has, for ``admission.choose``; None when it is worked on."""
        if self.busy:
            if self._waits == WRITE:
                return Stage.READER, now - self.since, 0
            return (Stage.BODY, now - self._began, self._moved) if self._waits == READ else None
        if self.lingering:
            return Stage.GOODBYE, now - self.since, 0
        if self.outbox is not None:
            return Stage.READER, now - self.since, 0
        if self.http.idle:
            return (Stage.IDLE if self.http.served else Stage.SILENT), now - self.since, 0
        if self.http.request is None:
            return Stage.HEAD, now - self.since, 0
        return Stage.BODY, now - self._began, self._moved

    def give_up(self) -> None:
        """End the channel, which keeps others waiting; by the polling thread."""
        if self.busy:
            # The application waits for the peer: it will find that the peer has gone.
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
            return
        if not (self.lingering or self.outbox is not None or self.http.idle):
            error = RequestTimeout("the request takes long to come, and others wait for its place")
            self.report(error)
            self.http.refuse(error)
            try:
                self._send(self.http.data_to_send())
            except OSError:
                pass
        self.close()

    def _has_come(self) -> bool:
        """Whether the peer has sent something at the last moment, of which the poller has not told yet."""
        try:
            return bool(socket.socket.recv(self.sock, 1, socket.MSG_PEEK))
        except OSError:
            return False


def host_of(peer: Any) -> str:
    """How a refusal names *peer*, an address as ``accept`` gives it."""
    return str(peer[0]) if isinstance(peer, tuple) else "unix"
