"""The sending half of a client of the selector driver: what an answer goes through to its socket.

``drivers.channel`` adds the receiving half. Nothing here waits but :meth:`Sender.transmit`, which an application calls,
and it waits as the driver says.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from gunicorn.drivers.errors import FileBecameShorterError, PeerGoneError
from gunicorn.drivers.outbox import Outbox, Parts, rest_of
from gunicorn.drivers.patience import await_reader
from gunicorn.drivers.poller import READ, WRITE
from gunicorn.drivers.sendfile import FileRange, SendableFile
from gunicorn.http.h1.connection import H1Connection

if TYPE_CHECKING:
    from gunicorn.drivers.selector import SelectorDriver

BLOCK_SIZE: Final = 65536  # bytes that ``wsgi.file_wrapper`` reads at a time where the kernel cannot send the file
NOBODY: Final = 0  # or READ, WRITE: see Sender.waits


class Sender:
    """A client's socket and HTTP connection, and what is on the way from here to there.

    ``mask`` is what the poller should look for, ``since`` when the state began that ``http.deadline()`` speaks of
    (monotonic seconds). What ends those that wait too long is in ``drivers.patience``.
    """

    __slots__ = (
        "_driver", "_send", "_send_parts", "closed", "fd", "http", "lingering", "mask", "outbox", "peer", "since",
        "sock", "waits",
    )  # fmt: skip

    secure = False

    def __init__(self, driver: SelectorDriver, sock: socket.socket, peer: Any) -> None:
        self._driver = driver
        self.sock = sock
        self.fd = sock.fileno()
        self.peer = peer
        self._send: Callable[[bytes | memoryview], int] = sock.send
        self._send_parts: Callable[[Parts], int] = sock.sendmsg
        trusted = driver.policy.trusts(peer[0] if isinstance(peer, tuple) else None)
        self.http = H1Connection(driver.reader, driver.preamble, self.secure, trusted)
        self.waits = NOBODY  # for whom the application waits (to READ, to WRITE), which works on it otherwise
        self.closed = False
        self.lingering = False
        self.outbox: Outbox | None = None
        self.mask = READ
        self.since = driver.now

    def expects_more(self) -> bool:
        """Whether the peer may still be sending a request, and has to be told that this is the end."""
        return False

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
                await_reader(self, getattr(pause, "mask", WRITE))
            except OSError as error:
                raise PeerGoneError(f"the client has gone away: {error}") from error
            else:
                parts = rest_of(parts, sent)

    def wait(self, purpose: int, mask: int, limit: float | None) -> bool:
        """Wait, on behalf of the application, in order to read or to write; False when it took too long."""
        self.waits = purpose
        self.since = monotonic()
        try:
            return self._driver.wait(self, mask, limit)
        finally:
            self.waits = NOBODY

    def wrap_file(self, filelike: Any, block_size: int = BLOCK_SIZE) -> SendableFile:
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
        if not (self.lingering or self.expects_more()):
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
        if self.outbox is not None:
            self.outbox.close()
        try:
            self._driver.forget(self)
        finally:
            self.sock.close()


def host_of(peer: Any) -> str:
    """How a refusal names *peer*, an address as ``accept`` gives it."""
    return str(peer[0]) if isinstance(peer, tuple) else "unix"
