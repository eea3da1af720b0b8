"""A channel under TLS: made by ``drivers.selector`` instead of the plain one when the configuration has a certificate.

The handshake goes on whenever the poller reports that the peer has sent more; nothing ever waits for it, and a peer
that does not finish it has as long as for a request's head. Afterwards the channel is like any other, but that its
socket may have to read in order to write, and the other way round.
"""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from gunicorn.drivers.channel import Channel
from gunicorn.drivers.poller import READ, WRITE
from gunicorn.drivers.reserve import Reserve
from gunicorn.drivers.sender import host_of
from gunicorn.drivers.tls_stream import TLSStream
from gunicorn.tls import connection_variables, report_handshake, speaks_plain_http

if TYPE_CHECKING:
    from gunicorn.drivers.selector import SelectorDriver
    from gunicorn.health import HealthPath
    from gunicorn.http.events import Request

PLAIN_ANSWER: Final = (
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: 49\r\n\r\n"
    b"400 Bad Request\nThis port speaks HTTPS, not HTTP\n"
)


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


class ReserveTLSChannel(TLSChannel):
    """One that answers the health path, as ``drivers.reserve.ReserveChannel`` does."""

    __slots__ = ("_reserve",)

    def __init__(
        self,
        driver: SelectorDriver,
        sock: socket.socket,
        peer: Any,
        context: ssl.SSLContext,
        eager: bool,
        ragged: bool,
        health: HealthPath,
    ) -> None:
        super().__init__(driver, sock, peer, context, eager, ragged)
        self._reserve = Reserve(driver, health)

    def on_ready(self) -> None:
        held = self._reserve.take()
        if held is None:
            super().on_ready()
        else:
            request, body = held
            super()._serve(request, body)
            self.advance()

    def _serve(self, request: Request, body: BinaryIO) -> None:
        if not self._reserve.settles(self, request, body):
            super()._serve(request, body)

    def holds_request(self) -> bool:
        return self._reserve.held is not None
