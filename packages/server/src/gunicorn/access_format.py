"""Access log formats, compiled: from ``access_log_format`` to Python source that makes a line of it, and no more.

A line costs a few percent of a request only if the format is looked at once, and not once per line. And clients send
the same bytes again and again: what a line says of a request is kept with the request (``Request.logged``), beside what
else it was made of, which is compared the next time.

    access_log_format ─► text_line() ┐
    access_log_json_fields ─► json_line() ─► pieces ─► access_source() ─► ``access``, which ``access_log`` calls

``atoms`` makes the same values one by one, for loggers that want to see them (a test holds the two against each other).

What an expression may name: ``resp``, ``req``, ``environ`` (``scope`` for ASGI), ``get`` (of the environ, or of the
request's fields by their names in lower case for ASGI), ``took`` (seconds), ``clock`` (``date``, ``iso``, ``began``),
``now`` and the functions in :data:`NAMESPACE`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from gunicorn.atoms import escaped, text_pairs, user_name

MOST_KEPT: Final = 2048  # texts that a Memo remembers
LONGEST_KEPT: Final = 512  # characters of one

TEXT: Final = "text"  # somebody else's words: escaped, and a dash when there are none
ONCE: Final = "once"  # the same, that are others each time, so that it is not worth remembering what became of them
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


NAMED: Final = frozenset((b"authorization", b"referer", b"user-agent"))


class Source(NamedTuple):
    """Where an atom comes from: a kind of value and an expression; and one for a line, where that can be shorter.

    ``reads`` are the expressions that decide what it is, beside the request and the second, or None where it would not
    be the same another time.
    """

    kind: str
    code: str
    shown: str | None = None
    reads: tuple[str, ...] | None = ()


class Piece(NamedTuple):
    """A part of a line: an f-string's text, with names in its places, and which expressions these names stand for.

    ``reads`` as in :class:`Source`.
    """

    template: str
    values: tuple[tuple[str, str], ...]
    reads: tuple[str, ...] | None


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


def texts(fields: Iterable[Any]) -> dict[bytes, str]:
    """The request's fields that atoms are made of, by name; the last one of each counts."""
    found = {}
    for field in fields:
        if field.pair[0] in NAMED:
            found[field.pair[0]] = field.item[1]
    return found


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


PROTOCOLS: Final = {(1, 0): "HTTP/1.0", (1, 1): "HTTP/1.1", (2, 0): "HTTP/2"}


def show(text: str | None) -> str:
    """Somebody else's words as they may stand in a line; a dash when there are none."""
    if not text:
        return "-"
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return text  # as escaped() would; a call less
    return str(escaped(text))


def quote(text: Any) -> str:
    """Somebody else's words as JSON has them; null when there are none."""
    return json.dumps(str(text)) if text else "null"


def request_line(target: Any) -> str:
    """The request line as it was sent."""
    return f"{target.method} {target.raw} {PROTOCOLS[target.version]}"


def shown_line(target: Any) -> str:
    """The same as it may stand in a line; a method is a token, so that it cannot end anything."""
    return f"{target.method} {show(target.raw)} {PROTOCOLS[target.version]}"


def json_target(target: Any) -> dict[str, str]:
    """What a JSON object says of the request line: the path is decoded, and as the client sent it."""
    return {
        "method": target.method,
        "path": target.path_bytes.decode("utf-8", "replace"),
        "query": target.query_string,
        "protocol": PROTOCOLS[target.version],
    }


NAMESPACE: Final[dict[str, Any]] = {
    "shown": Memo(show),
    "show": show,
    "show_or_empty": lambda text: escaped(text) if text else "",
    "status_code": Memo(lambda status: status[:3]),
    "quoted": Memo(quote),
    "quote": quote,
    "quote_or_empty": lambda text: json.dumps(str(text or "")),
    "json_target": lambda target: json.dumps(json_target(target))[1:-1],
    "request_line": request_line,
    "shown_line": shown_line,
    "user_name": user_name,
    "asgi_user": lambda header: user_name({"HTTP_AUTHORIZATION": header}),
    "request_header": request_header,
    "response_header": response_header,
    "variable": variable,
    "asgi_environ": asgi_environ,
    "protocols": PROTOCOLS,
    "getpid": os.getpid,
    "texts": texts,
}

SENT: Final = ("resp.sent",)
STATUS: Final = ("resp.status",)
CLIENT: Final = ("scope['client']",)


def _of_environ(kind: str, code: str, *reads: str) -> Source:
    """What is a variable of the WSGI environ, or is made of the variable that *reads* says."""
    return Source(kind, code, reads=reads or (code,))


_COMMON: Final[dict[str, Source]] = {
    "l": Source(PLAIN, "'-'"),
    "t": Source(PLAIN, "clock.date"),
    "r": Source(ONCE, "request_line(req.target)", "shown_line(req.target)"),
    "B": Source(COUNT, "resp.sent", reads=SENT),
    "b": Source(NUMBER, "resp.sent", reads=SENT),
    "T": Source(COUNT, "int(took)", reads=None),
    "M": Source(COUNT, "round(took * 1000000) // 1000", reads=None),
    "D": Source(COUNT, "round(took * 1000000)", reads=None),
    "L": Source(COUNT, "'%.6f' % took", reads=None),
    "p": Source(PLAIN, "'<%d>' % getpid()"),
}

WSGI: Final[dict[str, Source]] = {
    **_COMMON,
    "h": _of_environ(TEXT, "environ['REMOTE_ADDR']"),
    "u": _of_environ(
        TEXT, "(user_name(environ) if 'HTTP_AUTHORIZATION' in environ else None)", "get('HTTP_AUTHORIZATION')"
    ),
    "m": _of_environ(TEXT, "environ['REQUEST_METHOD']"),
    "U": _of_environ(EMPTY, "environ['PATH_INFO']"),
    "q": _of_environ(EMPTY, "environ['QUERY_STRING']"),
    "H": _of_environ(TEXT, "environ['SERVER_PROTOCOL']"),
    "s": Source(NUMBER, "status_code[resp.status]", "(status_code[resp.status] or '-')", STATUS),
    "f": _of_environ(ONCE, "get('HTTP_REFERER')"),
    "a": _of_environ(TEXT, "get('HTTP_USER_AGENT')"),
}

ASGI: Final[dict[str, Source]] = {
    **_COMMON,
    "h": Source(TEXT, "(scope['client'][0] if scope['client'] else None)", reads=CLIENT),
    "u": Source(TEXT, "(asgi_user(get(b'authorization')) if b'authorization' in found else None)"),
    "m": Source(TEXT, "req.target.method"),
    "U": Source(EMPTY, "req.target.path_bytes.decode('latin-1')"),
    "q": Source(EMPTY, "req.target.query_string"),
    "H": Source(TEXT, "protocols[req.target.version]"),
    "s": Source(NUMBER, "resp.status", reads=STATUS),
    "f": Source(ONCE, "get(b'referer')"),
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
            return Source(ONCE, f"request_header(req, {field.encode('latin-1', 'replace')!r})")
        if kind == "}o":
            return Source(ONCE, f"response_header(resp.headers, {field!r})", reads=None)
        if kind == "}e":
            environ = "asgi_environ(req, scope)" if dialect is ASGI else "environ"
            return Source(ONCE, f"variable({environ}, {field!r})", reads=None)
    return Source(PLAIN, "'-'")


def text_line(log_format: str, dialect: Mapping[str, Source]) -> list[Piece]:
    """The pieces of a line of *log_format*, its end included.

    :raises ValueError: for a format that cannot be read. ``logging`` would say so with every line.
    """
    line, position = _Pieces(), 0
    for match in PLACE.finditer(log_format):
        line.literal(_literal(log_format[position : match.start()]))
        position = match.end()
        if match["name"] is None:
            line.literal("%")
            continue
        source, directive = source_of(match["name"], dialect), f"%{match['flags']}{match['kind']}"
        code = _as_text(source)
        line.value(code if directive == "%s" else f"{directive!r} % ({code},)", source.reads)
    line.literal(_literal(log_format[position:]) + "\n")
    return line.done()


def json_line(extra: Mapping[str, str], dialect: Mapping[str, Source]) -> list[Piece]:
    """The pieces of this process's JSON objects: json_target, JSON_FIELDS, then *extra* (key to atom)."""
    line = _Pieces()
    line.literal('{"time": "')
    line.value("clock.iso", ())
    line.literal(".")
    line.value("'%03d' % int((now - clock.began) * 1000)", None)
    line.literal(f'Z", "level": "info", "logger": "gunicorn.access", "pid": {os.getpid()}, ')
    line.value("json_target(req.target)", ())
    for key, name in {**JSON_FIELDS, **extra}.items():
        source = source_of(name, dialect)
        line.literal(f", {json.dumps(key)}: ")
        line.value(_as_json(source), source.reads)
    line.literal("}\n")
    return line.done()


class _Pieces:
    """Puts the places of a line together to as few pieces as there can be."""

    def __init__(self) -> None:
        self._pieces = [Piece("", (), ())]
        self._values = 0

    def literal(self, text: str) -> None:
        last = self._pieces[-1]
        self._pieces[-1] = last._replace(template=last.template + text.replace("{", "{{").replace("}", "}}"))

    def value(self, code: str, reads: tuple[str, ...] | None) -> None:
        if (self._pieces[-1].reads is None) != (reads is None):
            self._pieces.append(Piece("", (), None if reads is None else ()))
        last = self._pieces[-1]
        name = f"v{self._values}"
        self._values += 1
        both = None if last.reads is None or reads is None else last.reads + reads
        self._pieces[-1] = Piece(f"{last.template}{{{name}}}", (*last.values, (name, code)), both)

    def done(self) -> list[Piece]:
        return [piece for piece in self._pieces if piece.template]


def access_source(pieces: Sequence[Piece], dialect: Mapping[str, Source], observed: bool = False) -> str:
    """The source of the function ``access(resp, req, environ, started)``, for ASGI ``access(resp)``.

    It gives a line to ``append``. It calls ``clock.renew`` in a new second, and ``slow`` instead when that says so;
    ``due`` when the time ``clock.due`` has come; ``observe`` with the status and the seconds, where *observed*.
    """
    asgi = dialect is ASGI
    variables = "scope" if asgi else "environ"
    lasting = [piece for piece in pieces if piece.reads is not None]
    passing = [value for piece in pieces if piece.reads is None for value in piece.values]
    key = ", ".join(dict.fromkeys(["clock.date", *(read for piece in lasting for read in piece.reads or ())])) + ","
    now = " ".join([key, *(code for _, code in passing)])  # what is to be found out each time
    make = [
        f"def make(resp, req, {variables}):",
        "found = texts(req.fields)" if asgi else "",
        f"get = {'found' if asgi else 'environ'}.get",
        f"key = ({key})",  # first: when another thread begins a new second now, it will not fit another time
        *(f"{name} = {code}" for piece in lasting for name, code in piece.values),
        f"made = req.logged = (key, {' '.join(f'f{piece.template!r},' for piece in lasting)})",
        "return made",
    ]
    parts = [f"{{made[{lasting.index(piece) + 1}]}}" if piece in lasting else piece.template for piece in pieces]
    arguments = "resp" if asgi else "resp, req, environ, started"
    access = [
        f"def access({arguments}):",
        "now = monotonic()",
        f"if now >= clock.next_second and not clock.renew(now): return slow({arguments})",
        "req = resp.request" if asgi else "",
        "scope = resp.scope" if asgi else "",
        f"took = now - {'resp.' if asgi else ''}started" if observed or "took" in now else "",
        "get = environ.get" if not asgi and "get(" in now else "",
        "made = req.logged",
        f"if made is None or made[0] != ({key}): made = make(resp, req, {variables})",
        *(f"{name} = {code}" for name, code in passing),
        f"append({'made[1]' if pieces == lasting else 'f' + repr(''.join(parts))})",
        "if now >= clock.due: due()",
        "observe(str(resp.status)[:3], took)" if observed else "",
    ]
    return "\n    ".join(filter(None, make)) + "\n\n" + "\n    ".join(filter(None, access)) + "\n"


def _literal(text: str) -> str:
    """
    :raises ValueError: when there is a percent sign of which nothing could be made.
    """
    if "%" in text:
        raise ValueError(f"access_log_format has a place that cannot be read: {text!r}")
    return text


def _as_text(source: Source) -> str:
    shown = {TEXT: "shown[%s]", ONCE: "show(%s)", EMPTY: "show_or_empty(%s)", NUMBER: "(%s or '-')"}.get(
        source.kind, "%s"
    )
    return source.shown or shown % source.code


def _as_json(source: Source) -> str:
    shown = {ONCE: "quote(%s)", EMPTY: "quote_or_empty(%s)", NUMBER: "(%s or 'null')", COUNT: "%s"}
    return shown.get(source.kind, "quoted[%s]") % source.code
