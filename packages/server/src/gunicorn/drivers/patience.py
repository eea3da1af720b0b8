"""How long a channel of the selector driver may wait, and what becomes of it then: deadlines, and who gives way.

Called by ``drivers.selector`` from the polling thread, for each channel once a tick and when there is no room for more;
:func:`await_reader` by ``drivers.sender``.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

from gunicorn.drivers.admission import Stage
from gunicorn.drivers.errors import PeerGoneError
from gunicorn.drivers.poller import READ, WRITE
from gunicorn.http.errors import RequestTimeout

if TYPE_CHECKING:
    from gunicorn.drivers.channel import Channel
    from gunicorn.drivers.sender import Sender

WRITE_TIMEOUT: Final = 30.0  # seconds that an application waits for a reader that takes nothing
LINGER_TIMEOUT: Final = 2.0  # seconds for the peer of a refused request to read the answer
ARRIVAL_TIMEOUT: Final = 1.0  # seconds for the next request to arrive, or its first byte, when the worker ends


def check_deadline(channel: Channel, now: float, draining: bool) -> None:
    """End a channel that stayed too long in its state: 408 within a request, silently between requests."""
    http = channel.http
    if channel.lingering:
        limit: float | None = LINGER_TIMEOUT
    elif channel.outbox is not None:
        limit = WRITE_TIMEOUT
    elif draining and http.idle:
        limit = ARRIVAL_TIMEOUT
    else:
        see_progress(channel, now)
        limit = http.deadline()
    if limit is None or now - channel.since <= limit:
        return
    if channel.lingering or channel.outbox is not None:
        channel.close()
    elif http.idle:
        if not _has_come(channel):
            channel.close()
    else:
        channel.refuse(RequestTimeout(f"the request was not complete after {limit:g} seconds"))


def await_reader(channel: Sender, mask: int) -> None:
    """Wait, for an application that streams, until *mask* says that the peer of *channel* may take more.

    Raises PeerGoneError when it takes nothing for WRITE_TIMEOUT seconds.
    """
    limit = WRITE_TIMEOUT
    if not channel.wait(WRITE, mask, limit):
        raise PeerGoneError(f"the client read nothing for {limit:.0f} seconds")


def standing(channel: Channel, now: float) -> tuple[Stage, float, int] | None:
    """What *channel* waits for, for how many seconds, and the bytes that came in that time, for ``admission.choose``;
    None when it is worked on.
    """
    http = channel.http
    if channel.busy:
        if channel.waits == WRITE:
            return Stage.READER, now - channel.since, 0
        return (Stage.BODY, now - channel.began, channel.moved) if channel.waits == READ else None
    if channel.lingering:
        return Stage.GOODBYE, now - channel.since, 0
    if channel.outbox is not None:
        return Stage.READER, now - channel.since, 0
    if http.idle:
        return (Stage.IDLE if http.served else Stage.SILENT), now - channel.since, 0
    if http.request is None:
        return Stage.HEAD, now - channel.since, 0
    see_progress(channel, now)
    return Stage.BODY, now - channel.began, channel.moved


def see_progress(channel: Channel, now: float) -> None:
    """Count what has come of a body that waits in the kernel, of which the poller does not tell."""
    if channel.rest is not None:
        moved = channel.rest.moved()
        if moved:
            channel.moved += moved
            channel.since = now


def give_up(channel: Channel) -> None:
    """End *channel*, which keeps others waiting."""
    if channel.busy:
        # The application waits for the peer: it will find that the peer has gone.
        socket.socket.shutdown(channel.sock, socket.SHUT_RDWR)
        return
    if channel.lingering or channel.outbox is not None or channel.http.idle:
        channel.close()
    else:
        channel.dismiss(RequestTimeout("the request takes long to come, and others wait for its place"))


def _has_come(channel: Channel) -> bool:
    """Whether the peer has sent something at the last moment, of which the poller has not told yet."""
    try:
        return bool(socket.socket.recv(channel.sock, 1, socket.MSG_PEEK))
    except OSError:
        return False
