"""The seam between protocols and drivers: what HTTP/1, HTTP/2 and uwsgi connections all look like from outside.

A driver's duty, whatever the protocol:

- give every byte that arrives to :meth:`Connection.receive_data`, and the end of the stream to
  :meth:`~Connection.receive_eof`;
- pull :meth:`~Connection.next_event` until it answers None, and serve what comes out;
- after every call write :meth:`~Connection.data_to_send`; when :attr:`~Connection.closing` is true, close after that;
- close the connection when it stayed longer than :meth:`~Connection.deadline` in its present state;
- turn a :class:`~gunicorn.http.errors.RemoteProtocolError` into :meth:`~Connection.refuse`, and log it once.
"""

from __future__ import annotations

from typing import Protocol

from gunicorn.http.errors import RemoteProtocolError
from gunicorn.http.events import Headers, InEvent, OutEvent


class Connection(Protocol):
    """One connection of any HTTP version, without I/O."""

    @property
    def closing(self) -> bool:
        """Whether the connection ends once everything that waits to be sent was sent."""

    @property
    def idle(self) -> bool:
        """Whether no request has begun: such a connection may be closed without loss."""

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the peer. They are read when the driver pulls, so a slow application holds nothing parsed."""

    def receive_eof(self) -> None:
        """The peer sends no more. A request that is already complete still gets its answer."""

    def next_event(self) -> InEvent | None:
        """The next event, or None: more bytes are needed, or an earlier response must end first.

        Raises :class:`~gunicorn.http.errors.RemoteProtocolError` for a request that is refused.
        """

    def send(self, event: OutEvent) -> None:
        """Put *event* on the wire. Raises :class:`~gunicorn.http.errors.LocalProtocolError` when it does not fit."""

    def send_whole(self, status: int, headers: Headers, body: bytes, reason: str | None = None) -> None:
        """:meth:`send` a ResponseHead that ends its message."""

    def refuse(self, error: RemoteProtocolError) -> None:
        """Answer a refused request with the error's status, where an answer is still possible, and end."""

    def pass_body(self) -> int:
        """End the response whose head was sent with a Content-Length: the driver writes the body itself.

        Returns how many bytes that are, after :meth:`data_to_send`; 0 when the response has no body.
        """

    def data_to_send(self) -> bytes:
        """Everything that waits to be written, at most once; ``b""`` when there is nothing."""

    def parts_to_send(self) -> list[bytes]:
        """:meth:`data_to_send` in pieces, for drivers that can write those without joining them."""

    def deadline(self) -> float | None:
        """Seconds the peer may stay in the present state, counted from when it began; None for no limit."""

    def abort(self) -> None:
        """The response cannot be completed: end the connection, so that the peer sees that a part is missing."""

    def drain(self) -> None:
        """Make the request at hand, if any, the last one of the connection."""
