"""Atoms: what a line of the access log can name (``%(h)s``, ``%({referer}i)s``), made when they are asked for.

``glogging.Logger`` uses them. A format names about ten of several dozen atoms, so making all of them for each response
would cost more than the response.
"""

import base64
import binascii
import datetime
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

UNSAFE = re.compile(r'[^\x20-\x7e]|["\\]')


def escaped(value: Any) -> Any:
    """*value* as it may stand in a line, between quotes or not; what is no text comes back as it is.

    A client must not be able to end a field or a line, nor to send control sequences to somebody's terminal. So quotes,
    backslashes, control characters and all that is not ASCII are escaped, as Apache's log does; the octets of a header,
    which WSGI gives as Latin-1, can be told: ``\\xc3\\xa9``.
    """
    if not isinstance(value, str):
        return value
    if value.isascii() and value.isprintable() and '"' not in value and "\\" not in value:
        return value
    return UNSAFE.sub(_escape, value)


def _escape(match: re.Match[str]) -> str:
    char = match[0]
    if char in '"\\':
        return "\\" + char
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class SafeAtoms(dict[str, Any]):
    """Atoms that are safe in a line: escaped, header names in any case, ``-`` for what is not there."""

    def __init__(self, atoms: Mapping[str, Any]) -> None:
        super().__init__()
        for key, value in atoms.items():
            self[key] = escaped(value)

    def __missing__(self, key: str) -> Any:
        if key.startswith("{"):
            lowered = key.lower()
            if lowered != key and lowered in self:
                return self[lowered]
        return "-"


class ResponseAtoms(SafeAtoms):
    """The atoms of one response. As a mapping it holds those that were asked for; ``[name]`` and ``get`` find all."""

    def __init__(self, resp: Any, req: Any, environ: Mapping[str, Any], request_time: datetime.timedelta) -> None:
        """:param resp: has ``status`` (``"200 OK"``, text or bytes), ``sent`` (bytes of the body), ``headers`` (pairs).

        :param req: has ``headers`` (pairs), or is such pairs. :param environ: the WSGI variables.
        """
        dict.__init__(
            self, l="-"
        )  # the remote user by RFC 1413, which nobody asks for; and logging wants no empty args
        self.resp = resp
        self.req = req
        self.environ = environ
        self.request_time = request_time

    def __missing__(self, key: str) -> Any:
        value = self[key] = escaped(self.raw(key))
        return value

    def raw(self, key: str) -> Any:
        """The atom as it is, not escaped."""
        make = _ATOMS.get(key)
        return make(self) if make is not None else self._named(key)

    def get(self, key: str, default: Any = None) -> Any:
        value = self[key]
        return default if value == "-" and default is not None else value

    def _named(self, key: str) -> Any:
        """``{name}i`` of the request's headers, ``{name}o`` of the response's, ``{name}e`` of the environ."""
        name, kind = key[1:-2].lower(), key[-2:]
        if not key.startswith("{"):
            return "-"
        if kind == "}e":
            found = (value for variable, value in self.environ.items() if variable.lower() == name)
        elif kind in ("}i", "}o"):
            headers = self.request_headers() if kind == "}i" else self.resp.headers
            found = (value for header, value in text_pairs(headers) if header.lower() == name)
        else:
            return "-"
        values = list(found)
        return values[-1] if values else "-"

    def request_headers(self) -> Any:
        """The headers of the request, as pairs or as a mapping."""
        return self.req.headers if hasattr(self.req, "headers") else self.req

    def all(self) -> dict[str, Any]:
        """Every atom, unescaped: what ``Logger.atoms`` returns."""
        atoms: dict[str, Any] = {"l": "-", **{name: make(self) for name, make in _ATOMS.items()}}
        atoms.update((f"{{{name.lower()}}}i", value) for name, value in text_pairs(self.request_headers()))
        atoms.update((f"{{{name.lower()}}}o", value) for name, value in text_pairs(self.resp.headers))
        atoms.update((f"{{{name.lower()}}}e", value) for name, value in self.environ.items())
        return atoms


def text_pairs(headers: Any) -> Iterator[tuple[str, str]]:
    """Header fields as text, from pairs or a mapping, of text or bytes."""
    pairs: Iterable[Any] = headers.items() if hasattr(headers, "items") else headers
    return ((_text(name), _text(value)) for name, value in pairs)


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def user_name(environ: Mapping[str, Any]) -> str | None:
    """The user name of basic authentication (RFC 7617), if there is one."""
    scheme, _, credentials = str(environ.get("HTTP_AUTHORIZATION") or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(credentials.strip().encode(), validate=True).split(b":", 1)[0].decode()
    except (binascii.Error, UnicodeError):
        return None


_now = (0, "")


def now() -> str:
    """The time in Apache's common log format; it changes once a second, and so is made once a second."""
    global _now
    second = int(time.time())
    if _now[0] != second:
        _now = second, time.strftime("[%d/%b/%Y:%H:%M:%S %z]", time.localtime(second))
    return _now[1]


def _status(atoms: ResponseAtoms) -> str:
    status = _text(atoms.resp.status)
    return status.split(None, 1)[0] if status else "-"


def _request_line(atoms: ResponseAtoms) -> str:
    environ = atoms.environ
    return f"{environ.get('REQUEST_METHOD')} {environ.get('RAW_URI')} {environ.get('SERVER_PROTOCOL')}"


def _micros(atoms: ResponseAtoms) -> int:
    took = atoms.request_time
    return (took.days * 86_400 + took.seconds) * 1_000_000 + took.microseconds


def _seconds(atoms: ResponseAtoms) -> str:
    micros = _micros(atoms)
    return f"{micros // 1_000_000}.{micros % 1_000_000:06d}"


_ATOMS: dict[str, Callable[[ResponseAtoms], Any]] = {
    "h": lambda atoms: atoms.environ.get("REMOTE_ADDR") or "-",
    "u": lambda atoms: user_name(atoms.environ) or "-",
    "t": lambda atoms: now(),
    "r": _request_line,
    "s": _status,
    "m": lambda atoms: atoms.environ.get("REQUEST_METHOD"),
    "U": lambda atoms: atoms.environ.get("PATH_INFO"),
    "q": lambda atoms: atoms.environ.get("QUERY_STRING") or "",
    "H": lambda atoms: atoms.environ.get("SERVER_PROTOCOL"),
    "b": lambda atoms: str(atoms.resp.sent) if getattr(atoms.resp, "sent", None) else "-",
    "B": lambda atoms: getattr(atoms.resp, "sent", None),
    "f": lambda atoms: atoms.environ.get("HTTP_REFERER", "-"),
    "a": lambda atoms: atoms.environ.get("HTTP_USER_AGENT", "-"),
    "T": lambda atoms: _micros(atoms) // 1_000_000,
    "D": _micros,
    "M": lambda atoms: _micros(atoms) // 1000,
    "L": _seconds,
    "p": lambda atoms: f"<{os.getpid()}>",
}
