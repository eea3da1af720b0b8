"""H1Connection: what streams of bytes are read as, and what answers look like on the wire."""

import io
from collections.abc import Callable
from http import client as http_client
from itertools import pairwise
from typing import Any

import pytest
from gunicorn.http import errors
from gunicorn.http.events import Data, Disconnected, Informational, Request, ResponseHead
from gunicorn.http.h1.connection import H1Connection
from gunicorn.http.h1.head import HeadReader
from gunicorn.http.h1.response import Preamble
from gunicorn.http.policy import Policy
from hypothesis import given
from hypothesis import strategies as st

Connect = Callable[..., H1Connection]
Read = Callable[..., Any]

HOST = (b"host", b"a")
SERVER = b"Server: gunicorn\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
OLD = b"GET / HTTP/1.0\r\n\r\n"


def get(lines: bytes, method: bytes = b"GET", version: bytes = b"HTTP/1.1") -> bytes:
    """A request with Host and these further field lines."""
    return method + b" / " + version + b"\r\nHost: a\r\n" + lines + b"\r\n\r\n"


def post(lines: bytes, body: bytes = b"") -> bytes:
    return get(lines, b"POST") + body


def chunked(body: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", body)


CHUNKED = [HOST, (b"transfer-encoding", b"chunked")]

# name: (bytes, requests as (method, target, fields, body), policy)
READ: dict[str, tuple[bytes, list[tuple[str, str, list[tuple[bytes, bytes]], bytes]], dict[str, Any]]] = {
    "plain": (GET, [("GET", "/", [HOST], b"")], {}),
    "query": (b"GET /a?b=c?d HTTP/1.1\r\nHost: a\r\n\r\n", [("GET", "/a?b=c?d", [HOST], b"")], {}),
    "empty line before": (b"\r\n" + GET, [("GET", "/", [HOST], b"")], {}),
    "host with port": (b"GET / HTTP/1.1\r\nHost: a:80\r\n\r\n", [("GET", "/", [(b"host", b"a:80")], b"")], {}),
    "empty host": (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", [("GET", "/", [(b"host", b"")], b"")], {}),
    "ipv6 host": (b"GET / HTTP/1.1\r\nHost: [::1]:8\r\n\r\n", [("GET", "/", [(b"host", b"[::1]:8")], b"")], {}),
    "asterisk": (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", [("OPTIONS", "*", [HOST], b"")], {}),
    "absolute form": (
        b"GET http://b:1/c?d HTTP/1.1\r\nHost: a\r\n\r\n",
        [("GET", "http://b:1/c?d", [(b"host", b"b:1")], b"")],
        {},
    ),
    "http/1.0": (b"GET / HTTP/1.0\r\n\r\n", [("GET", "/", [], b"")], {}),
    "white space around a value": (get(b"X: \t b \t "), [("GET", "/", [HOST, (b"x", b"b")], b"")], {}),
    "empty value": (get(b"X:"), [("GET", "/", [HOST, (b"x", b"")], b"")], {}),
    "obs-text": (get(b"X: \xc3\xa9"), [("GET", "/", [HOST, (b"x", b"\xc3\xa9")], b"")], {}),
    "repeated field": (get(b"X: 1\r\nX: 2"), [("GET", "/", [HOST, (b"x", b"1"), (b"x", b"2")], b"")], {}),
    "content-length 0": (post(b"Content-Length: 0"), [("POST", "/", [HOST, (b"content-length", b"0")], b"")], {}),
    "content-length": (
        post(b"Content-Length: 5", b"hello"),
        [("POST", "/", [HOST, (b"content-length", b"5")], b"hello")],
        {},
    ),
    "chunks": (chunked(b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"), [("POST", "/", CHUNKED, b"hello!")], {}),
    "no chunk": (chunked(b"0\r\n\r\n"), [("POST", "/", CHUNKED, b"")], {}),
    "chunk of CRLFs": (chunked(b"4\r\n\r\n\r\n\r\n0\r\n\r\n"), [("POST", "/", CHUNKED, b"\r\n\r\n")], {}),
    "chunk size spellings": (chunked(b"0a\r\n0123456789\r\nA\r\n0123456789\r\n000\r\n\r\n"),
        [("POST", "/", CHUNKED, b"01234567890123456789")], {}),
    "chunk extensions": (
        chunked(b'1;a\r\nx\r\n1 ; a = b ;c="d\\"e;\\\\"\r\ny\r\n0;z\r\n\r\n'),
        [("POST", "/", CHUNKED, b"xy")],
        {},
    ),
    "trailers": (chunked(b"1\r\nx\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n"), [("POST", "/", CHUNKED, b"x")], {}),
    "chunked in capitals": (
        post(b"Transfer-Encoding: CHUNKED", b"1\r\nx\r\n0\r\n\r\n"),
        [("POST", "/", [HOST, (b"transfer-encoding", b"CHUNKED")], b"x")],
        {},
    ),
    "pipeline": (
        GET + post(b"Content-Length: 2", b"hi") + chunked(b"1\r\nx\r\n0\r\n\r\n") + GET,
        [
            ("GET", "/", [HOST], b""),
            ("POST", "/", [HOST, (b"content-length", b"2")], b"hi"),
            ("POST", "/", CHUNKED, b"x"),
            ("GET", "/", [HOST], b""),
        ],
        {},
    ),
    "nothing is read after close": (
        get(b"Connection: close") + GET,
        [("GET", "/", [HOST, (b"connection", b"close")], b"")],
        {},
    ),
    "nothing is read after http/1.0": (b"GET / HTTP/1.0\r\n\r\n" + GET, [("GET", "/", [], b"")], {}),
    "http/1.0 keep-alive": (
        b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n" + OLD,
        [("GET", "/", [(b"connection", b"Keep-Alive")], b""), ("GET", "/", [], b"")],
        {},
    ),
    "underscored name is dropped": (get(b"X_A: 1\r\nX-A: 2"), [("GET", "/", [HOST, (b"x-a", b"2")], b"")], {}),
    "underscored name is kept": (
        get(b"X_A: 1"),
        [("GET", "/", [HOST, (b"x_a", b"1")], b"")],
        {"header_map": "dangerous"},
    ),
    "folding permitted": (
        get(b"X: 1\r\n  2"),
        [("GET", "/", [HOST, (b"x", b"1 2")], b"")],
        {"permit_obsolete_folding": True},
    ),
    "space before the colon permitted": (
        get(b"X : 1"),
        [("GET", "/", [HOST, (b"x", b"1")], b"")],
        {"strip_header_spaces": True},
    ),
    "unconventional method permitted": (
        get(b"X: 1", b"g"),
        [("g", "/", [HOST, (b"x", b"1")], b"")],
        {"permit_unconventional_http_method": True},
    ),
    "method casefolded": (
        get(b"X: 1", b"get"),
        [("GET", "/", [HOST, (b"x", b"1")], b"")],
        {"casefold_http_method": True},
    ),
    "line of exactly the limit": (GET, [("GET", "/", [HOST], b"")], {"limit_request_line": 14}),
    "field of exactly the limit": (GET, [("GET", "/", [HOST], b"")], {"limit_request_field_size": 7}),
    "fields of exactly the limit": (GET, [("GET", "/", [HOST], b"")], {"limit_request_fields": 1}),
    "no limits": (
        get(b"X: " + b"x" * 300),
        [("GET", "/", [HOST, (b"x", b"x" * 300)], b"")],
        {"limit_request_line": 0, "limit_request_fields": 0, "limit_request_field_size": 0},
    ),
}  # fmt: skip

# name: (bytes, the refusal, policy)
REFUSED: dict[str, tuple[bytes, type[errors.RemoteProtocolError], dict[str, Any]]] = {
    # request line
    "two words": (b"GET /\r\n\r\n", errors.InvalidRequestLine, {}),
    "four words": (b"GET / / HTTP/1.1\r\nHost: a\r\n\r\n", errors.InvalidRequestLine, {}),
    "two spaces": (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", errors.InvalidRequestLine, {}),
    "tab": (b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", errors.InvalidRequestLine, {}),
    "leading space": (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", errors.InvalidRequestLine, {}),
    "trailing space": (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", errors.InvalidRequestLine, {}),
    "two empty lines before": (b"\r\n\r\n" + GET, errors.InvalidFraming, {}),
    "CR alone before": (b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", errors.InvalidFraming, {}),
    "method is no token": (b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n", errors.InvalidRequestMethod, {}),
    "method in lower case": (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", errors.InvalidRequestMethod, {}),
    "connect": (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", errors.MethodNotSupported, {}),
    "target without slash": (b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", errors.InvalidRequestLine, {}),
    "target with fragment": (b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", errors.InvalidRequestLine, {}),
    "target with control": (b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", errors.InvalidRequestLine, {}),
    "target with NUL": (b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", errors.InvalidRequestLine, {}),
    "target with CR": (b"GET /\rX HTTP/1.1\r\nHost: a\r\n\r\n", errors.InvalidRequestLine, {}),
    "asterisk for GET": (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", errors.InvalidRequestLine, {}),
    "other scheme": (b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", errors.InvalidRequestLine, {}),
    "user in authority": (b"GET http://b@a/ HTTP/1.1\r\nHost: a\r\n\r\n", errors.InvalidHost, {}),
    "http/0.9": (b"GET / HTTP/0.9\r\n\r\n", errors.InvalidHTTPVersion, {}),
    "http/1.2": (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", errors.InvalidHTTPVersion, {}),
    "http/2.0": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", errors.RemoteProtocolError, {}),
    "http/1.10": (b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", errors.InvalidRequestLine, {}),
    "http in lower case": (b"GET / http/1.1\r\nHost: a\r\n\r\n", errors.InvalidRequestLine, {}),
    # lines
    "bare LF everywhere": (b"GET / HTTP/1.1\nHost: a\n\n", errors.InvalidFraming, {}),
    "bare LF after the request line": (b"GET / HTTP/1.1\nHost: a\r\n\r\n", errors.RemoteProtocolError, {}),
    "bare LF after a field": (get(b"X: 1\nY: 2"), errors.RemoteProtocolError, {}),
    "bare CR in a value": (get(b"X: 1\rY: 2"), errors.InvalidHeader, {}),
    "NUL in a value": (get(b"X: 1\x002"), errors.InvalidHeader, {}),
    "DEL in a value": (get(b"X: \x7f"), errors.InvalidHeader, {}),
    "no colon": (get(b"X"), errors.InvalidHeader, {}),
    "no name": (get(b": 1"), errors.InvalidHeaderName, {}),
    "space before the colon": (get(b"X : 1"), errors.InvalidHeaderName, {}),
    "space in a name": (get(b"X Y: 1"), errors.InvalidHeaderName, {}),
    "name in UTF-8": (get(b"\xc3\xa9: 1"), errors.InvalidHeaderName, {}),
    "folded field": (get(b"X: 1\r\n 2"), errors.InvalidHeader, {}),
    "space before the first field": (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", errors.InvalidHeaderName, {}),
    "underscore refused": (get(b"X_A: 1"), errors.InvalidHeader, {"header_map": "refuse"}),
    # host
    "no host": (b"GET / HTTP/1.1\r\n\r\n", errors.InvalidHost, {}),
    "two hosts": (get(b"Host: a"), errors.InvalidHost, {}),
    "two hosts in http/1.0": (get(b"Host: b", version=b"HTTP/1.0"), errors.InvalidHost, {}),
    "host with path": (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", errors.InvalidHost, {}),
    "host with user": (b"GET / HTTP/1.1\r\nHost: b@a\r\n\r\n", errors.InvalidHost, {}),
    "host with space": (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", errors.InvalidHost, {}),
    "two hosts in one": (b"GET / HTTP/1.1\r\nHost: a,b:1:2\r\n\r\n", errors.InvalidHost, {}),
    # framing
    "length and chunked": (post(b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"),
        errors.InvalidFraming, {}),
    "chunked and length": (post(b"Transfer-Encoding: chunked\r\nContent-Length: 5", b"0\r\n\r\n"),
        errors.InvalidFraming, {}),
    "two lengths": (post(b"Content-Length: 5\r\nContent-Length: 6", b"hello"), errors.InvalidFraming, {}),
    "the same length twice": (post(b"Content-Length: 5\r\nContent-Length: 5", b"hello"), errors.InvalidFraming, {}),
    "a list of lengths": (post(b"Content-Length: 5, 5", b"hello"), errors.InvalidFraming, {}),
    "length with plus": (post(b"Content-Length: +5", b"hello"), errors.InvalidFraming, {}),
    "length with minus": (post(b"Content-Length: -5", b"hello"), errors.InvalidFraming, {}),
    "length in hex": (post(b"Content-Length: 0x5", b"hello"), errors.InvalidFraming, {}),
    "length with underscore": (post(b"Content-Length: 1_0", b"0123456789"), errors.InvalidFraming, {}),
    "length with space": (post(b"Content-Length: 5 5", b"hello"), errors.InvalidFraming, {}),
    "length with vertical tab": (post(b"Content-Length: \x0b5", b"hello"), errors.InvalidHeader, {}),
    "empty length": (post(b"Content-Length:", b"hello"), errors.InvalidFraming, {}),
    "length in other digits": (post("Content-Length: \u0665".encode(), b"hello"), errors.InvalidFraming, {}),
    "length of 30 digits": (post(b"Content-Length: " + b"1" * 30), errors.ContentTooLarge, {}),
    "length with space before the colon": (post(b"Content-Length : 5", b"hello"), errors.InvalidHeaderName, {}),
    "chunked twice": (post(b"Transfer-Encoding: chunked, chunked"), errors.InvalidFraming, {}),
    "two transfer codings": (post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
        errors.InvalidFraming, {}),
    "chunked not last": (post(b"Transfer-Encoding: chunked, gzip"), errors.InvalidFraming, {}),
    "identity": (post(b"Transfer-Encoding: identity"), errors.InvalidFraming, {}),
    "empty transfer coding": (post(b"Transfer-Encoding:"), errors.InvalidFraming, {}),
    "chunked with parameter": (post(b"Transfer-Encoding: chunked;q=1"), errors.InvalidFraming, {}),
    "quoted chunked": (post(b'Transfer-Encoding: "chunked"'), errors.InvalidFraming, {}),
    "xchunked": (post(b"Transfer-Encoding: xchunked"), errors.InvalidFraming, {}),
    "chunked after vertical tab": (post(b"Transfer-Encoding: \x0bchunked"), errors.InvalidHeader, {}),
    "chunked with space before the colon": (post(b"Transfer-Encoding : chunked"), errors.InvalidHeaderName, {}),
    "chunked folded": (post(b"Transfer-Encoding:\r\n chunked"), errors.RemoteProtocolError, {}),
    "gzip, chunked": (post(b"Transfer-Encoding: gzip, chunked"), errors.UnsupportedTransferCoding, {}),
    "chunked in http/1.0": (get(b"Transfer-Encoding: chunked", b"POST", b"HTTP/1.0"), errors.InvalidFraming, {}),
    "a second request is as strict": (GET + post(b"Content-Length: x"), errors.InvalidFraming, {}),
    # chunks
    "chunk size in words": (chunked(b"five\r\nhello\r\n"), errors.InvalidChunk, {}),
    "chunk size with 0x": (chunked(b"0x5\r\nhello\r\n"), errors.InvalidChunk, {}),
    "chunk size with plus": (chunked(b"+5\r\nhello\r\n"), errors.InvalidChunk, {}),
    "chunk size with minus": (chunked(b"-5\r\nhello\r\n"), errors.InvalidChunk, {}),
    "chunk size with underscore": (chunked(b"1_0\r\n"), errors.InvalidChunk, {}),
    "space before the chunk size": (chunked(b" 5\r\nhello\r\n"), errors.InvalidChunk, {}),
    "space after the chunk size": (chunked(b"5 \r\nhello\r\n"), errors.InvalidChunk, {}),
    "no chunk size": (chunked(b"\r\nhello\r\n"), errors.InvalidChunk, {}),
    "chunk size of 20 digits": (chunked(b"1" * 20 + b"\r\n"), errors.InvalidChunk, {}),
    "chunk size with bare LF": (chunked(b"5\nhello\r\n0\r\n\r\n"), errors.InvalidChunk, {}),
    "LF in a chunk extension": (chunked(b"5;a\nb\r\nhello\r\n"), errors.InvalidChunk, {}),
    "CR in a chunk extension": (chunked(b"5;a\rb\r\nhello\r\n"), errors.InvalidChunk, {}),
    "extension without name": (chunked(b"5;\r\nhello\r\n"), errors.InvalidChunk, {}),
    "unclosed quote in an extension": (chunked(b'5;a="b\r\nhello\r\n'), errors.InvalidChunk, {}),
    "chunk longer than its size": (chunked(b"5\r\nhello!\r\n0\r\n\r\n"), errors.InvalidChunk, {}),
    "chunk shorter than its size": (chunked(b"5\r\nhell\r\n0\r\n\r\n"), errors.InvalidChunk, {}),
    "chunk ends with bare LF": (chunked(b"5\r\nhello\n0\r\n\r\n"), errors.InvalidChunk, {}),
    "endless chunk extension": (chunked(b"5;" + b"a" * 5000), errors.InvalidChunk, {}),
    "length in a trailer": (chunked(b"0\r\nContent-Length: 5\r\n\r\n"), errors.InvalidHeader, {}),
    "coding in a trailer": (chunked(b"0\r\nTransfer-Encoding: chunked\r\n\r\n"), errors.InvalidHeader, {}),
    "host in a trailer": (chunked(b"0\r\nHost: b\r\n\r\n"), errors.InvalidHeader, {}),
    "malformed trailer": (chunked(b"0\r\nX\r\n\r\n"), errors.InvalidHeader, {}),
    "bare LF in a trailer": (chunked(b"0\r\nX: 1\nY: 2\r\n\r\n"), errors.InvalidFraming, {}),
    "too many trailers": (chunked(b"0\r\n" + b"X: 1\r\n" * 3 + b"\r\n"), errors.LimitRequestHeaders,
        {"limit_request_fields": 2}),
    "too long a trailer": (chunked(b"0\r\nX: " + b"1" * 60 + b"\r\n\r\n"), errors.LimitRequestHeaders,
        {"limit_request_field_size": 50}),
    # limits and expectations
    "too long a line": (GET, errors.LimitRequestLine, {"limit_request_line": 13}),
    "an endless line": (b"GET /" + b"a" * 5000, errors.LimitRequestLine, {}),
    "too long a field": (GET, errors.LimitRequestHeaders, {"limit_request_field_size": 6}),
    "an endless field": (b"GET / HTTP/1.1\r\nX: " + b"a" * 900, errors.LimitRequestHeaders,
        {"limit_request_field_size": 50, "limit_request_fields": 3, "limit_request_line": 50}),
    "too many fields": (get(b"X: 1"), errors.LimitRequestHeaders, {"limit_request_fields": 1}),
    "unknown expectation": (post(b"Expect: tea\r\nContent-Length: 1"), errors.ExpectationFailed, {}),
}  # fmt: skip


def split_at_every_byte(raw: bytes) -> list[list[bytes]]:
    """All ways to receive *raw* in two pieces, and the one byte by byte."""
    single = [raw[index : index + 1] for index in range(len(raw))]
    if len(raw) > 600:  # the limits' cases, where the seams are what matters
        return [single]
    return [single, *([raw[:index], raw[index:]] for index in range(1, len(raw)))]


@pytest.mark.parametrize("name", READ)
def test_reads(name: str, read: Read) -> None:
    raw, expected, policy = READ[name]
    reading = read([raw], **policy)
    assert reading.refusal is None
    assert reading.summary() == expected
    for pieces in split_at_every_byte(raw):
        split = read(pieces, **policy)
        assert split.refusal is None, pieces
        assert split.summary() == expected, pieces
        assert split.output == reading.output, pieces


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str, read: Read) -> None:
    raw, kind, policy = REFUSED[name]
    reading = read([raw], **policy)
    assert isinstance(reading.refusal, kind), reading.refusal
    assert reading.closing
    status = reading.refusal.status
    assert b"HTTP/1.1 %d " % status in reading.output
    assert reading.output.count(b"Connection: close\r\n") == 1
    for pieces in split_at_every_byte(raw):
        split = read(pieces, **policy)
        assert split.refusal is not None, pieces
        assert str(split.refusal) == str(reading.refusal), pieces
        assert split.summary() == reading.summary(), pieces
        assert split.closing


def test_a_refusal_names_the_input_the_reason_and_the_clause(read: Read) -> None:
    reading = read([post(b"Content-Length: five")])
    assert str(reading.refusal) == "Content-Length b'five' is not a decimal number (RFC 9110 section 8.6)"
    assert reading.output.endswith(b"\r\n\r\n400 Bad Request\n%b\n" % str(reading.refusal).encode())


def test_nothing_is_read_after_a_refusal(connect: Connect) -> None:
    http = connect()
    http.receive_data(post(b"Content-Length: x") + GET)
    with pytest.raises(errors.InvalidFraming) as caught:
        http.next_event()
    http.refuse(caught.value)
    http.receive_data(GET)
    assert http.next_event() is None
    assert http.closing


# ---------------------------------------------------------------- random bytes and splits


def splits(raw: bytes, cuts: list[int]) -> list[bytes]:
    """*raw* cut at the offsets *cuts* (taken modulo its length)."""
    points = sorted({cut % (len(raw) + 1) for cut in cuts} | {0, len(raw)})
    return [raw[start:end] for start, end in pairwise(points)]


def read_all(pieces: list[bytes]) -> tuple[list[tuple[str, bytes]], str]:
    """Requests as (target, body) and the refusal, "" for none. Fixtures do not go with hypothesis."""
    http = H1Connection(HeadReader(Policy()), Preamble("gunicorn", 0.0))
    found: list[tuple[str, bytes]] = []
    target, body = "", b""
    for piece in pieces:
        if http.closing:
            break
        http.receive_data(piece)
        try:
            while (event := http.next_event()) is not None:
                if isinstance(event, Request):
                    target, body = event.uri, b""
                    ended = event.end_stream
                else:
                    assert isinstance(event, Data)
                    body += event.data
                    ended = event.end_stream
                if ended:
                    found.append((target, body))
                    http.send(ResponseHead(200, [], b"", True))
        except errors.RemoteProtocolError as error:
            return found, str(error)
    return found, ""


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=6), st.lists(st.integers(0, 5000), max_size=12))
def test_chunked_bodies_survive_any_split(chunks: list[bytes], cuts: list[int]) -> None:
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    raw = chunked(body) + b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
    assert read_all(splits(raw, cuts)) == ([("/", b"".join(chunks)), ("/next", b"")], "")


@given(st.binary(max_size=2000), st.lists(st.integers(0, 5000), max_size=12))
def test_sized_bodies_survive_any_split(body: bytes, cuts: list[int]) -> None:
    raw = post(b"Content-Length: %d" % len(body), body) + b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
    assert read_all(splits(raw, cuts)) == ([("/", body), ("/next", b"")], "")


PIECES = st.sampled_from(
    [
        b"GET", b"POST", b" ", b"/", b"HTTP/1.1", b"\r\n", b"\r", b"\n", b"Host: a\r\n", b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n", b"\r\n\r\n", b"abc", b"\x00", b":", b"\t",
        GET, b"POST / HTTP/1.1\r\nHost: a\r\n",
    ]
)  # fmt: skip


@given(st.lists(PIECES, max_size=12).map(b"".join), st.lists(st.integers(0, 500), max_size=12))
def test_any_bytes_are_read_alike_however_they_are_split(raw: bytes, cuts: list[int]) -> None:
    assert read_all(splits(raw, cuts)) == read_all([raw])


# ---------------------------------------------------------------- 100 Continue, half-close, drain, abort


def test_an_empty_line_leaves_the_connection_idle(connect: Connect) -> None:
    http = connect()
    http.receive_data(GET)
    http.next_event()
    http.send(ResponseHead(200, [], b"", True))
    http.receive_data(b"\r\n")
    assert http.next_event() is None
    assert http.idle
    http.receive_data(b"\r\n")
    with pytest.raises(errors.InvalidFraming):
        http.next_event()


@pytest.mark.parametrize("raw", [b"\r", b"\r\n", b"GET"])
def test_eof_after_the_beginning_of_nothing_closes(raw: bytes, connect: Connect) -> None:
    for eof_first in (False, True):
        http = connect()
        http.receive_data(raw)
        if not eof_first:
            assert http.next_event() is None
        http.receive_eof()
        assert http.next_event() is None
        assert http.closing


def test_an_upload_is_handed_on_without_copies(connect: Connect) -> None:
    http = connect()
    http.receive_data(post(b"Content-Length: 200000"))
    http.next_event()
    for last in (False, True):
        block = b"x" * 100_000
        http.receive_data(block)
        event = http.next_event()
        assert isinstance(event, Data)
        assert event.data is block
        assert event.end_stream is last


def test_a_long_pipeline_is_read_in_linear_time(connect: Connect) -> None:
    # Each request takes its bytes off the front of one buffer, which is not copied for it.
    http = connect()
    raw = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    http.receive_data(raw * 5000)
    buffers = set()
    for left in range(4999, -1, -1):
        assert isinstance(http.next_event(), Request)
        assert http.buffered == left * len(raw)
        if left:
            buffers.add(id(http._buffer))
        http.send(ResponseHead(200, [], b"", True))
        http.data_to_send()
    assert len(buffers) == 1


@pytest.mark.parametrize(
    ("raw", "goes_on"),
    [
        (post(b"Content-Length: 2", b"hi"), True),
        (post(b"Content-Length: 3", b"hi"), False),
        (chunked(b"2\r\nhi\r\n0\r\n\r\n"), True),
        (chunked(b"2\r\nhi\r\n"), False),
        (chunked(b"2\r\nhi!"), False),
    ],
)
def test_a_body_that_nobody_wanted_is_dropped_if_it_is_there(raw: bytes, goes_on: bool, connect: Connect) -> None:
    http = connect()
    http.receive_data(raw + GET if goes_on else raw)
    assert isinstance(http.next_event(), Request)
    http.send(ResponseHead(200, [], b"", True))
    assert http.closing is not goes_on
    event = http.next_event()
    assert isinstance(event, Request) is goes_on
    assert event is None or event.uri == "/"  # type: ignore[union-attr]


def test_a_drained_connection_reads_no_more_of_a_pipeline(connect: Connect) -> None:
    http = connect()
    http.receive_data(GET + GET)
    http.next_event()
    http.send(ResponseHead(200, []))
    http.drain()
    http.send(Data(b"", True))
    assert http.closing
    assert http.next_event() is None


def test_a_refused_head_request_gets_no_body(connect: Connect) -> None:
    http = connect()
    http.receive_data(get(b"Transfer-Encoding: chunked", b"HEAD") + b"x\r\n")
    http.next_event()
    with pytest.raises(errors.InvalidChunk) as caught:
        http.next_event()
    http.refuse(caught.value)
    assert http.data_to_send().endswith(b"Content-Length: 0\r\n\r\n")


def test_continue_is_sent_when_the_body_is_wanted(connect: Connect) -> None:
    http = connect()
    http.receive_data(post(b"Expect: 100-continue\r\nContent-Length: 2"))
    assert isinstance(http.next_event(), Request)
    assert http.data_to_send() == b""
    assert http.next_event() is None
    assert http.data_to_send() == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert http.next_event() is None
    assert http.data_to_send() == b""
    http.receive_data(b"hi")
    event = http.next_event()
    assert isinstance(event, Data)
    assert (event.data, event.end_stream) == (b"hi", True)


@pytest.mark.parametrize(
    "raw",
    [
        post(b"Expect: 100-continue\r\nContent-Length: 2", b"h"),
        b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
        post(b"Expect: 100-continue\r\nContent-Length: 0"),
    ],
    ids=["body has begun", "http/1.0", "no body"],
)
def test_continue_is_not_sent_where_it_makes_no_sense(raw: bytes, connect: Connect) -> None:
    http = connect()
    http.receive_data(raw)
    while http.next_event() is not None:
        pass
    assert http.data_to_send() == b""


def test_an_answer_without_the_body_sends_no_continue_and_closes(connect: Connect) -> None:
    http = connect()
    http.receive_data(post(b"Expect: 100-continue\r\nContent-Length: 2"))
    http.next_event()
    http.send(ResponseHead(403, [], b"no", True))
    assert http.closing
    sent = http.data_to_send()
    assert sent == b"HTTP/1.1 403 Forbidden\r\n" + SERVER + b"Content-Length: 2\r\nConnection: close\r\n\r\nno"
    http.receive_data(GET)  # whatever it is, it is no request
    assert http.next_event() is None


def test_half_close_after_a_request_still_gets_the_answer(connect: Connect) -> None:
    http = connect()
    http.receive_data(GET)
    assert isinstance(http.next_event(), Request)
    http.receive_eof()
    assert not http.closing
    http.send(ResponseHead(200, [], b"", True))
    assert http.data_to_send() == b"HTTP/1.1 200 OK\r\n" + SERVER + b"Content-Length: 0\r\nConnection: close\r\n\r\n"
    assert http.closing


def test_half_close_after_a_pipeline_still_gets_all_answers(connect: Connect) -> None:
    http = connect()
    http.receive_data(GET + GET)
    http.receive_eof()
    for _ in range(2):
        assert isinstance(http.next_event(), Request)
        http.send(ResponseHead(200, [], b"", True))
    sent = http.data_to_send()
    assert sent.count(b"HTTP/1.1 200 OK") == 2
    assert sent.count(b"Connection: close") == 1
    assert http.closing


def test_eof_in_a_head_ends_silently(read: Read) -> None:
    reading = read([GET[:10]], eof=True)
    assert reading.closing
    assert reading.output == b""
    assert reading.refusal is None


def test_eof_between_requests_ends_silently(read: Read) -> None:
    reading = read([], eof=True)
    assert reading.closing
    assert reading.output == b""


@pytest.mark.parametrize("raw", [post(b"Content-Length: 5", b"hel"), chunked(b"5\r\nhel"), chunked(b"5\r\nhello\r\n")])
def test_eof_in_a_body_is_told(raw: bytes, connect: Connect) -> None:
    http = connect()
    http.receive_data(raw)
    events = [http.next_event(), http.next_event()]
    assert isinstance(events[0], Request)
    assert isinstance(events[1], Data)
    assert not events[1].end_stream
    http.receive_eof()
    assert isinstance(http.next_event(), Disconnected)
    assert http.next_event() is None
    assert http.closing


def test_drain_closes_an_idle_connection(connect: Connect) -> None:
    http = connect()
    assert http.idle
    http.drain()
    assert http.closing


def test_drain_makes_the_request_at_hand_the_last(connect: Connect) -> None:
    http = connect()
    http.receive_data(GET + GET)
    http.next_event()
    http.drain()
    assert not http.closing
    http.send(ResponseHead(200, [], b"", True))
    assert b"Connection: close\r\n" in http.data_to_send()
    assert http.closing
    assert http.next_event() is None


def test_drain_during_a_response_closes_after_it(connect: Connect) -> None:
    http = connect()
    http.receive_data(GET)
    http.next_event()
    http.send(ResponseHead(200, []))
    http.drain()
    assert not http.closing
    http.send(Data(b"", True))
    assert http.closing


def test_abort_leaves_a_chunked_body_without_its_end(connect: Connect) -> None:
    http = connect()
    http.receive_data(GET)
    http.next_event()
    http.send(ResponseHead(200, [], b"ab"))
    http.abort()
    assert http.closing
    assert http.data_to_send().endswith(b"\r\n\r\n2\r\nab\r\n")
    with pytest.raises(errors.LocalProtocolError):
        http.send(Data(b"", True))


def test_a_refusal_during_a_response_adds_nothing_to_it(connect: Connect) -> None:
    http = connect()
    http.receive_data(chunked(b"1\r\nx\r\n"))
    http.next_event()
    http.send(ResponseHead(200, [], b"ab"))
    http.data_to_send()
    http.refuse(errors.InvalidChunk("bad"))
    assert http.data_to_send() == b""
    assert http.closing


def test_deadlines(connect: Connect) -> None:
    http = connect(head_timeout=1.0, keepalive=2.0, body_timeout=3.0)
    assert http.deadline() == 1.0
    http.receive_data(GET[:5])
    http.next_event()
    assert http.deadline() == 1.0
    http.receive_data(GET[5:])
    http.next_event()
    assert http.deadline() is None
    http.send(ResponseHead(200, [], b"", True))
    assert http.deadline() == 2.0
    http.receive_data(post(b"Content-Length: 1"))
    http.next_event()
    assert http.deadline() == 3.0
    http.receive_data(b"x")
    http.next_event()
    assert http.deadline() is None


def test_zero_deadlines_mean_never(connect: Connect) -> None:
    http = connect(head_timeout=0.0, body_timeout=0.0)
    assert http.deadline() is None
    http.receive_data(post(b"Content-Length: 1"))
    http.next_event()
    assert http.deadline() is None


def test_keepalive_zero_closes_after_each(connect: Connect) -> None:
    http = connect(keepalive=0.0)
    http.receive_data(get(b"Connection: keep-alive") + GET)
    http.next_event()
    http.send(ResponseHead(200, [], b"", True))
    assert http.closing
    assert b"Connection: close" in http.data_to_send()


# ---------------------------------------------------------------- responses

KEPT = b"Connection: keep-alive\r\n"
LAST = b"Connection: close\r\n"

# name: (request, events, status line, field lines after the preamble, body, closes)
ANSWERS: dict[str, tuple[bytes, list[Any], bytes, bytes, bytes, bool]] = {
    "whole": (GET, [ResponseHead(200, [], b"hi", True)], b"200 OK", b"Content-Length: 2\r\n", b"hi", False),
    "empty": (GET, [ResponseHead(200, [], b"", True)], b"200 OK", b"Content-Length: 0\r\n", b"", False),
    "field order": (GET, [ResponseHead(200, [("X-B", "1"), ("A", "2")], b"", True)], b"200 OK",
        b"X-B: 1\r\nA: 2\r\nContent-Length: 0\r\n", b"", False),
    "bytes": (GET, [ResponseHead(200, [(b"x", b"1")], b"", True)], b"200 OK", b"x: 1\r\nContent-Length: 0\r\n",
        b"", False),
    "reason": (GET, [ResponseHead(200, [], b"", True, "Fine")], b"200 Fine", b"Content-Length: 0\r\n", b"", False),
    "empty reason": (GET, [ResponseHead(200, [], b"", True, "")], b"200 ", b"Content-Length: 0\r\n", b"", False),
    "unknown status": (GET, [ResponseHead(299, [], b"", True)], b"299 ", b"Content-Length: 0\r\n", b"", False),
    "chunks": (GET, [ResponseHead(200, []), Data(b"hi"), Data(b""), Data(b"!"), Data(b"", True)], b"200 OK",
        b"Transfer-Encoding: chunked\r\n", b"2\r\nhi\r\n1\r\n!\r\n0\r\n\r\n", False),
    "last chunk with data": (GET, [ResponseHead(200, [], b"a"), Data(b"b", True)], b"200 OK",
        b"Transfer-Encoding: chunked\r\n", b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n", False),
    "sized stream": (GET, [ResponseHead(200, [("Content-Length", "3")]), Data(b"ab"), Data(b"c", True)], b"200 OK",
        b"Content-Length: 3\r\n", b"abc", False),
    "hop-by-hop fields are the server's": (GET,
        [ResponseHead(200, [("Connection", "keep-alive"), ("Transfer-Encoding", "gzip"), ("Keep-Alive", "x"),
                            ("Upgrade", "y")], b"", True)],
        b"200 OK", b"Content-Length: 0\r\n", b"", False),
    "the application closes": (GET, [ResponseHead(200, [("Connection", "close")], b"", True)], b"200 OK",
        b"Content-Length: 0\r\n" + LAST, b"", True),
    "the client closes": (get(b"Connection: close"), [ResponseHead(200, [], b"", True)], b"200 OK",
        b"Content-Length: 0\r\n" + LAST, b"", True),
    "head": (HEAD, [ResponseHead(200, [], b"hi", True)], b"200 OK", b"Content-Length: 2\r\n", b"", False),
    "head of a stream": (HEAD, [ResponseHead(200, []), Data(b"hi"), Data(b"", True)], b"200 OK", b"", b"", False),
    "head with length": (HEAD, [ResponseHead(200, [("Content-Length", "9")], b"", True)], b"200 OK",
        b"Content-Length: 9\r\n", b"", False),
    "204": (GET, [ResponseHead(204, [("Content-Length", "2")], b"hi", True)], b"204 No Content", b"", b"", False),
    "204 without a body": (GET, [ResponseHead(204, [], b"", True)], b"204 No Content", b"", b"", False),
    "304": (GET, [ResponseHead(304, [("ETag", "x")], b"hi", True)], b"304 Not Modified", b"ETag: x\r\n", b"", False),
    "304 with length": (GET, [ResponseHead(304, [("Content-Length", "7")], b"", True)], b"304 Not Modified",
        b"Content-Length: 7\r\n", b"", False),
    "http/1.0": (OLD, [ResponseHead(200, [], b"hi", True)], b"200 OK", b"Content-Length: 2\r\n" + LAST, b"hi", True),
    "http/1.0 stream": (OLD, [ResponseHead(200, []), Data(b"hi"), Data(b"", True)], b"200 OK", LAST, b"hi", True),
    "http/1.0 keep-alive": (get(KEPT.strip(), version=b"HTTP/1.0"), [ResponseHead(200, [], b"hi", True)], b"200 OK",
        b"Content-Length: 2\r\n" + KEPT, b"hi", False),
    "http/1.0 keep-alive stream": (get(KEPT.strip(), version=b"HTTP/1.0"),
        [ResponseHead(200, []), Data(b"hi"), Data(b"", True)], b"200 OK", LAST, b"hi", True),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_answers(name: str, connect: Connect) -> None:
    raw, events, status, lines, body, closes = ANSWERS[name]
    http = connect()
    for _ in range(1 if closes else 3):  # and the connection stays in step
        http.receive_data(raw)
        assert isinstance(http.next_event(), Request)
        for event in events:
            http.send(event)
        assert http.data_to_send() == b"HTTP/1.1 " + status + b"\r\n" + SERVER + lines + b"\r\n" + body
        assert http.closing == closes


def test_own_date_and_server_replace_ours(connect: Connect) -> None:
    http = connect()
    http.receive_data(GET)
    http.next_event()
    http.send(ResponseHead(200, [("Server", "mine"), ("Date", "now")], b"", True))
    assert http.data_to_send() == b"HTTP/1.1 200 OK\r\nServer: mine\r\nDate: now\r\nContent-Length: 0\r\n\r\n"


def test_interim_responses(connect: Connect) -> None:
    http = connect()
    http.receive_data(GET)
    http.next_event()
    http.send(Informational(103, [("Link", "</a>; rel=preload"), ("Content-Length", "5")]))
    assert http.data_to_send() == b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
    http.send(ResponseHead(200, [], b"", True))
    assert http.data_to_send().startswith(b"HTTP/1.1 200 OK")


def test_interim_responses_are_not_for_http_1_0(connect: Connect) -> None:
    http = connect()
    http.receive_data(OLD)
    http.next_event()
    http.send(Informational(103, [("Link", "x")]))
    assert http.data_to_send() == b""


# name: events of which the last is wrong
WRONG: dict[str, list[Any]] = {
    "header name with a space": [ResponseHead(200, [("A B", "1")], b"", True)],
    "header value with CRLF": [ResponseHead(200, [("A", "1\r\nSet-Cookie: x")], b"", True)],
    "header value with LF": [ResponseHead(200, [("A", "1\nB: 2")], b"", True)],
    "header value with NUL": [ResponseHead(200, [("A", "\0")], b"", True)],
    "header beyond latin-1": [ResponseHead(200, [("A", "€")], b"", True)],
    "header that is no pair": [ResponseHead(200, [("A",)], b"", True)],
    "reason with CRLF": [ResponseHead(200, [], b"", True, "OK\r\nA: 1")],
    "status of two digits": [ResponseHead(99, [], b"", True)],
    "interim status as final": [ResponseHead(103, [], b"", True)],
    "length in words": [ResponseHead(200, [("Content-Length", "two")], b"hi", True)],
    "two lengths": [ResponseHead(200, [("Content-Length", "1"), ("Content-Length", "2")], b"hi", True)],
    "length too short": [ResponseHead(200, [("Content-Length", "1")], b"hi", True)],
    "length too long": [ResponseHead(200, [("Content-Length", "3")], b"hi", True)],
    "final status as interim": [Informational(200)],
    "switching protocols": [Informational(101)],
    "length of 5000 digits": [ResponseHead(200, [("Content-Length", "1" * 5000)], b"", True)],
    "interim response after the head": [ResponseHead(200, []), Informational(103)],
    "two heads": [ResponseHead(200, []), ResponseHead(200, [])],
    "body before the head": [Data(b"hi")],
    "more than the length": [ResponseHead(200, [("Content-Length", "1")]), Data(b"a"), Data(b"b")],
    "less than the length": [ResponseHead(200, [("Content-Length", "3")]), Data(b"a", True)],
    "body after the end": [ResponseHead(200, [], b"", True), Data(b"hi")],
    "head after the end": [ResponseHead(200, [], b"", True), ResponseHead(200, [], b"", True)],
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_answers_are_the_applications_fault(name: str, connect: Connect) -> None:
    *before, last = WRONG[name]
    http = connect()
    http.receive_data(GET)
    http.next_event()
    for event in before:
        http.send(event)
    sent = http.data_to_send()
    with pytest.raises(errors.LocalProtocolError):
        http.send(last)
    assert http.data_to_send() == b""
    if not sent:  # then a proper answer is still possible
        http.send(ResponseHead(500, [], b"", True))
        assert http.data_to_send().startswith(b"HTTP/1.1 500 ")


@pytest.mark.parametrize(("length", "part"), [("3", b"a"), ("1", b"ab")])
def test_a_wrong_length_closes_the_connection(length: str, part: bytes, connect: Connect) -> None:
    http = connect()
    http.receive_data(GET)
    http.next_event()
    http.send(ResponseHead(200, [("Content-Length", length)]))
    http.data_to_send()
    with pytest.raises(errors.LocalProtocolError):
        http.send(Data(part, True))
    assert http.closing
    assert http.data_to_send() == b""


# ---------------------------------------------------------------- any response, as clients read it


class Wire:
    """A socket for http.client, with what the server has sent."""

    def __init__(self, sent: bytes) -> None:
        self._sent = sent

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._sent)


def small_reader(sent: bytes, method: str) -> tuple[int, str, list[tuple[str, str]], bytes, bytes]:
    """Status, reason, fields, body, and what is left, as RFC 9112 section 6.3 has a client read *sent*."""
    head, end, rest = sent.partition(b"\r\n\r\n")
    assert end
    line, *lines = head.decode("latin-1").split("\r\n")
    version, status, reason = line.split(" ", 2)
    assert version == "HTTP/1.1"
    fields = []
    for each in lines:
        name, colon, value = each.partition(": ")
        assert colon
        fields.append((name, value))
    named = {name.lower(): value for name, value in fields}
    if method == "HEAD" or status in ("204", "304"):
        return int(status), reason, fields, b"", rest
    if "transfer-encoding" in named:
        assert named["transfer-encoding"] == "chunked"
        assert "content-length" not in named
        body = b""
        while True:
            size, end, rest = rest.partition(b"\r\n")
            assert end
            number = int(size, 16)
            body += rest[:number]
            assert rest[number : number + 2] == b"\r\n"
            rest = rest[number + 2 :]
            if not number:
                return int(status), reason, fields, body, rest
    if "content-length" in named:
        length = int(named["content-length"])
        assert len(rest) >= length
        return int(status), reason, fields, rest[:length], rest[length:]
    assert named["connection"] == "close"
    return int(status), reason, fields, rest, b""


ANSWERED = [
    GET,
    HEAD,
    OLD,
    get(KEPT.strip(), version=b"HTTP/1.0"),
    get(b"Connection: close"),
    HEAD.replace(b"1.1", b"1.0"),
]
OUR_NAMES = {"server", "date", "connection", "content-length", "transfer-encoding"}
RESPONSE_FIELDS = st.lists(
    st.tuples(
        st.text("abcXYZ019-", min_size=1, max_size=10).map(lambda name: f"X-{name}"),
        st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20),
    ),
    max_size=5,
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(ANSWERED),
            st.sampled_from([200, 201, 204, 304, 404, 500, 599]),
            RESPONSE_FIELDS,
            st.lists(st.binary(max_size=60), max_size=4),
            st.booleans(),  # whether the application gives the length
            st.booleans(),  # whether the first part comes with the head
        ),
        min_size=1,
        max_size=4,
    )
)
def test_any_response_is_read_as_it_was_meant(turns: list[tuple[bytes, int, Any, list[bytes], bool, bool]]) -> None:
    http = H1Connection(HeadReader(Policy()), Preamble("gunicorn", 0.0))
    for raw, status, fields, parts, sized, at_once in turns:
        http.receive_data(raw)
        request = http.next_event()
        assert isinstance(request, Request)
        whole = b"".join(parts)
        headers = [*fields, ("Content-Length", str(len(whole)))] if sized else fields
        if at_once and len(parts) == 1:
            http.send(ResponseHead(status, headers, parts[0], True))
        else:
            http.send(ResponseHead(status, headers, parts[0] if at_once and parts else b""))
            for part in parts[1:] if at_once else parts:
                http.send(Data(part))
            http.send(Data(b"", True))
        sent = http.data_to_send()
        bodiless = request.method == "HEAD" or status in (204, 304)

        found_status, _, found, body, rest = small_reader(sent, request.method)
        assert (found_status, body, rest) == (status, b"" if bodiless else whole, b"")
        assert [pair for pair in found if pair[0].lower() not in OUR_NAMES] == fields
        names = [name.lower() for name, _ in found]
        assert all(names.count(name) <= 1 for name in OUR_NAMES)
        assert (("Connection", "close") in found) == http.closing
        if sized and status != 204:
            assert ("Content-Length", str(len(whole))) in found

        response = http_client.HTTPResponse(Wire(sent), method=request.method)  # type: ignore[arg-type]
        response.begin()
        assert (response.status, response.read()) == (status, b"" if bodiless else whole)
        assert response.will_close == http.closing
        response.close()
        if http.closing:
            break


# ---------------------------------------------------------------- the memory of the last request and answer

REQUESTS = [
    GET,
    GET.replace(b"Host: a", b"Host: b"),
    HEAD,
    get(b"X: 1"),
    get(b"Cookie: a=1"),
    get(b"Cookie: a=2"),
    get(KEPT.strip(), version=b"HTTP/1.0"),
    post(b"Content-Length: 2", b"hi"),
    post(b"Content-Length: 2", b"ho"),
    chunked(b"2\r\nhi\r\n0\r\n\r\n"),
]
RESPONSES: list[tuple[int, Any, bytes, str | None]] = [
    (200, [], b"one", None),
    (200, [], b"two", None),
    (200, [], b"", None),
    (200, [("X", "1")], b"one", None),
    (200, (("X", "1"),), b"one", None),
    (200, (), b"one", None),
    (200, [("X", "2")], b"one", None),
    (200, [("X", "1"), ("Content-Length", "3")], b"one", None),
    (200, [(b"X", b"1")], b"one", None),
    (404, [], b"one", None),
    (200, [], b"one", "Fine"),
    (204, [], b"", None),
    (304, [], b"", None),
    (200, [("Date", "now")], b"one", None),
    (200, [("Server", "mine")], b"one", None),
]


def answer_all(http: H1Connection, turns: list[tuple[bytes, tuple[int, Any, bytes, str | None]]]) -> list[Any]:
    found: list[Any] = []
    for raw, (status, headers, body, reason) in turns:
        http.receive_data(raw)
        while (event := http.next_event()) is not None:
            if isinstance(event, Request):
                found.append((event.method, event.headers, event.version))
            else:
                assert isinstance(event, Data)
                found.append(event.data)
        http.send(ResponseHead(status, headers, body, True, reason))
        found.append(http.data_to_send())
    return found


def check_turns(turns: list[tuple[bytes, Any]]) -> None:
    reader = HeadReader(Policy())
    together = answer_all(H1Connection(reader, Preamble("gunicorn", 0.0)), turns)
    apart: list[Any] = []
    for turn in turns:
        apart += answer_all(H1Connection(reader, Preamble("gunicorn", 0.0)), [turn])
    assert together == apart


@pytest.mark.parametrize("raw", REQUESTS)
def test_the_same_request_gets_each_its_own_answer(raw: bytes) -> None:
    for first in RESPONSES:
        for second in RESPONSES:
            check_turns([(raw, first), (raw, first), (raw, second)])


@given(st.lists(st.tuples(st.sampled_from(REQUESTS), st.sampled_from(RESPONSES)), max_size=8))
def test_no_request_or_answer_leaks_into_another(turns: list[tuple[bytes, Any]]) -> None:
    check_turns(turns)


def test_a_changed_header_list_is_seen(connect: Connect) -> None:
    http = connect()
    headers = [("X", "1")]
    for value in ("1", "1", "2", "2", "1"):
        headers[0] = ("X", value)
        http.receive_data(GET)
        http.next_event()
        http.send(ResponseHead(200, headers, b"", True))
        assert b"\r\nX: %b\r\n" % value.encode() in http.data_to_send()


def test_a_renewed_date_is_seen() -> None:
    preamble = Preamble("gunicorn", 0.0)
    http = H1Connection(HeadReader(Policy()), preamble)
    for second in (0, 0, 1, 1):
        preamble.renew(second)
        http.receive_data(GET)
        http.next_event()
        http.send(ResponseHead(200, [], b"", True))
        assert b"00:00:0%d GMT\r\n" % second in http.data_to_send()


def test_a_repeated_request_is_drained_too(connect: Connect) -> None:
    http = connect()
    for _ in range(2):
        http.receive_data(GET)
        http.next_event()
        http.send(ResponseHead(200, [], b"", True))
        http.data_to_send()
    http.receive_data(GET)
    http.next_event()
    http.drain()
    http.send(ResponseHead(200, [], b"", True))
    assert LAST in http.data_to_send()
    assert http.closing


def test_a_repeated_request_with_a_wrong_length_is_noticed(connect: Connect) -> None:
    http = connect()
    headers = [("Content-Length", "2")]
    http.receive_data(GET)
    http.next_event()
    http.send(ResponseHead(200, headers, b"hi", True))
    http.data_to_send()
    http.receive_data(GET)
    http.next_event()
    with pytest.raises(errors.LocalProtocolError):
        http.send(ResponseHead(200, headers, b"hi!", True))
    assert http.data_to_send() == b""
