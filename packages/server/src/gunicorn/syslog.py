"""Syslog: its addresses and facilities, and the handlers that ``glogging.Logger`` sends the logs with.

UDP datagrams leave at once or not at all. A stream, and a unix datagram socket, whose sender waits while the receiver's
queue is full (10 messages on many systems), is written with a deadline, and opened again when it broke and in each
process that was forked, so that the messages of two workers do not mix.
"""

import errno
import logging
import os
import socket
import time
from logging.handlers import SysLogHandler
from typing import Any

from gunicorn import util
from gunicorn.errors import ConfigError

PATIENCE = 2.0  # seconds for a connection to be opened, or to take a message
RETRY = 5.0  # seconds after a failure in which messages are dropped instead of waited with

# RFC 3164 facilities; "ftp" and "security" are aliases that people write.
FACILITIES = {
    "auth": 4,
    "authpriv": 10,
    "cron": 9,
    "daemon": 3,
    "ftp": 11,
    "kern": 0,
    "lpr": 6,
    "mail": 2,
    "news": 7,
    "security": 4,
    "syslog": 5,
    "user": 1,
    "uucp": 8,
    "local0": 16,
    "local1": 17,
    "local2": 18,
    "local3": 19,
    "local4": 20,
    "local5": 21,
    "local6": 22,
    "local7": 23,
}


def make_handler(address: str, facility: str) -> logging.Handler:
    """A handler for *address* (see :func:`parse_address`), not formatting anything yet.

    That nobody listens there is no error: syslog may start later than the server.

    :raises ConfigError: when the address or the facility mean nothing.
    """
    number = FACILITIES.get(facility.lower())
    if number is None:
        raise ConfigError(f"syslog_facility {facility!r} is unknown; use one of {', '.join(sorted(FACILITIES))}")
    socktype, where = parse_address(address)
    try:
        if socktype == socket.SOCK_DGRAM and isinstance(where, tuple):
            return SysLogHandler(address=where, facility=number, socktype=socktype)
        return ConnectedSysLogHandler(where, number, socktype)
    except OSError as exc:
        raise ConfigError(f"syslog_addr {address!r} cannot be used: {exc}") from exc


def parse_address(text: str) -> tuple[Any, Any]:
    """(socket type or None, address) of a syslog address: ``unix://path#dgram``, ``udp://host:port``,
    ``tcp://host:port``.

    :raises ConfigError: when it cannot be read.
    """
    scheme, separator, rest = text.partition("://")
    if separator and scheme == "unix":
        path, _, kind = rest.partition("#")
        kinds = {"": None, "dgram": socket.SOCK_DGRAM, "stream": socket.SOCK_STREAM}
        if path and kind in kinds:
            return kinds[kind], path
    elif separator and scheme in ("udp", "tcp"):
        try:
            address = util.parse_address(rest, default_port=514)
        except ValueError:
            address = ""
        if isinstance(address, tuple):
            return socket.SOCK_DGRAM if scheme == "udp" else socket.SOCK_STREAM, address
    raise ConfigError(f"syslog_addr {text!r} is none of unix://PATH, udp://HOST:PORT, tcp://HOST:PORT")


class ConnectedSysLogHandler(logging.Handler):
    """Syslog over TCP or a unix socket; no message waits longer than PATIENCE, since requests wait with it.

    TCP: messages end with a line feed, and line feeds within them are written ``#012`` (RFC 6587 section 3.4.2, as
    rsyslog reads and writes it). Unix sockets: messages end with NUL, as the C library's do.
    """

    def __init__(self, address: Any, facility: int, socktype: socket.SocketKind | None) -> None:
        """
        :param address: (host, port), or the path of a unix socket.
        :param socktype: None for a unix socket that takes either datagrams or streams.
        """
        super().__init__()
        self._address = address
        self._facility = facility
        self._socktype = socktype
        self._pid = os.getpid()
        self._broken_until = 0.0  # monotonic seconds
        self._socket: socket.socket | None = None  # from the first message on

    def _connect(self) -> socket.socket:
        if isinstance(self._address, tuple):
            return socket.create_connection(self._address, PATIENCE)
        if self._socktype is not None:
            return self._connect_unix(self._socktype)
        try:
            return self._connect_unix(socket.SOCK_DGRAM)
        except OSError as exc:
            if exc.errno != errno.EPROTOTYPE:
                raise
        return self._connect_unix(socket.SOCK_STREAM)

    def _connect_unix(self, socktype: socket.SocketKind) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socktype)
        try:
            sock.settimeout(PATIENCE)
            sock.connect(self._address)
        except OSError:
            sock.close()
            raise
        return sock

    def emit(self, record: logging.LogRecord) -> None:
        """Send one message; when the connection is broken, over a new one."""
        try:
            data = self._encode(record)
            if self._pid != os.getpid():
                self._drop()
                self._pid = os.getpid()
            if self._socket is not None:
                try:
                    self._socket.sendall(data)
                    return
                except TimeoutError:  # the receiver hangs: a new connection would wait as long
                    raise
                except OSError:
                    self._drop()
            if time.monotonic() >= self._broken_until:
                self._socket = self._connect()
                self._socket.sendall(data)
        except Exception:
            self._drop()
            self._broken_until = time.monotonic() + RETRY
            self.handleError(record)

    def _encode(self, record: logging.LogRecord) -> bytes:
        severity = SysLogHandler.priority_names.get(record.levelname.lower(), SysLogHandler.LOG_WARNING)
        text = self.format(record)
        text = text.replace("\n", "#012") + "\n" if isinstance(self._address, tuple) else text + "\0"
        return f"<{self._facility << 3 | severity}>{text}".encode()

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def close(self) -> None:
        self._drop()
        super().close()
