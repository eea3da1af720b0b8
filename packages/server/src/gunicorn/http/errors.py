"""What can go wrong between a peer and an application, as exceptions.

    HTTPError
     ├── RemoteProtocolError         the peer's fault: carries the status to answer with
     │    ├── InvalidRequestLine         400   RFC 9112 section 3
     │    ├── InvalidRequestMethod       400   RFC 9110 section 9.1
     │    ├── InvalidHTTPVersion         505   RFC 9110 section 15.6.6
     │    ├── InvalidHeader              400   RFC 9112 section 5
     │    │    └── InvalidHeaderName
     │    ├── InvalidHost                400   RFC 9112 section 3.2
     │    ├── InvalidFraming             400   RFC 9112 section 6
     │    │    └── InvalidChunk                RFC 9112 section 7.1
     │    ├── UnsupportedTransferCoding  501   RFC 9112 section 6.1
     │    ├── LimitRequestLine           414   RFC 9110 section 15.5.15
     │    ├── LimitRequestHeaders        431   RFC 6585 section 5
     │    ├── ExpectationFailed          417   RFC 9110 section 15.5.18
     │    ├── MethodNotSupported         501   RFC 9110 section 15.6.2
     │    ├── RequestTimeout             408   RFC 9110 section 15.5.9
     │    ├── ContentTooLarge            413   RFC 9110 section 15.5.14
     │    └── SpoolFull                  503   RFC 9110 section 15.6.4
     └── LocalProtocolError          the application's fault: it is told, and the connection never goes out of step

Every refusal says what was read, why it is refused and the clause that says so.
"""

from __future__ import annotations

from typing import ClassVar


class HTTPError(Exception):
    """Base of everything in this module."""


class RemoteProtocolError(HTTPError):
    """The peer broke the protocol. The answer has :attr:`status`, and the connection closes after it."""

    status: ClassVar[int] = 400
    clause: ClassVar[str] = "RFC 9112"

    def __init__(self, message: str, clause: str | None = None) -> None:
        super().__init__(f"{message} ({clause or self.clause})")


class LocalProtocolError(HTTPError):
    """The application (or a driver) sent something that cannot be put on the wire as it stands."""


class InvalidRequestLine(RemoteProtocolError):
    clause = "RFC 9112 section 3"


class InvalidRequestMethod(RemoteProtocolError):
    clause = "RFC 9110 section 9.1"


class InvalidHTTPVersion(RemoteProtocolError):
    status = 505
    clause = "RFC 9110 section 15.6.6"


class InvalidHeader(RemoteProtocolError):
    clause = "RFC 9112 section 5"


class InvalidHeaderName(InvalidHeader):
    clause = "RFC 9110 section 5.1"


class InvalidHost(RemoteProtocolError):
    clause = "RFC 9112 section 3.2"


class InvalidFraming(RemoteProtocolError):
    clause = "RFC 9112 section 6.3"


class InvalidChunk(InvalidFraming):
    clause = "RFC 9112 section 7.1"


class UnsupportedTransferCoding(RemoteProtocolError):
    status = 501
    clause = "RFC 9112 section 6.1"


class LimitRequestLine(RemoteProtocolError):
    status = 414
    clause = "RFC 9110 section 15.5.15"


class LimitRequestHeaders(RemoteProtocolError):
    status = 431
    clause = "RFC 6585 section 5"


class ExpectationFailed(RemoteProtocolError):
    status = 417
    clause = "RFC 9110 section 15.5.18"


class MethodNotSupported(RemoteProtocolError):
    status = 501
    clause = "RFC 9110 section 15.6.2"


class RequestTimeout(RemoteProtocolError):
    status = 408
    clause = "RFC 9110 section 15.5.9"


class ContentTooLarge(RemoteProtocolError):
    status = 413
    clause = "RFC 9110 section 15.5.14"


class SpoolFull(RemoteProtocolError):
    """Not the peer's fault, but refused like its mistakes: there is no room to receive the body."""

    status = 503
    clause = "RFC 9110 section 15.6.4"
