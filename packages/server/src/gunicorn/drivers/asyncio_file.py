"""``http.response.pathsend``: files as bodies of responses; ``asyncio_exchange`` calls this.

The kernel sends them past the transport, through a descriptor of our own for the same socket, so that both uvloop and
asyncio's loops can do it. Where there is TLS, or no sendfile, blocks are read and written like any other body.

    transport:  head ─► … all written ─►│
    sendfile:                           │ 1 MiB, wait for room, 1 MiB …
"""

from __future__ import annotations

import asyncio
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from gunicorn.asgi.cycle import ClientDisconnected
from gunicorn.http.errors import LocalProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gunicorn.drivers.asyncio_exchange import Exchange

AVAILABLE: Final = hasattr(os, "sendfile")
AT_ONCE: Final = 1 << 20  # bytes for one call of sendfile(2); then others have their turn
BLOCK: Final = 65536  # bytes that are read at once where they have to be copied


@contextmanager
def opened(path: Any) -> Iterator[tuple[int, int]]:
    """The descriptor and the size of the ordinary file at *path*, which is closed at the end.

    ASGI asks for an absolute path, and Starlette passes on what its user gave, so a relative one is the working
    directory's. Raises :class:`LocalProtocolError` for what is no such file, OSError where it cannot be opened.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise LocalProtocolError(f"path of http.response.pathsend is {path!r}, and not text")
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe without a writer must not stop the loop
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise LocalProtocolError(f"{path!r}, given to http.response.pathsend, is not an ordinary file")
        yield fd, status.st_size
    finally:
        os.close(fd)


async def send_file(exchange: Exchange, fd: int, size: int) -> None:
    """Write what waits in the connection, and then *size* bytes of the file *fd*; ``exchange.sent`` counts them.

    Raises :class:`ClientDisconnected`, and :class:`LocalProtocolError` when the file has become shorter.
    """
    protocol = exchange.protocol
    if not size:
        protocol.flush()
    elif protocol.server.sends_files:
        await _send(exchange, fd, size)
    else:
        protocol.flush()
        await _copy(exchange, fd, 0, size)


async def _send(exchange: Exchange, fd: int, size: int) -> None:
    protocol, transport = exchange.protocol, exchange.protocol.transport
    _check_client(exchange)
    own = os.dup(transport.get_extra_info("socket").fileno())
    try:
        transport.set_write_buffer_limits(0)  # says when all is written, and not when most is
        protocol.flush()
        await asyncio.sleep(0)  # uvloop writes at the end of the loop's turn
        await protocol.drained()
        offset = 0
        while offset < size:
            _check_client(exchange)
            if transport.get_write_buffer_size():  # not to be expected; never in front of it
                await _copy(exchange, fd, offset, size)
                return
            try:
                sent = os.sendfile(own, fd, offset, min(size - offset, AT_ONCE))
            except BlockingIOError:
                await _room(exchange, own, size - offset)
                continue
            except OSError as error:
                protocol.client_left()
                raise ClientDisconnected(f"{protocol.peer} has disconnected") from error
            if not sent:
                raise _shorter(offset, size)
            offset += sent
            exchange.sent += sent
            await asyncio.sleep(0)
    finally:
        os.close(own)
        if not protocol.lost:
            transport.set_write_buffer_limits()


async def _copy(exchange: Exchange, fd: int, offset: int, size: int) -> None:
    protocol, transport = exchange.protocol, exchange.protocol.transport
    while offset < size:
        _check_client(exchange)
        data = os.pread(fd, min(size - offset, BLOCK), offset)
        if not data:
            raise _shorter(offset, size)
        transport.write(data)
        offset += len(data)
        exchange.sent += len(data)
        await asyncio.sleep(0)
        await protocol.drained()


async def _room(exchange: Exchange, own: int, left: int) -> None:
    """Wait until the client has read some of what was sent, or is gone; *left* bytes are to come."""
    protocol = exchange.protocol
    loop = protocol.server.loop
    protocol.wait_for_reader(left)
    loop.add_writer(own, protocol.resume_writing)
    try:
        await protocol.drained()
    finally:
        loop.remove_writer(own)
        protocol.unsent_file = 0


def _check_client(exchange: Exchange) -> None:
    protocol = exchange.protocol
    if protocol.exchange is not exchange or protocol.transport.is_closing():
        protocol.client_left()
        raise ClientDisconnected(f"{protocol.peer} has disconnected")


def _shorter(offset: int, size: int) -> LocalProtocolError:
    return LocalProtocolError(f"a file that had {size} bytes ended after {offset} while it was sent")
