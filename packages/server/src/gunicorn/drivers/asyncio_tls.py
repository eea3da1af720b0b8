"""The beginning of a TLS connection on an event loop; ``asyncio_accept`` calls this.

The loop's own TLS is used. A handshake is a task of its own there, so it makes nobody wait.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

from gunicorn.drivers.tls_extension import tls_extension
from gunicorn.http.errors import InvalidRequestLine, RemoteProtocolError
from gunicorn.tls import speaks_plain_http

HANDSHAKE: Final = 60.0  # seconds for a handshake where the policy has no deadline for heads
FAREWELL: Final = 2.0  # seconds that a client has to answer TLS's goodbye


class PlainHTTPError(InvalidRequestLine):
    """A client speaks HTTP where TLS is spoken."""

    clause = "RFC 9110 section 4.2.2"


def describe(transport: asyncio.BaseTransport) -> dict[str, Any]:
    """ASGI's extension ``tls`` for a connection whose handshake is done."""
    return tls_extension(transport.get_extra_info("ssl_object"))


async def open_connection(
    loop: asyncio.AbstractEventLoop,
    factory: Callable[[], asyncio.BaseProtocol],
    sock: socket.socket,
    context: ssl.SSLContext,
    timeout: float,
    refusal: Callable[[RemoteProtocolError], bytes],
) -> None:
    """Shake hands on *sock*, for up to *timeout* seconds (0: HANDSHAKE), and go on with a protocol of *factory*.

    A client that speaks plain HTTP gets the bytes that *refusal* makes of a :class:`PlainHTTPError`.
    Raises :class:`ssl.SSLError` and other OSErrors when the handshake fails.
    """
    own = sock.dup()  # the loop closes the other one when it fails, before a word could be said
    try:
        try:
            await loop.connect_accepted_socket(factory, sock, ssl=context, ssl_handshake_timeout=timeout or HANDSHAKE)
        except ssl.SSLError as failure:
            if speaks_plain_http(failure):
                own.send(refusal(PlainHTTPError("plain HTTP was sent to a TLS port")))
                own.shutdown(socket.SHUT_WR)
            raise
    finally:
        own.close()
