"""Access log formats, compiled: from ``access_log_format`` to Python source that makes a line of it, and no more.

A line costs a few percent of a request only if the format is looked at once, and not once per line. ``access_log``
compiles the source that :func:`text_line` and :func:`json_line` return; ``atoms`` makes the same values one by one, for
loggers that want to see them (a test holds the two against each other).

What the source may name: ``resp``, ``req``, ``environ`` (``scope`` for ASGI), ``get`` (of the environ, or of ASGI's
headers), ``took`` (seconds), ``clock`` (``date``, ``iso``, ``began``), ``now`` and the functions in :data:`NAMESPACE`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from gunicorn.atoms import escaped, text_pairs, user_name

MOST_KEPT: Final = 2048  # texts that a Memo remembers
LONGEST_KEPT: Final = 512  # characters of one

TEXT: Final = "text"  # somebody else's words: escaped, and a dash when there are none
EMPTY: Final = "empty"  # the same, and nothing when there are none
PLAIN: Final = "plain"  # our own words
COUNT: Final = "count"  # a number
NUMBER: Final = "number"  # a number, and a dash when it is unknown or 0

PLACE: Final = re.compile(
    r"%(?:\((?P<name>[^()]*)\)(?P<flags>[-#0 +]*\d*(?:\.\d+)?)[hlL]?(?P<kind>[sdiouxXeEfFgGcra])|%)"
)

# Keys of a JSON object in the access log and their atoms, after "time", "level", "logger", "pid" and those of
# json_target().
JSON_FIELDS: Final[dict[str, str]] = {
    "remote_address": "h",
    "user": "u",
    "status": "s",
    "bytes": "B",
    "duration_us": "D",
    "referer": "f",
    "user_agent": "a",
}


class Source(NamedTuple):
    """Where an atom comes from: a kind of value and an expression; and one for a line, where that can be shorter."""

    kind: str
    code: str
    shown: str | None = None


class Memo(dict[Any, str]):
    """The result of *function* for what comes again and again: a hit costs one look-up."""

    def __init__(self, function: Callable[[Any], str]) -> None:
        super().__init__()
        self._function = function

    def __missing__(self, key: Any) -> str:
        result = self._function(key)
        if len(result) <= LONGEST_KEPT:
            if len(self) >= MOST_KEPT:
                self.clear()
            self[key] = result
        return result


def request_header(req: Any, name: bytes) -> str | None:
    """The last field of that name (in lower case) in the request."""
    for field in reversed(req.fields):
        if field.pair[0] == name:
            return str(field.text)
    return None


def response_header(headers: Any, name: str) -> str | None:
    """The last field of that name (in lower case) in the response."""
    found = None
    for header, value in text_pairs(headers):
        if header.lower() == name:
            found = value
    return found


def variable(environ: Mapping[str, Any], name: str) -> str | None:
    """The variable of that name, in any case, as text."""
    found = [value for key, value in environ.items() if key.lower() == name]
    return str(found[-1]) if found else None


def asgi_environ(req: Any, scope: dict[str, Any]) -> dict[str, Any]:
    from gunicorn.asgi.access import environ_of

    return environ_of(req, scope)


def as_text(value: Any) -> str:
    """ASGI's headers are bytes."""
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


PROTOCOLS: Final = {(1, 0): "HTTP/1.0", (1, 1): "HTTP/1.1", (2, 0): "HTTP/2"}


def request_line(target: Any) -> str:
    """The request line as it was sent."""
    return f"{target.method} {target.raw} {PROTOCOLS[target.version]}"


def json_target(target: Any) -> dict[str, str]:
    """What a JSON object says of the request line: the path is decoded, and as the client sent it."""
    return {
        "method": target.method,
        "path": target.path_bytes.decode("utf-8", "replace"),
        "query": target.query_string,
        "protocol": PROTOCOLS[target.version],
    }


NAMESPACE: Final[dict[str, Any]] = {
    "shown": Memo(lambda text: escaped(as_text(text)) if text else "-"),
    "shown_or_empty": Memo(lambda text: escaped(as_text(text)) if text else ""),
    "line": Memo(lambda target: escaped(request_line(target))),
    "status_code": Memo(lambda status: status[:3]),
    "quoted": Memo(lambda text: json.dumps(as_text(text)) if text else "null"),
    "quoted_or_empty": Memo(lambda text: json.dumps(str(text or ""))),
    "json_target": Memo(lambda target: json.dumps(json_target(target))[1:-1]),
    "request_line": request_line,
    "user_name": user_name,
    "asgi_user": lambda header: user_name({"HTTP_AUTHORIZATION": header.decode("latin-1")}) if header else None,
    "request_header": request_header,
    "response_header": response_header,
    "variable": variable,
    "asgi_environ": asgi_environ,
    "protocols": PROTOCOLS,
    "getpid": os.getpid,
}

_COMMON: Final[dict[str, Source]] = {
    "l": Source(PLAIN, "'-'"),
    "t": Source(PLAIN, "clock.date"),
    "r": Source(TEXT, "request_line(req.target)", "line[req.target]"),
    "B": Source(COUNT, "resp.sent"),
    "b": Source(NUMBER, "resp.sent"),
    "T": Source(COUNT, "int(took)"),
    "M": Source(COUNT, "round(took * 1000000) // 1000"),
    "D": Source(COUNT, "round(took * 1000000)"),
    "L": Source(COUNT, "'%.6f' % took"),
    "p": Source(PLAIN, "'<%d>' % getpid()"),
}

WSGI: Final[dict[str, Source]] = {
    **_COMMON,
    "h": Source(TEXT, "environ['REMOTE_ADDR']"),
    "u": Source(TEXT, "(user_name(environ) if 'HTTP_AUTHORIZATION' in environ else None)"),
    "m": Source(TEXT, "environ['REQUEST_METHOD']"),
    "U": Source(EMPTY, "environ['PATH_INFO']"),
    "q": Source(EMPTY, "environ['QUERY_STRING']"),
    "H": Source(TEXT, "environ['SERVER_PROTOCOL']"),
    "s": Source(NUMBER, "status_code[resp.status]", "(status_code[resp.status] or '-')"),
    "f": Source(TEXT, "get('HTTP_REFERER')"),
    "a": Source(TEXT, "get('HTTP_USER_AGENT')"),
}

ASGI: Final[dict[str, Source]] = {
    **_COMMON,
    "h": Source(TEXT, "(scope['client'][0] if scope['client'] else None)"),
    "u": Source(TEXT, "asgi_user(get(b'authorization'))"),
    "m": Source(TEXT, "req.target.method"),
    "U": Source(EMPTY, "req.target.path_bytes.decode('latin-1')"),
    "q": Source(EMPTY, "req.target.query_string"),
    "H": Source(TEXT, "protocols[req.target.version]"),
    "s": Source(NUMBER, "resp.status"),
    "f": Source(TEXT, "get(b'referer')"),
    "a": Source(TEXT, "get(b'user-agent')"),
}


def source_of(name: str, dialect: Mapping[str, Source]) -> Source:
    """Where the atom *name* comes from; for a name that means nothing, a dash."""
    known = dialect.get(name)
    if known is not None:
        return known
    field, kind = name[1:-2].lower(), name[-2:]
    if name.startswith("{") and field:
        if kind == "}i":
            return Source(TEXT, f"request_header(req, {field.encode('latin-1', 'replace')!r})")
        if kind == "}o":
            return Source(TEXT, f"response_header(resp.headers, {field!r})")
        if kind == "}e":
            environ = "asgi_environ(req, scope)" if dialect is ASGI else "environ"
            return Source(TEXT, f"variable({environ}, {field!r})")
    return Source(PLAIN, "'-'")


def text_line(log_format: str, dialect: Mapping[str, Source]) -> str:
    """The expression that makes a line of *log_format*, its end included.

    :raises ValueError: for a format that cannot be read. ``logging`` would say so with every line.
    """
    template, codes, position = [], [], 0
    for match in PLACE.finditer(log_format):
        template.append(_literal(log_format[position : match.start()]))
        position = match.end()
        if match["name"] is None:
            template.append("%%")
            continue
        template.append(f"%{match['flags']}{match['kind']}")
        codes.append(_as_text(source_of(match["name"], dialect)))
    template.append(_literal(log_format[position:]))
    return _formatted("".join(template) + "\n", codes)


def json_line(extra: Mapping[str, str], dialect: Mapping[str, Source]) -> str:
    """The expression that makes this process's JSON objects: json_target, JSON_FIELDS, then *extra* (key to atom)."""
    start = f'{{"time": "%s.%03dZ", "level": "info", "logger": "gunicorn.access", "pid": {os.getpid()}, %s'
    template = [start]
    codes = ["clock.iso", "int((now - clock.began) * 1000)", "json_target[req.target]"]
    for key, name in {**JSON_FIELDS, **extra}.items():
        template.append(f", {json.dumps(key)}: ".replace("%", "%%") + "%s")
        codes.append(_as_json(source_of(name, dialect)))
    template.append("}\n")
    return _formatted("".join(template), codes)


def _literal(text: str) -> str:
    """
    :raises ValueError: when there is a percent sign of which nothing could be made.
    """
    if "%" in text:
        raise ValueError(f"access_log_format has a place that cannot be read: {text!r}")
    return text


def _formatted(template: str, codes: list[str]) -> str:
    return f"{template!r} % ({', '.join(codes)}{',' if codes else ''})"


def _as_text(source: Source) -> str:
    shown = {TEXT: "shown[%s]", EMPTY: "shown_or_empty[%s]", NUMBER: "(%s or '-')"}.get(source.kind, "%s")
    return source.shown or shown % source.code


def _as_json(source: Source) -> str:
    shown = {EMPTY: "quoted_or_empty[%s]", NUMBER: "(%s or 'null')", COUNT: "%s"}.get(source.kind, "quoted[%s]")
    return shown % source.code
