"""TLS for the greenlet driver: a non-blocking socket whose bytes are encrypted in memory, and the handshake.

The context comes from the master, which is not patched, so its sockets are not gevent's; ``SSLObject`` needs none.
:class:`TLSSocket` does what a non-blocking socket does, so that ``greenlet_client`` serves both in the same way. It is
also the environ's ``gunicorn.socket``, for applications that ask for the client's certificate.

Imported when TLS is on.
"""

from __future__ import annotations

import ssl
from time import monotonic
from typing import Any, Final

from gevent.socket import SHUT_WR

from gunicorn.drivers.greenlet_client import TO_SHAKE, Client
from gunicorn.drivers.outbox import Parts
from gunicorn.drivers.sender import host_of
from gunicorn.drivers.tls_channel import PLAIN_ANSWER
from gunicorn.tls import connection_variables, report_handshake, speaks_plain_http

RECORDS: Final = 65536  # bytes encrypted by one send


class TLSSocket:
    """The server's side of TLS over *sock*, a non-blocking socket.

    ``recv`` and ``send`` raise BlockingIOError when they would wait, ``ssl.SSLError`` (an OSError) when TLS fails, and
    other OSErrors as the socket does. A ``send`` that has raised BlockingIOError is to be repeated with the same data.
    Everything else is the SSLObject's (``getpeercert``, ``cipher``, ``version``, ``selected_alpn_protocol``, …) or the
    socket's.
    """

    def __init__(self, sock: Any, context: ssl.SSLContext, suppress_ragged_eofs: bool = True) -> None:
        """*suppress_ragged_eofs*: whether a connection that ends without a goodbye ends as any other."""
        self._sock = sock
        self._suppress_ragged_eofs = suppress_ragged_eofs
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._left = b""  # encrypted, and not sent yet
        self._stands_for = 0  # bytes of the application's data that _left is made of

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tls if hasattr(ssl.SSLObject, name) else self._sock, name)

    @property
    def wants_to_write(self) -> bool:
        """What a BlockingIOError of :meth:`do_handshake` waits for: True to write, False to read."""
        return bool(self._left)

    def do_handshake(self) -> None:
        """Shake hands, as far as it goes. Call again after BlockingIOError, when the socket is ready."""
        while True:
            self._push()
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._push()
                self._pull()
            except ssl.SSLError:
                self._say_why()
                raise
            else:
                self._push()
                return

    def recv(self, size: int) -> bytes:
        """Decrypted bytes; ``b""`` at the end."""
        while True:
            try:
                return self._tls.read(size)
            except ssl.SSLWantReadError:
                self._pull()
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLEOFError:
                if self._suppress_ragged_eofs:
                    return b""
                raise

    def send(self, data: bytes | memoryview) -> int:
        """Encrypt and send some of *data*; returns how much."""
        if not self._left:
            self._stands_for = self._tls.write(data[:RECORDS])
        self._push()
        return self._stands_for

    def sendmsg(self, parts: Parts) -> int:
        """:meth:`send` them as one."""
        return self.send(b"".join(parts))

    def shutdown(self, how: int) -> None:
        """Say goodbye (close_notify), as far as that goes without waiting, and close the sending side."""
        try:
            self._tls.unwrap()
        except (ssl.SSLError, ValueError):  # SSLWantReadError: the client has not said goodbye yet
            pass
        self._say_why()
        self._sock.shutdown(how)

    def _push(self) -> None:
        """Send all that was encrypted; BlockingIOError when the socket does not take it."""
        if self._outgoing.pending:
            self._left += self._outgoing.read()
        while self._left:
            self._left = self._left[self._sock.send(self._left) :]

    def _say_why(self) -> None:
        """Send the alert about a failure, if it goes."""
        try:
            self._push()
        except OSError:
            pass

    def _pull(self) -> None:
        data = self._sock.recv(RECORDS)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()


class TLSClient(Client):
    """A connection that begins with a handshake, which its own greenlet does."""

    __slots__ = ()

    reads_first = True  # what was received in one piece may be decrypted in several

    def _open(self) -> None:
        driver = self._driver
        self._sock = self._shown = TLSSocket(self._sock, driver.ssl_context, driver.suppress_ragged_eofs)

    def _serve(self) -> None:
        if self._shake_hands():
            super()._serve()
            try:
                self._sock.shutdown(SHUT_WR)
            except OSError:  # gone, or it has heard it already
                pass

    def _shake_hands(self) -> bool:
        """Whether it went well. It has as long as a request's head; a failure is logged."""
        tls = self._sock
        self._since = monotonic()
        try:
            while True:
                try:
                    tls.do_handshake()
                    return True
                except BlockingIOError:
                    self._wait(self._writability() if tls.wants_to_write else self._reader, TO_SHAKE)
        except OSError as error:
            self._refuse_handshake(error)
        return False

    def _refuse_handshake(self, error: OSError) -> None:
        if not report_handshake(self._driver.log, host_of(self._peer), error):
            return
        self._sock = self._owner._sock  # past the encryption
        self._recv, self._send = self._sock.recv, self._sock.send
        if speaks_plain_http(error):
            self._write(PLAIN_ANSWER)
        self._linger()

    def _begin_environ(self) -> dict[str, Any]:
        environ = super()._begin_environ()
        environ.update(connection_variables(self._sock))
        return environ
