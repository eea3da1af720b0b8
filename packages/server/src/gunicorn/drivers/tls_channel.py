"""A channel under TLS: made by ``drivers.selector`` instead of the plain one when the configuration has a certificate.

The handshake goes on whenever the poller reports that the peer has sent more; nothing ever waits for it, and a peer
that does not finish it has as long as for a request's head. Afterwards the channel is like any other, but that its
socket may have to read in order to write, and the other way round.
"""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Any, Final

from gunicorn.drivers.channel import Channel, host_of
from gunicorn.drivers.outbox import Parts
from gunicorn.drivers.poller import READ, WRITE
from gunicorn.drivers.reserve import Reserve
from gunicorn.tls import connection_variables, report_handshake, speaks_plain_http

if TYPE_CHECKING:
    from gunicorn.drivers.selector import SelectorDriver
    from gunicorn.health import HealthPath

RECORD: Final = 16384  # bytes of the largest TLS record (RFC 8446 section 5.1); one SSL_read never gives more
SEND_SIZE: Final = 65536  # bytes of one SSL_write, which has to be repeated as it was when it could not be done

PLAIN_ANSWER: Final = (
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: 49\r\n\r\n"
    b"400 Bad Request\nThis port speaks HTTPS, not HTTP\n"
)


class WantRead(BlockingIOError):
    """Nothing can be done until the socket is readable."""

    mask = READ


class WantWrite(BlockingIOError):
    """Nothing can be done until the socket is writable."""

    mask = WRITE


class TLSStream:
    """A non-blocking TLS socket with the manners of a plain one: where it has to wait it raises BlockingIOError."""

    __slots__ = ("sock", "wants")

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self.sock = sock
        self.wants = 0  # READ or WRITE when the last operation has to wait for it

    def shake_hands(self) -> None:
        """Go on with the handshake. Raises BlockingIOError when it is not done yet, OSError when it has failed."""
        self.wants = 0
        try:
            self.sock.do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as pause:
            raise self._pause(pause) from None

    def recv(self, size: int) -> bytes:
        """As many records as are here, up to about *size* bytes: what is left inside would be unknown to the poller."""
        self.wants = 0
        try:
            data = self.sock.recv(size)
            if len(data) < RECORD and not self.sock.pending():
                return data
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as pause:
            raise self._pause(pause) from None
        parts = [data]
        total = len(data)
        while total < size or self.sock.pending():
            try:
                more = self.sock.recv(RECORD)
            except OSError:  # nothing more now, or an error that the next call meets again
                break
            if not more:
                break
            parts.append(more)
            total += len(more)
        return b"".join(parts)

    def send(self, data: bytes | memoryview) -> int:
        """Send *data*; returns how many bytes were taken. What was not is to be offered again before anything else."""
        self.wants = 0
        view = memoryview(data)
        sent = 0
        while sent < len(view):
            try:
                sent += self.sock.send(view[sent : sent + SEND_SIZE])
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as pause:
                error = self._pause(pause)
                if sent:
                    break
                raise error from None
        return sent

    def send_parts(self, parts: Parts) -> int:
        """:meth:`send` them as one."""
        return self.send(b"".join(parts))

    def say_goodbye(self) -> None:
        """Send close_notify, as far as that is possible; nobody waits for the peer's."""
        try:
            self.sock.unwrap()
        except (OSError, ValueError):  # it is sent, or the peer is gone, or there was no handshake
            pass

    def _pause(self, pause: ssl.SSLError) -> BlockingIOError:
        error: WantRead | WantWrite = WantRead() if isinstance(pause, ssl.SSLWantReadError) else WantWrite()
        self.wants = error.mask
        return error


class TLSChannel(Channel):
    """A client that speaks TLS. *context* is the server's; *eager*: begin the handshake before anything has come."""

    __slots__ = ("_established", "_stream", "eager")

    secure = True
    holds = False  # what lies in the kernel is encrypted

    def __init__(
        self, driver: SelectorDriver, sock: socket.socket, peer: Any, context: ssl.SSLContext, eager: bool, ragged: bool
    ) -> None:
        """*ragged*: take the end of the connection for an orderly one though close_notify is missing."""
        wrapped = context.wrap_socket(
            sock, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=ragged
        )
        super().__init__(driver, wrapped, peer)
        self._stream = TLSStream(wrapped)
        self._recv, self._send, self._send_parts = self._stream.recv, self._stream.send, self._stream.send_parts
        self._established = False
        self.eager = eager

    def on_ready(self) -> None:
        if not self.lingering and not self._established and not self._shake_hands():
            return
        super().on_ready()
        if not self.closed and not self.lingering:
            self._watch_for(READ if self.outbox is None else WRITE)

    def _watch_for(self, usual: int) -> None:
        mask = self._stream.wants or usual
        if mask != self.mask:
            self._driver.watch(self, mask)

    def _shake_hands(self) -> bool:
        """Go on with the handshake; whether it is done."""
        try:
            self._stream.shake_hands()
        except BlockingIOError:
            self._watch_for(READ)
            return False
        except OSError as error:
            self._refuse_handshake(error)
            return False
        self._established = True
        return True

    def _refuse_handshake(self, error: OSError) -> None:
        if not report_handshake(self._driver.log, host_of(self.peer), error):
            self.close()
            return
        try:
            if speaks_plain_http(error):
                socket.socket.send(self.sock, PLAIN_ANSWER)  # past the wrapper, which would encrypt it
            self.lingering = True
            self.since = self._driver.now
            self._end_sending()
        except OSError:
            self.close()

    def _end_sending(self) -> None:
        self._stream.say_goodbye()
        super()._end_sending()

    def _make_environ(self) -> dict[str, Any]:
        environ = super()._make_environ()
        environ.update(connection_variables(self._stream.sock))
        return environ

    def close(self) -> None:
        if not self.closed and not self.lingering and self._established:
            self._stream.say_goodbye()
        super().close()


class ReserveTLSChannel(Reserve, TLSChannel):
    """One that answers the health path of its driver."""

    __slots__ = ("_health", "held")

    def __init__(self, *args: Any, health: HealthPath) -> None:
        super().__init__(*args)
        self._health = health
        self.held = None
