"""The server's side of one control connection, sans-I/O: bytes in, requests out; replies in, bytes out.

``endpoint.py`` carries the bytes. One request is handed out at a time, and the next one only when the reply to it has
been taken as bytes: that bounds what one client can make the master hold to one request and one reply.
"""

from __future__ import annotations

from gunicorn.control.errors import FrameTooLargeError, InvalidMessageError
from gunicorn.control.framing import FrameDecoder, decode_json, encode_frame
from gunicorn.control.messages import Reply, Request

__all__ = ["MAX_REQUEST_SIZE", "ServerConnection"]

MAX_REQUEST_SIZE = 64 * 1024
"""Bytes of a request's JSON that the server takes. The protocol would allow 16 MiB, but the longest sensible request
has a hundred, and parsing holds up the master."""


class ServerConnection:
    """Parses requests and encodes replies; answers what is no request by itself."""

    def __init__(self) -> None:
        self._decoder = FrameDecoder(MAX_REQUEST_SIZE)
        self._out = b""
        self._eof = False
        self._broken = False

    def receive_data(self, data: bytes) -> None:
        """Take received bytes. The caller asks for requests before it reads more."""
        self._decoder.receive_data(data)

    def receive_eof(self) -> None:
        """The peer sends no more. What it has asked is still answered."""
        self._eof = True

    @property
    def mid_request(self) -> bool:
        """Whether a part of a request has arrived."""
        return self._decoder.mid_frame

    @property
    def finished(self) -> bool:
        """Whether the connection is to be closed, once :meth:`data_to_send` has been sent and
        :meth:`next_request` gives no more."""
        return self._eof or self._broken

    def next_request(self) -> Request | None:
        """Return the next complete request, or None: it has not arrived, or what arrived was no request and there is
        an error in :meth:`data_to_send`."""
        if self._broken:
            return None
        try:
            payload = self._decoder.next_frame()
            return None if payload is None else Request.from_json(decode_json(payload))
        except FrameTooLargeError as exc:
            self._broken = True
            self.send_reply(Reply(0, error=f"{exc}; closing, since the next message cannot be found"))
        except InvalidMessageError as exc:
            self.send_reply(Reply(exc.message_id, error=str(exc)))
        return None

    def send_reply(self, reply: Reply) -> None:
        """Encode a reply. Data without a JSON form is the server's fault and is reported to the client as that."""
        try:
            self._out += encode_frame(reply.to_json())
        except (FrameTooLargeError, TypeError, ValueError) as exc:
            self._out += encode_frame(Reply(reply.id, error=f"the server's answer cannot be sent: {exc}").to_json())

    def data_to_send(self) -> bytes:
        """Return the bytes to send now, and forget them."""
        data, self._out = self._out, b""
        return data
