"""One connection of the greenlet driver and the greenlet that serves it, in blocking style.

    Client.run ─► H1Connection ─► Runner ─► Client.transmit ─► socket

Its socket never blocks; where a call would, the greenlet waits in the hub, and the others run. What it waits for, and
since when, is kept here for the driver's timekeeper, which ends what takes too long: so waiting needs no timer.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import gevent
from gevent.socket import SHUT_WR

from gunicorn.drivers.admission import Stage, overstays
from gunicorn.drivers.body_stream import body_stream
from gunicorn.drivers.channel import COLLECTED, RECEIVE_SIZE
from gunicorn.drivers.errors import PeerGoneError
from gunicorn.drivers.outbox import MSG_MORE, Parts, rest_of
from gunicorn.drivers.patience import ARRIVAL_TIMEOUT, LINGER_TIMEOUT, WRITE_TIMEOUT
from gunicorn.drivers.queues import open_window, unsent
from gunicorn.drivers.sender import host_of
from gunicorn.drivers.sendfile import FileRange, SendableFile
from gunicorn.http.errors import RemoteProtocolError, RequestTimeout
from gunicorn.http.events import Data, Request
from gunicorn.http.h1.connection import H1Connection
from gunicorn.wsgi.environ import connection_environ

if TYPE_CHECKING:
    from gunicorn.drivers.greenlet import GreenletDriver

TURN: Final = 1 << 20  # bytes that a stream may write, to a client that takes them at once, before others get a turn

READABLE: Final = 1  # libev's masks
WRITABLE: Final = 2
# What a client's greenlet waits for; NOTHING while it runs, or waits on behalf of the application.
NOTHING: Final = 0
TO_READ: Final = 1
TO_WRITE: Final = 2
TO_LINGER: Final = 3
TO_SHAKE: Final = 4


class GivenUpError(TimeoutError):
    """The connection's place is needed for others (``drivers.admission``)."""


class Client:
    """A connection and the greenlet that serves it. *sock* is gevent's."""

    __slots__ = (
        "_body_bytes", "_body_since", "_driver", "_environ", "_greedy", "_http", "_owner", "_peer", "_queued",
        "_reader", "_recv", "_send", "_shown", "_since", "_sock", "_waits", "_writer", "busy_since", "given_up",
        "greenlet", "overdue", "request",
    )  # fmt: skip

    reads_first = False  # whether there may be something to receive though the socket is not readable

    def __init__(self, driver: GreenletDriver, sock: Any, peer: Any) -> None:
        self._driver = driver
        self._owner = sock
        self._shown: Any = sock  # the application's gunicorn.socket
        # Non-blocking, and without the layer that waits: waiting is done here.
        self._sock: Any = sock._sock
        self._peer = peer
        trusted = driver.policy.trusts(peer[0] if isinstance(peer, tuple) else None)
        self._http = H1Connection(driver.reader, driver.preamble, driver.secure, trusted)
        self._environ: dict[str, Any] | None = None
        self._reader = driver.hub.loop.io(sock.fileno(), READABLE)
        self._writer: Any = None  # made when it is needed
        self._waits = NOTHING
        self._since = monotonic()  # when the state began that http.deadline() speaks of
        self._body_since = 0.0  # when the head of a request with a body was read, and how much of it came since
        self._body_bytes = 0
        self._queued = (
            0  # bytes that the kernel held for the peer when the timekeeper looked last, while it reads slowly
        )
        self._greedy = 0  # bytes that the application streamed without giving way
        self.busy_since = 0.0  # when the application was called, later by what it has waited for the client; 0.0: idle
        self.request: Request | None = None  # that the application was called with last
        self.overdue = False
        self.given_up = False
        self._open()
        self._recv = self._sock.recv
        self._send = self._sock.send
        self.greenlet = gevent.spawn(self.run)

    def _open(self) -> None:
        """What a kind of connection needs before its greenlet runs."""

    def run(self) -> None:
        """Serve the connection to its end. Nothing of :class:`Exception` comes out."""
        try:
            self._serve()
        except PeerGoneError:
            pass
        except Exception:
            self._driver.log.exception("Error on the connection of %s", self._peer)
        finally:
            self._reader.close()
            if self._writer is not None:
                self._writer.close()
            self._owner.close()
            self._driver.forget(self)

    def _serve(self) -> None:
        http = self._http
        run = self._driver.run_request
        transmit = self.transmit
        while True:
            try:
                while not isinstance(request := http.next_event(), Request):
                    if http.closing or not self.receive():
                        return
                body: BinaryIO = io.BytesIO() if request.end_stream else self._begin_body(request)
            except RemoteProtocolError as error:
                self.report(error)
                http.refuse(error)
                break
            environ = self._environ
            if environ is None:
                environ = self._begin_environ()
            self.request = request
            self.busy_since = monotonic()
            run(http, request, body, environ, transmit)
            self.busy_since = 0.0
            data = http.data_to_send()
            if data:
                self._write(data)
            if http.closing:
                if request.end_stream:
                    return
                break
        self.flush()
        self._linger()

    def _begin_environ(self) -> dict[str, Any]:
        """What the environs of all requests of the connection have in common."""
        driver = self._driver
        environ = connection_environ(driver.runner.environ, self._shown, self._owner.getsockname(), self._peer)
        if driver.sendfile:
            environ["wsgi.file_wrapper"] = self.wrap_file
        self._environ = environ
        return environ

    def _begin_body(self, request: Request) -> BinaryIO:
        """What the application reads its input from. Raises as :meth:`next_part`.

        A small body is received first, so that an application that ignores it leaves the connection usable, and a slow
        sender holds nothing of the application.
        """
        whole = self._http.whole_body()
        if whole is not None:
            return io.BytesIO(whole)
        self._body_since, self._body_bytes = monotonic(), 0
        length = request.content_length
        if length is None or length > COLLECTED or request.expects_continue:
            open_window(self._owner, length or 0)
            return body_stream(self)
        parts = []
        ended = False
        while not ended:
            part, ended = self.next_part(RECEIVE_SIZE)
            parts.append(part)
        return io.BytesIO(parts[0] if len(parts) == 1 else b"".join(parts))

    # ---------------------------------------------------------------- receiving

    def next_part(self, size: int) -> tuple[bytes, bool]:
        """The next part of the request's body, waiting for it, of up to *size* bytes where possible; whether it is the
        last.

        Raises :class:`RemoteProtocolError` for a body that is refused or too slow, PeerGoneError.
        """
        http = self._http
        while True:
            ahead = http.body_ahead()
            if not ahead:
                event = http.next_event()
                if isinstance(event, Data):
                    return event.data, event.end_stream
                if event is not None:
                    raise PeerGoneError("the client has gone away before the end of its request")
                self.flush()  # 100 Continue
            data = self._next_bytes((size if size < ahead else ahead) or RECEIVE_SIZE)
            if not data:
                http.receive_eof()
                continue
            self._body_bytes += len(data)
            if len(data) <= ahead:  # nothing but body, so it needs no parser
                return data, http.skip_body(len(data))
            http.receive_data(data)

    def receive(self) -> bool:
        """Give the connection what the peer sends next, waiting for it; False when an idle peer waited too long.

        Raises :class:`RequestTimeout` when it took too long within a request, PeerGoneError when it has gone.
        """
        http = self._http
        idle = http.idle
        data = self._next_bytes(RECEIVE_SIZE)
        if data is None:
            return False
        if not data:
            http.receive_eof()
            return True
        if idle:
            self._since = monotonic()
        http.receive_data(data)
        if self._driver.draining:
            http.drain()
        return True

    def _next_bytes(self, size: int) -> bytes | None:
        """What the peer sends next, ``b""`` for its end, waiting for it; None when an idle peer waited too long.

        Raises as :meth:`receive`.
        """
        http = self._http
        idle = http.idle
        if http.request is not None or self.reads_first:  # more of its body is here already, mostly
            data = self._receive_now(size)
            if data is not None:
                return data
        if idle or http.request is not None:  # else a head that began earlier goes on
            self._since = monotonic()
        try:
            return self._receive_later(size)
        except TimeoutError as error:  # thrown by the timekeeper
            if idle:
                data = self._receive_now(size)  # what came at the last moment counts
                if data is not None:
                    self.given_up = False
                return data
            if self.given_up:
                raise RequestTimeout(f"{error}") from None
            raise RequestTimeout(f"the request was not complete after {http.deadline():g} seconds") from None

    def _receive_now(self, size: int) -> bytes | None:
        """What is here; None for nothing, ``b""`` for the end."""
        try:
            return self._recv(size)  # type: ignore[no-any-return]
        except BlockingIOError:
            return None
        except OSError as error:
            raise PeerGoneError(f"the client has gone away: {error}") from error

    def _receive_later(self, size: int) -> bytes:
        """What comes next. Raises TimeoutError when the timekeeper says so."""
        while True:
            self._wait(self._reader, TO_READ)
            data = self._receive_now(size)
            if data is not None:
                return data

    def report(self, error: RemoteProtocolError) -> None:
        """Log a refusal; once, where it is found."""
        self._driver.log.warning("Invalid request from ip=%s: %s", host_of(self._peer), error)

    # ---------------------------------------------------------------- writing

    def flush(self) -> None:
        """Write what waits in the connection. Raises PeerGoneError."""
        data = self._http.data_to_send()
        if data:
            self._write(data)

    def transmit(self, parts: Parts) -> None:
        """Write *parts* for an application that streams; it goes on when the kernel has all of them.

        Raises PeerGoneError when the peer is gone, or takes nothing for WRITE_TIMEOUT seconds.
        """
        self._let_others(sum(map(len, parts)))
        while parts:
            parts = rest_of(parts, self._write_now(self._sock.sendmsg, parts))
            if parts:
                self._wait_for_reader()

    def _let_others(self, size: int) -> None:
        """Give others a turn when the peer has taken a lot at once; *size* is what is added to that."""
        self._greedy += size
        if self._greedy > TURN:
            self._greedy = 0
            gevent.sleep(0)

    def _write(self, data: bytes) -> None:
        """Write all of *data*, waiting while the peer reads slowly."""
        sent = self._write_now(self._send, data)
        if sent != len(data):
            view = memoryview(data)[sent:]
            while view:
                self._wait_for_reader()
                view = view[self._write_now(self._send, view) :]

    def _write_now(self, send: Callable[[Any], int], data: Any) -> int:
        """What *send* has taken of *data*. Raises PeerGoneError."""
        try:
            return send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise PeerGoneError(f"the client has gone away: {error}") from error

    def _wait_for_reader(self) -> None:
        self._greedy = self._queued = 0
        self._since = monotonic()
        try:
            self._wait(self._writability(), TO_WRITE)
        except GivenUpError as error:
            raise PeerGoneError(f"it reads too slowly: {error}") from None
        except TimeoutError:
            raise PeerGoneError(f"the client read nothing for {WRITE_TIMEOUT:.0f} seconds") from None

    def wrap_file(self, filelike: Any, block_size: int = RECEIVE_SIZE) -> SendableFile:
        """``wsgi.file_wrapper`` of this connection: a file that the kernel can send is sent by :meth:`send_file`."""
        return SendableFile(self, filelike, block_size)

    def send_file(self, file: FileRange) -> None:
        """Write what waits in the connection, and then *file*, which is closed. Raises PeerGoneError."""
        fd = self._owner.fileno()
        try:
            head = memoryview(self._http.data_to_send())
            while head or file.left:
                try:
                    if head:
                        head = head[self._sock.send(head, MSG_MORE) :]  # it travels in the first packet of the file
                        continue
                    sent = file.send(fd)
                except BlockingIOError:
                    self._wait_for_reader()
                    continue
                if not sent:
                    self._driver.log.error("A file became shorter while it was sent to ip=%s", host_of(self._peer))
                    raise PeerGoneError("the response could not be completed")
                self._let_others(sent)
        except PeerGoneError:
            raise
        except OSError as error:
            raise PeerGoneError(f"the client has gone away: {error}") from error
        finally:
            file.close()

    def _writability(self) -> Any:
        if self._writer is None:
            self._writer = self._driver.hub.loop.io(self._owner.fileno(), WRITABLE)
        return self._writer

    def _linger(self) -> None:
        """Wait until the peer, which may still be sending, has heard that this is the end.

        Closing a socket with unread input resets the connection, and the reset may overtake the answer.
        """
        if self.given_up:  # its place is needed
            return
        self._since = monotonic()
        try:
            self._sock.shutdown(SHUT_WR)
            while True:
                self._wait(self._reader, TO_LINGER)
                while data := self._receive_now(RECEIVE_SIZE):
                    pass
                if data is not None:
                    return
        except OSError:  # gone, or it lingered too long (TimeoutError)
            pass

    def _wait(self, watcher: Any, state: int) -> None:
        """Let others run until *watcher* sees something. Raises TimeoutError when the timekeeper says so.

        May return without reason: look, and wait again. What the client takes does not count as the application's time.
        """
        self._waits = state
        began = monotonic() if self.busy_since else 0.0
        watcher.start(self.greenlet.switch)
        try:
            self._driver.hub.switch()
        finally:
            watcher.stop()
            self._waits = NOTHING
            if began:
                self.busy_since += monotonic() - began

    # ---------------------------------------------------------------- called by the timekeeper

    def occupies(self, now: float) -> float:
        """Seconds that the request at hand has occupied the application; 0.0 while it waits for its client, and from
        the beginning of its response on, which may go on for as long as it likes (server-sent events).
        """
        return now - self.busy_since if self.busy_since and not self._waits and not self._http.responding else 0.0

    def waits_too_long(self, now: float) -> bool:
        """Whether the greenlet waits for its peer longer than it may."""
        waits = self._waits
        if waits == NOTHING:
            return False
        if waits == TO_READ:
            limit = ARRIVAL_TIMEOUT if self._driver.draining and self._http.idle else self._http.deadline()
        elif waits == TO_WRITE:
            self._see_progress(now)
            limit = WRITE_TIMEOUT
        elif waits == TO_LINGER:
            limit = LINGER_TIMEOUT
        else:
            limit = ARRIVAL_TIMEOUT if self._driver.draining else self._driver.policy.head_timeout or None
        return limit is not None and now - self._since > limit

    def standing(self, now: float) -> tuple[Stage, float, int] | None:
        """What it waits for, for how many seconds, and the bytes that came in that time; None when it does not wait."""
        waits, http = self._waits, self._http
        if waits == NOTHING or self.given_up:
            return None
        if waits == TO_WRITE:
            self._see_progress(now)
        waited = now - self._since
        if waits == TO_LINGER:
            return Stage.GOODBYE, waited, 0
        if waits == TO_SHAKE:
            return Stage.SILENT, waited, 0
        if waits == TO_WRITE:
            return Stage.READER, waited, 0
        if http.idle:
            return (Stage.SILENT if self._environ is None else Stage.IDLE), waited, 0
        if http.request is None:
            return Stage.HEAD, waited, 0
        return Stage.BODY, now - self._body_since, self._body_bytes

    def _see_progress(self, now: float) -> None:
        """Count what the peer takes, though it does not make the socket writable before a third of it is taken."""
        queued = unsent(self._owner.fileno())
        if queued < self._queued:
            self._since = now
        self._queued = queued

    # These two are for the hub only: there nothing happens between the look and the throw.

    def expire(self) -> None:
        """Wake the greenlet with a TimeoutError, if it still waits too long."""
        if self.waits_too_long(monotonic()):
            self.greenlet.throw(TimeoutError("deadline"))

    def give_up(self) -> None:
        """Wake the greenlet with a GivenUpError, if it still keeps others waiting."""
        standing = self.standing(monotonic())
        if standing is not None and overstays(*standing) > 0:
            self.given_up = True
            self.greenlet.throw(
                GivenUpError(f"after {standing[1]:.1f} seconds others need the place of this connection")
            )

    def drain(self) -> None:
        """Make the request at hand the last one.

        A connection that is between two requests has ARRIVAL_TIMEOUT for the next one, which may be on the way: it is
        answered, and says that it was the last one. So has one that never had a request.
        """
        if self._http.request is not None:
            self._http.drain()
        # What is received from now on is drained by receive().
