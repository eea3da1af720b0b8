"""Writes HTTP/1 response heads, and says what framing they promised.

Response fields are remembered as finished lines, as request lines are (see ``http.fields``): applications send the same
ones again and again, and a remembered line needs neither checking nor encoding.
"""

from __future__ import annotations

import re
from typing import Any, Final

from gunicorn.http.errors import LocalProtocolError
from gunicorn.http.events import REASONS, Header, Headers
from gunicorn.http.fields import FORBIDDEN_IN_VALUE, TOKEN

PLAIN: Final = 0
LENGTH: Final = 1  # Content-Length: its number frames the body
CLOSE: Final = 2  # Connection: close
HOP_BY_HOP: Final = 3  # the server's own business; left out
DATE: Final = 4
SERVER: Final = 5

_KINDS: Final = {
    b"content-length": LENGTH,
    b"date": DATE,
    b"server": SERVER,
    b"connection": HOP_BY_HOP,
    b"keep-alive": HOP_BY_HOP,
    b"proxy-connection": HOP_BY_HOP,
    b"te": HOP_BY_HOP,
    b"trailer": HOP_BY_HOP,
    b"transfer-encoding": HOP_BY_HOP,
    b"upgrade": HOP_BY_HOP,
}
_FORBIDDEN_IN_REASON: Final = re.compile(r"[^\t\x20-\x7e\x80-\xff]")

LONGEST_KEPT: Final = 256  # bytes of one line
MOST_KEPT: Final = 1024

# What was made before; look here first, then call the function of the same purpose.
known_lines: dict[Header, tuple[bytes, int, int]] = {}
known_status_lines: dict[tuple[int, str | None], bytes] = {}


def status_line(status: int, reason: str | None) -> bytes:
    """``HTTP/1.1 200 OK`` with its CRLF. *reason* None is the registered phrase (RFC 9112 section 4)."""
    text = REASONS.get(status, "") if reason is None else reason
    if not 100 <= status <= 999:
        raise LocalProtocolError(f"status {status!r} is not a number of three digits (RFC 9110 section 15)")
    if _FORBIDDEN_IN_REASON.search(text):
        raise LocalProtocolError(f"reason phrase {text!r} has a control character (RFC 9112 section 4)")
    line = f"HTTP/1.1 {status} {text}\r\n".encode("latin-1")
    if len(known_status_lines) < MOST_KEPT:
        known_status_lines[status, reason] = line
    return line


def field_line(header: Any) -> tuple[bytes, int, int]:
    """The finished line for *header*, its kind, and for LENGTH its number.

    Raises :class:`LocalProtocolError` for a name or value that could break out of its line: header injection ends here.
    """
    try:
        name, value = (part.encode("latin-1") if isinstance(part, str) else bytes(part) for part in header)
    except (UnicodeEncodeError, TypeError, ValueError) as error:
        raise LocalProtocolError(f"response header {header!r} is not a (name, value) pair in latin-1") from error
    if not TOKEN.fullmatch(name):
        raise LocalProtocolError(f"response header name {name!r} is not a token (RFC 9110 section 5.1)")
    value = value.strip(b" \t")
    if FORBIDDEN_IN_VALUE.search(value):
        raise LocalProtocolError(f"the value of response header {name!r} has a control character: {value!r}")
    lower = name.lower()
    kind, number = _KINDS.get(lower, PLAIN), 0
    if kind == LENGTH:
        if not value.isdigit() or len(value) > 19:
            raise LocalProtocolError(f"Content-Length {value!r} is not a number (RFC 9110 section 8.6)")
        number = int(value)
    elif lower == b"connection" and b"close" in value.lower():
        kind = CLOSE
    found = b"%b: %b\r\n" % (name, value), kind, number
    if len(found[0]) <= LONGEST_KEPT:
        if len(known_lines) >= MOST_KEPT:
            known_lines.clear()
        known_lines[tuple(header)] = found
    return found


def informational(status: int, headers: Headers) -> bytes:
    """An interim response (RFC 9110 section 15.2), whole."""
    first = known_status_lines.get((status, None)) or status_line(status, None)
    return b"".join([first, *trailer_lines(headers), b"\r\n"])


def trailer_lines(headers: Headers) -> list[bytes]:
    """The lines of fields outside of the final head, where none may frame a message (RFC 9110 section 6.5)."""
    made = [known_lines.get(header) or field_line(header) for header in headers]
    return [line for line, kind, _ in made if kind not in (LENGTH, HOP_BY_HOP, CLOSE)]


_DAYS: Final = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")
_MONTHS: Final = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")


class Preamble:
    """The ``Server`` and ``Date`` lines that every response carries. A driver renews them, once a second is enough."""

    __slots__ = ("_second", "both", "date", "server")

    def __init__(self, server: str, now: float) -> None:
        self.server = f"Server: {server}\r\n".encode("latin-1")
        self._second = -1
        self.date = self.both = b""
        self.renew(now)

    def renew(self, now: float) -> None:
        """Set the date to *now*, in seconds since the epoch (RFC 9110 section 5.6.7)."""
        second = int(now)
        if second == self._second:
            return
        self._second = second
        days, rest = divmod(second, 86400)
        hour, rest = divmod(rest, 3600)
        year, month, day = _civil(days)
        self.date = b"Date: %b, %02d %b %04d %02d:%02d:%02d GMT\r\n" % (
            _DAYS[(days + 3) % 7], day, _MONTHS[month - 1], year, hour, rest // 60, rest % 60,
        )  # fmt: skip
        self.both = self.server + self.date


def _civil(days: int) -> tuple[int, int, int]:
    """Days since 1970-01-01 as (year, month, day) of the Gregorian calendar, counted in 400-year eras from March."""
    era, day_of_era = divmod(days + 719468, 146097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month + 2) // 5 + 1
    month = month + 3 if month < 10 else month - 9
    return year_of_era + era * 400 + (month <= 2), month, day
