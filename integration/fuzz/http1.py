"""A fuzz target for the HTTP/1 connection: any bytes get one reading, and nobody could read them otherwise.

Run by hand, in an environment with atheris and the server (atheris has no wheels for all Pythons we support):

    python integration/fuzz/http1.py CORPUS -dict=integration/fuzz/http1.dict -max_total_time=600 -rss_limit_mb=1500

The first start fills the folder CORPUS with the entries of packages/server/tests/corpus. What is asserted:

- nothing but a RemoteProtocolError comes out, and after it the connection is closed and says nothing more;
- the reading, or the refusal to the word, does not depend on how the bytes were cut;
- what waits to be read is bounded while a head, a chunk's line or a trailer goes on;
- a request that is written again from what was read is read alike;
- a second, naive reader of the raw bytes finds the same end of the head and of the body, and no other candidate for
  them: no line end but CRLF, one Content-Length or one "chunked", never both;
- a response that comes before the body was read does not shift where the next request begins.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import atheris

with atheris.instrument_imports(include=["gunicorn.http"]):
    from gunicorn.http.errors import LocalProtocolError, RemoteProtocolError
    from gunicorn.http.events import Data, Request, ResponseHead
    from gunicorn.http.h1.body import LONGEST_CHUNK_LINE
    from gunicorn.http.h1.connection import H1Connection
    from gunicorn.http.h1.head import HeadReader
    from gunicorn.http.h1.response import Preamble
    from gunicorn.http.policy import Policy

CORPUS = Path(__file__).parents[2] / "packages" / "server" / "tests" / "corpus" / "corpus.py"
UNLIMITED: dict[str, Any] = {"limit_request_line": 0, "limit_request_fields": 0, "limit_request_field_size": 0}
TIGHT: dict[str, Any] = {"limit_request_line": 40, "limit_request_fields": 4, "limit_request_field_size": 50}
LENIENT: dict[str, Any] = {
    "strip_header_spaces": True,
    "permit_unconventional_http_method": True,
    "permit_unconventional_http_version": True,
    "casefold_http_method": True,
    "header_map": "dangerous",
}
POLICIES: list[dict[str, Any]] = [
    {},
    TIGHT,
    LENIENT | UNLIMITED,
    LENIENT | UNLIMITED | {"permit_obsolete_folding": True},
    TIGHT | {"header_map": "refuse"},
]
PREAMBLE = Preamble("gunicorn", 0.0)


class Found(NamedTuple):
    """A request as it was read, and the bytes that it was read from."""

    request: Request
    body: bytes
    raw_head: bytes
    raw_body: bytes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Found) and self.meaning() == other.meaning()

    def meaning(self) -> tuple[Any, ...]:
        request = self.request
        return (request.method, request.uri, request.version, request.target.path_bytes, request.target.query,
                [field.pair for field in request.fields], request.scheme, request.script_name, request.keep_alive,
                self.body)  # fmt: skip

    def __hash__(self) -> int:
        raise TypeError


class Stream:
    """What a connection makes of *pieces*. With *early*, requests are answered before their bodies are read."""

    def __init__(self, settings: dict[str, Any], trusted: bool, pieces: list[bytes], early: bool = False) -> None:
        self.found: list[Found] = []
        self.begun = 0
        self.refusal = ""
        self.policy = Policy(**settings)
        self.http = H1Connection(HeadReader(self.policy), PREAMBLE, False, trusted)
        self._early = early
        self._given = b""
        self._start = 0  # of the request at hand
        self._head_end = 0
        self._body = b""
        self._request: Request | None = None
        for piece in pieces:
            if self.http.closing:
                break
            self._given += piece
            self.http.receive_data(piece)
            self._pull()
        self.closing = self.http.closing
        self.output = self.http.data_to_send().replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")

    def _pull(self) -> None:
        http = self.http
        try:
            while (event := http.next_event()) is not None:
                position = len(self._given) - http.buffered
                if isinstance(event, Request):
                    self.begun += 1
                    self._request, self._body = event, b""
                    self._head_end = position
                    if self._early and not event.end_stream:
                        http.send(ResponseHead(200, [], b"", True))
                        self._start = position
                        continue
                else:
                    assert isinstance(event, Data), event
                    self._body += event.data
                if event.end_stream:
                    self._complete(position)
        except RemoteProtocolError as error:
            self.refusal = f"{type(error).__name__} {error.status} {error}"
            http.refuse(error)
            self._check_silence()
        else:
            self._check_bounds()

    def _complete(self, position: int) -> None:
        assert self._request is not None
        raw_head = self._given[self._start : self._head_end]
        self.found.append(Found(self._request, self._body, raw_head, self._given[self._head_end : position]))
        self._start = position
        self.http.send(ResponseHead(200, [], b"", True))

    def _check_silence(self) -> None:
        http = self.http
        assert http.closing
        said = http.data_to_send()
        http.receive_data(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert http.next_event() is None
        try:
            http.send(ResponseHead(200, [], b"", True))
        except LocalProtocolError:
            pass
        else:
            raise AssertionError("a refused request is answered again")
        assert http.data_to_send() == b""
        http._out.append(said)

    def _check_bounds(self) -> None:
        policy, waiting = self.policy, self.http.buffered
        if self.closing_or_unlimited() or not waiting:
            return
        line, size = policy.limit_request_line, policy.limit_request_field_size
        head = line + (size + 2) * (policy.limit_request_fields + 1) + 4
        assert waiting <= (head if self.http.request is None else max(LONGEST_CHUNK_LINE, size) + 2), waiting

    def closing_or_unlimited(self) -> bool:
        return self.http.closing or not self.policy.limit_request_line

    def reading(self) -> tuple[Any, ...]:
        return [one.meaning() for one in self.found], self.begun, self.refusal, self.closing, self.output


def one_input(data: bytes) -> None:
    if len(data) < 3:
        return
    choice, step, cut, raw = data[0], data[1], data[2], data[3:]
    settings, trusted = POLICIES[choice % len(POLICIES)], choice >= 128
    whole = Stream(settings, trusted, [raw])
    step = step % 40 + 1
    ways = [
        [raw[start : start + step] for start in range(0, len(raw), step)],
        [raw[:cut], raw[cut:]],
    ]
    for pieces in ways:
        split = Stream(settings, trusted, pieces)
        if settings.get("permit_obsolete_folding"):  # where a folded head is refused depends on what has come of it
            assert [one.meaning() for one in split.found] == [one.meaning() for one in whole.found]
            assert bool(split.refusal) == bool(whole.refusal)
        else:
            assert split.reading() == whole.reading(), (pieces, split.reading(), whole.reading())
    for one in whole.found:
        written_again(one, settings, trusted)
        one_meaning(one, settings)
    early = Stream(settings, trusted, [raw], early=True)
    heads = [(one.request.method, one.request.uri) for one in early.found]
    assert len(heads) <= len(whole.found)
    if early.begun == len(early.found):  # no request had a body
        assert heads == [(one.request.method, one.request.uri) for one in whole.found]
    assert all(head in [(one.request.method, one.request.uri) for one in whole.found] for head in heads)


def written_again(one: Found, settings: dict[str, Any], trusted: bool) -> None:
    """The request, written from what was read, is read alike."""
    request = one.request
    lines = [f"{request.method} {request.uri} HTTP/{request.version[0]}.{request.version[1]}".encode("latin-1")]
    for field in request.fields:
        name, value = field.pair
        if name != b"host" or request.target.authority is None or request.version == (1, 1):
            lines.append(name + b":" + value)
    body = one.body
    if request.content_length is None:
        body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
    raw = b"\r\n".join([*lines, b"", b""]) + body
    again = Stream(settings | UNLIMITED, trusted, [raw])
    assert again.refusal == "", (again.refusal, raw)
    assert [each.meaning() for each in again.found] == [one.meaning()], raw


CONTROLS = re.compile(rb"[\x00-\x20\x7f]+")


def one_meaning(one: Found, settings: dict[str, Any]) -> None:
    """No other reader, however lenient, finds another end of the head or of the body."""
    head = one.raw_head[2:] if one.raw_head.startswith(b"\r\n") else one.raw_head
    assert head.endswith(b"\r\n\r\n"), head
    assert head.find(b"\r\n\r\n") == len(head) - 4
    assert b"\n" not in head.replace(b"\r\n", b"")
    assert b"\r" not in head.replace(b"\r\n", b"")
    assert b"\0" not in head
    first, *lines = head[:-4].split(b"\r\n")
    assert len(first.split()) == 3, first
    lengths, codings, hosts = [], [], []
    for line in lines:
        if line[:1] in b" \t":
            assert settings.get("permit_obsolete_folding"), line
            continue
        name, colon, value = line.partition(b":")
        assert colon, line
        if not settings.get("strip_header_spaces"):
            assert not CONTROLS.search(name), line
        name = CONTROLS.sub(b"", name).lower()
        if name == b"content-length":
            lengths.append(value)
        elif name == b"transfer-encoding":
            codings.append(value)
        elif name == b"host":
            hosts.append(value)
    assert len(lengths) + len(codings) <= 1, head
    assert len(hosts) <= 1, head
    if settings.get("permit_obsolete_folding"):
        return
    if codings:
        assert codings[0].strip(b" \t").lower() == b"chunked", head
        assert first.endswith(b"1") or settings.get("permit_unconventional_http_version"), head
        assert dechunked(one.raw_body) == one.body, one.raw_body
    elif lengths:
        assert re.fullmatch(rb"[ \t]*[0-9]+[ \t]*", lengths[0]), head
        assert int(lengths[0]) == len(one.body), head
        assert one.raw_body == one.body
    else:
        assert one.raw_body == b"" == one.body


def dechunked(raw: bytes) -> bytes:
    """The body in *raw*, of which every byte must have its place."""
    body = b""
    while True:
        line, end, raw = raw.partition(b"\r\n")
        assert end
        assert b"\n" not in line
        assert re.match(rb"[0-9A-Fa-f]+([ \t]*;|$)", line), line
        size = int(line.partition(b";")[0], 16)
        if not size:
            break
        body += raw[:size]
        assert raw[size : size + 2] == b"\r\n"
        raw = raw[size + 2 :]
    while True:
        line, end, raw = raw.partition(b"\r\n")
        assert end
        assert b"\n" not in line
        if not line:
            assert raw == b""
            return body


def fill(folder: Path) -> None:
    spec = importlib.util.spec_from_file_location("corpus", CORPUS)
    assert spec is not None
    assert spec.loader is not None
    sys.modules["corpus"] = corpus = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(corpus)
    folder.mkdir(parents=True, exist_ok=True)
    for index, entry in enumerate(corpus.load()):
        if len(entry.raw) < 2000:
            for choice in range(len(POLICIES)):
                (folder / f"{index}-{choice}").write_bytes(bytes([choice, index % 7, index % 50]) + entry.raw)


if __name__ == "__main__":
    folders = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    if folders and not Path(folders[0]).exists():
        fill(Path(folders[0]))
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
