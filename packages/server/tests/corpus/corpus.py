"""Reads the corpus: raw requests as files, each with the one reading, or refusal, that it must get.

Used by tests/http/h1/test_corpus.py (without I/O), by integration/tests/test_corpus.py (all workers, over sockets) and
by integration/fuzz/http1.py (as a start). They load it by its path. A file of the corpus looks like this:

    # A comment.
    set limit_request_line 64           settings for the whole file, as gunicorn.http.policy.Policy has them

    == the name of an entry
    > POST /a?b HTTP/1.1                a line of what is sent; CRLF follows
    > Host: a
    > Content-Length: 2
    >
    - hi                                the same without CRLF; both know \\r \\n \\t \\0 \\xNN \\\\ and \\*COUNT{TEXT}
    = POST /a?b HTTP/1.1                what is read: method, target as it was sent, version
    = host: a                           its fields in order, or "no fields"; "host: a" alone by default
    = content-length: 2
    = body hi                           nothing by default
    = path /a                           decoded; of the target by default. Also: scheme, script_name
    = closed                            the connection ends after the last answer; it goes on by default

Instead of "closed", the last line may be "waits" (more has to come; a client that then closes its side is not
answered), or a refusal: ``! 400 RFC 9112 section 3.2``, which closes the connection too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

FOLDER = Path(__file__).parent
ESCAPE = re.compile(r"\\(?:([rnt0\\])|x([0-9a-fA-F]{2})|\*(\d+)\{([^}]*)\})")
PLAIN = {"r": "\r", "n": "\n", "t": "\t", "0": "\0", "\\": "\\"}


@dataclass
class Reading:
    """One request as it is read. Text is latin-1: a character for a byte."""

    method: str
    target: str
    version: str
    own_fields: list[tuple[str, str]] | None = None
    body: str = ""
    path: str | None = None
    scheme: str = "http"
    script_name: str = ""

    @property
    def fields(self) -> list[tuple[str, str]]:
        return [("host", "a")] if self.own_fields is None else self.own_fields

    @property
    def decoded_path(self) -> str:
        if self.path is not None:
            return self.path
        path = re.sub(r"(?i)^https?://[^/?]*", "", self.target).partition("?")[0]
        return unquote_to_bytes((path or "/").encode("latin-1")).decode("latin-1")

    def summary(self) -> dict[str, Any]:
        """What the applications of the integration tests report, in the shape that WSGI and ASGI can both give."""
        fields: dict[str, str] = {}
        for name, value in self.fields:
            key = name.upper().replace("-", "_")
            glue = "; " if key == "COOKIE" else ","
            fields[key] = fields[key] + glue + value if key in fields else value
        return {
            "method": self.method,
            "version": self.version,
            "path": self.decoded_path,
            "query": self.target.partition("?")[2],
            "fields": fields,
            "body": self.body,
            "scheme": self.scheme,
            "script_name": self.script_name,
        }


@dataclass
class Entry:
    """One case. *settings* are those of its file."""

    name: str
    settings: dict[str, Any]
    raw: bytes = b""
    readings: list[Reading] = field(default_factory=list)
    end: str = "open"  # or "closed", "waits", "refused"
    status: int = 0
    clause: str = ""


def load() -> list[Entry]:
    """All entries of the folder, in the order of their files."""
    found = [entry for path in sorted(FOLDER.glob("*.http")) for entry in read(path)]
    assert len({entry.name for entry in found}) == len(found), "two entries have one name"
    return found


def read(path: Path) -> list[Entry]:
    """The entries of one file. Raises ValueError with the file and line for what is not in the format."""
    settings: dict[str, Any] = {}
    found: list[Entry] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            _read_line(line, settings, found, path.stem)
        except (ValueError, IndexError) as error:
            raise ValueError(f"{path.name}, line {number}: {error}") from error
    return found


def _read_line(line: str, settings: dict[str, Any], found: list[Entry], file: str) -> None:
    mark, _, rest = line.partition(" ")
    if not line or mark == "#":
        return
    if mark == "set":
        name, _, value = rest.partition(" ")
        settings[name] = _value(value)
    elif mark == "==":
        found.append(Entry(f"{file}: {rest}", settings))
    elif mark in (">", "-"):
        found[-1].raw += _unescape(rest).encode("latin-1") + (b"\r\n" if mark == ">" else b"")
    elif mark == "!":
        entry = found[-1]
        status, _, entry.clause = rest.partition(" ")
        entry.end, entry.status = "refused", int(status)
    elif mark == "=":
        _read_expectation(found[-1], rest)
    else:
        raise ValueError(f"{line!r} begins with no known mark")


def _read_expectation(entry: Entry, text: str) -> None:
    if text in ("closed", "waits"):
        entry.end = text
        return
    request = re.fullmatch(r"(\S+) (\S+) HTTP/(1\.[01])", text)
    if request:
        entry.readings.append(Reading(request[1], _unescape(request[2]), request[3]))
        return
    reading = entry.readings[-1]
    special = re.fullmatch(r"(body|path|scheme|script_name) (.*)", text)
    if special:
        setattr(reading, special[1], _unescape(special[2]))
        return
    reading.own_fields = reading.own_fields or []
    if text == "no fields":
        return
    name, colon, value = text.partition(":")
    if not colon:
        raise ValueError(f"{text!r} expects nothing known")
    reading.own_fields.append((_unescape(name), _unescape(value.removeprefix(" "))))


def _value(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    return int(text) if text.isdigit() else text


def _unescape(text: str) -> str:
    """*text* with its escapes resolved; a character above latin-1 stands for its UTF-8."""
    text = text.encode("utf-8").decode("latin-1")

    def one(match: re.Match[str]) -> str:
        if match[1]:
            return PLAIN[match[1]]
        if match[2]:
            return chr(int(match[2], 16))
        return _unescape(match[4]) * int(match[3])

    return ESCAPE.sub(one, text)
