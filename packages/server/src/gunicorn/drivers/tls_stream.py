"""A non-blocking TLS socket with the manners of a plain one, for ``drivers.tls_channel``."""

from __future__ import annotations

import ssl
from typing import Final

from gunicorn.drivers.outbox import Parts
from gunicorn.drivers.poller import READ, WRITE

RECORD: Final = 16384  # bytes of the largest TLS record (RFC 8446 section 5.1); one SSL_read never gives more
SEND_SIZE: Final = 65536  # bytes of one SSL_write, which has to be repeated as it was when it could not be done


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
