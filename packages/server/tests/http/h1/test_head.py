"""HeadReader: what a head says beyond its fields: scheme, persistence, framing, mount point."""

import pytest
from gunicorn.http import errors
from gunicorn.http.events import Request
from gunicorn.http.h1.head import LONGEST_KEPT_LINE, MOST_KEPT_LINES, HeadReader, Progress
from gunicorn.http.policy import Policy
from hypothesis import given
from hypothesis import strategies as st


def read(lines: bytes, first: bytes = b"GET / HTTP/1.1", secure: bool = False, trusted: bool = False,
         **policy: object) -> Request:  # fmt: skip
    head = b"\r\n".join(part for part in (first, b"Host: a", lines) if part)
    return HeadReader(Policy(**policy)).read(head, secure, trusted)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("lines", "secure", "trusted", "scheme"),
    [
        (b"", False, False, "http"),
        (b"", True, False, "https"),
        (b"X-Forwarded-Proto: https", False, True, "https"),
        (b"X-Forwarded-Proto: https", False, False, "http"),
        (b"X-Forwarded-Proto: http", True, True, "http"),
        (b"X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: on", False, True, "https"),
        (b"X-Forwarded-Protocol: ssl", False, True, "https"),
        (b"Forwarded: proto=https", False, True, "http"),
    ],
)
def test_scheme(lines: bytes, secure: bool, trusted: bool, scheme: str) -> None:
    assert read(lines, secure=secure, trusted=trusted).scheme == scheme


def test_a_proxy_that_contradicts_itself_is_refused() -> None:
    lines = b"X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off"
    with pytest.raises(errors.InvalidHeader, match="disagree"):
        read(lines, trusted=True)
    assert read(lines).scheme == "http"


@pytest.mark.parametrize(
    ("version", "lines", "keepalive", "keep_alive"),
    [
        (b"1.1", b"", 2, True),
        (b"1.1", b"Connection: close", 2, False),
        (b"1.1", b"Connection: X, Close", 2, False),
        (b"1.1", b"Connection: keep-alive\r\nConnection: close", 2, False),
        (b"1.1", b"Connection: close\r\nConnection: keep-alive", 2, False),
        (b"1.1", b"Connection: upgrade", 2, True),
        (b"1.0", b"", 2, False),
        (b"1.0", b"Connection: keep-alive", 2, True),
        (b"1.0", b"Connection: keep-alive, close", 2, False),
        (b"1.1", b"Connection: keep-alive", 0, False),
        (b"1.0", b"Connection: keep-alive", 0, False),
    ],
)
def test_keep_alive(version: bytes, lines: bytes, keepalive: float, keep_alive: bool) -> None:
    assert read(lines, b"GET / HTTP/" + version, keepalive=keepalive).keep_alive is keep_alive


@pytest.mark.parametrize(
    ("lines", "trusted", "header_map", "names", "script_name"),
    [
        (b"Script_Name: /app", True, "drop", ["HTTP_SCRIPT_NAME"], "/app"),
        (b"Script_Name: /app", False, "drop", [], ""),
        (b"Script_Name: /app", False, "dangerous", ["HTTP_SCRIPT_NAME"], ""),
        (b"X_A: 1", True, "drop", [], ""),
        (b"X_A: 1", True, "dangerous", ["HTTP_X_A"], ""),
        (b"X_A: 1\r\nX_B: 2", False, "drop", [], ""),
    ],
)
def test_header_map(lines: bytes, trusted: bool, header_map: str, names: list[str], script_name: str) -> None:
    request = read(lines, trusted=trusted, header_map=header_map)
    assert [field.key for field in request.fields] == ["HTTP_HOST", *names]
    assert request.script_name == script_name


def test_header_map_refuse_spares_trusted_forwarders() -> None:
    assert read(b"Script_Name: /app", trusted=True, header_map="refuse").script_name == "/app"
    with pytest.raises(errors.InvalidHeader, match="underscore"):
        read(b"Script_Name: /app", header_map="refuse")


@pytest.mark.parametrize(
    ("raw", "path", "decoded", "query"),
    [
        (b"/", b"/", b"/", b""),
        (b"/a%20b", b"/a%20b", b"/a b", b""),
        (b"/%C3%A9", b"/%C3%A9", b"/\xc3\xa9", b""),
        (b"/%2e%2E/%2f", b"/%2e%2E/%2f", b"/..//", b""),
        (b"/%zz%", b"/%zz%", b"/%zz%", b""),
        (b"/?a?b", b"/", b"/", b"a?b"),
        (b"//a", b"//a", b"//a", b""),
        (b"/a;b=c", b"/a;b=c", b"/a;b=c", b""),
        (b"/\xc3\xa9", b"/\xc3\xa9", b"/\xc3\xa9", b""),
        (b"http://h", b"/", b"/", b""),
        (b"HTTP://h?q", b"/", b"/", b"q"),
        (b"https://h:1/p?q", b"/p", b"/p", b"q"),
    ],
)
def test_targets(raw: bytes, path: bytes, decoded: bytes, query: bytes) -> None:
    target = read(b"", b"GET " + raw + b" HTTP/1.1").target
    assert (target.raw, target.path, target.path_bytes, target.query) == (raw.decode("latin-1"), path, decoded, query)


def test_the_scheme_of_an_absolute_target_is_not_believed() -> None:
    assert read(b"", b"GET https://h/ HTTP/1.1").scheme == "http"


def test_upgrades_are_ignored() -> None:
    request = read(b"Connection: upgrade, http2-settings\r\nUpgrade: h2c")
    assert request.end_stream
    assert request.keep_alive


def test_permitted_versions_are_read_as_1_1() -> None:
    assert read(b"", b"GET / HTTP/1.9", permit_unconventional_http_version=True).version == (1, 1)
    with pytest.raises(errors.InvalidHTTPVersion):
        read(b"", b"GET / HTTP/2.0", permit_unconventional_http_version=True)


def test_targets_are_remembered_within_bounds() -> None:
    reader = HeadReader(Policy())
    reader.read(b"GET / HTTP/1.1\r\nHost: a", False, False)
    first = reader.read(b"GET / HTTP/1.1\r\nHost: a", False, False).target
    assert reader.read(b"GET / HTTP/1.1\r\nHost: b", False, False).target is first
    long = b"GET /" + b"x" * LONGEST_KEPT_LINE + b" HTTP/1.1\r\nHost: a"
    assert reader.read(long, False, False).target is not reader.read(long, False, False).target
    for number in range(MOST_KEPT_LINES + 10):
        reader.read(b"GET /%d HTTP/1.1\r\nHost: a" % number, False, False)
        reader.read(b"GET /%d HTTP/1.1\r\nHost: a" % number, False, False)
        assert len(reader._targets) <= MOST_KEPT_LINES
    assert len(reader._targets) >= 10


def test_remembered_lines_do_not_carry_trust_over() -> None:
    reader = HeadReader(Policy())
    head = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\nScript_Name: /x"
    trusted = reader.read(head, False, True)
    other = reader.read(head, False, False)
    assert (trusted.scheme, trusted.script_name, len(trusted.fields)) == ("https", "/x", 3)
    assert (other.scheme, other.script_name, len(other.fields)) == ("http", "", 2)


SEGMENTS = st.text("abcXYZ012-._~!$&'()*+,;=:@%/", max_size=30)


@given(st.sampled_from(["GET", "PUT", "DELETE", "M-SEARCH"]), SEGMENTS, SEGMENTS, st.integers(0, 1))
def test_any_valid_request_line_is_read_as_it_was_written(method: str, path: str, query: str, minor: int) -> None:
    raw = f"/{path}?{query}"
    request = read(b"", f"{method} {raw} HTTP/1.{minor}".encode())
    assert (request.method, request.uri, request.version) == (method, raw, (1, minor))
    assert (request.path, request.query) == (f"/{path}", query)


NAMES = st.text("ABCxyz019!#$%&'*+-.^`|~", min_size=1, max_size=12).map(lambda name: f"X-{name}")
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=20)
FIELDS = st.lists(st.tuples(NAMES, VALUES.map(str.strip)), max_size=12)
SPACES = st.sampled_from(["", " ", "\t", " \t "])


def head_of(fields: list[tuple[str, str]], before: str = " ", after: str = "") -> bytes:
    lines = "".join(f"\r\n{name}:{before}{value}{after}" for name, value in fields)
    return f"GET /a HTTP/1.1\r\nHost: a{lines}".encode("latin-1")


@given(FIELDS, SPACES, SPACES)
def test_any_valid_fields_are_read_as_they_were_written(fields: list[tuple[str, str]], before: str, after: str) -> None:
    reader = HeadReader(Policy(secure_scheme_headers={}))
    for _ in range(3):  # new, met before, remembered
        request = reader.read(head_of(fields, before, after), False, False)
        found = [(field.pair[0].decode("latin-1"), field.text) for field in request.fields]
        assert found == [("host", "a"), *((name.lower(), value.strip(" \t")) for name, value in fields)]


@given(FIELDS, st.sampled_from(["\0", "\n", "\r", "\x0b", "\x7f"]), st.integers(0, 1000))
def test_a_control_character_anywhere_refuses_the_head(fields: list[tuple[str, str]], byte: str, place: int) -> None:
    head = head_of(fields)
    place %= len(head) + 1
    reader = HeadReader(Policy())
    reader.read(head, False, False)
    with pytest.raises(errors.RemoteProtocolError):
        reader.read(head[:place] + byte.encode() + head[place:], False, False)


@given(FIELDS, st.sampled_from([b"Content-Length: 1", b"Transfer-Encoding: chunked", b"Host: a"]), st.integers(0, 20))
def test_what_frames_a_request_stands_once(fields: list[tuple[str, str]], line: bytes, place: int) -> None:
    lines = head_of(fields).split(b"\r\n")
    lines.insert(1 + place % len(lines), line)
    lines.insert(1 + (place * 7) % len(lines), b"Content-Length: 1")
    with pytest.raises(errors.RemoteProtocolError):
        HeadReader(Policy()).read(b"\r\n".join(lines), False, False)


def progress_of(head: bytes, pieces: int = 1, **policy: object) -> Progress:
    reader, progress, buffer = HeadReader(Policy(**policy)), Progress(), bytearray()  # type: ignore[arg-type]
    size = len(head) // pieces + 1
    for start in range(0, len(head), size):
        buffer += head[start : start + size]
        reader.check_unfinished(buffer, progress)
    return progress


@pytest.mark.parametrize("pieces", [1, 2, 7, 1000])
def test_an_unfinished_head_is_looked_at_once(pieces: int) -> None:
    head = b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nY: unfin"
    progress = progress_of(head, pieces)
    assert (progress.scanned, progress.lines, progress.line) == (len(head), 3, len(head) - len("Y: unfin"))


@pytest.mark.parametrize("pieces", [1, 2, 7, 1000])
@pytest.mark.parametrize(
    ("head", "error"),
    [
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 60, errors.LimitRequestHeaders),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 60 + b"\r\nY", errors.LimitRequestHeaders),
        (b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 4, errors.LimitRequestHeaders),
        (b"GET /" + b"x" * 60, errors.LimitRequestLine),
        (b"GET /" + b"x" * 60 + b" HTTP/1.1\r\nX", errors.LimitRequestLine),
        (b"GET / HTTP/1.1\r\nX: 1\n", errors.InvalidFraming),
        (b"GET / HTTP/1.1\r\nX : 1\r\nY: 1\n", errors.InvalidHeaderName),
        (b"G@T / HTTP/1.1\r\nX: 1\n", errors.InvalidRequestMethod),
    ],
)
def test_an_unfinished_head_that_nothing_can_mend(
    head: bytes, pieces: int, error: type[errors.RemoteProtocolError]
) -> None:
    with pytest.raises(error):
        progress_of(head, pieces, limit_request_line=50, limit_request_field_size=50, limit_request_fields=3)


def test_an_unfinished_folded_head_is_measured_as_a_whole() -> None:
    limits = {"limit_request_line": 50, "limit_request_field_size": 50, "limit_request_fields": 3}
    head = b"GET / HTTP/1.1\r\nX: 1" + b"\r\n " * 40
    progress_of(head, 5, permit_obsolete_folding=True, **limits)
    for pieces in (1, 7):
        with pytest.raises(errors.LimitRequestHeaders):
            progress_of(head + b" " * 200, pieces, permit_obsolete_folding=True, **limits)


def test_a_request_like_the_last_has_its_own_target() -> None:
    reader = HeadReader(Policy())
    last = reader.read(b"GET /a?b HTTP/1.1\r\nHost: a\r\nX: 1", True, True)
    request = reader.read_like(last, b"PUT /c?d HTTP/1.1")
    assert request is not None
    assert (request.method, request.uri, request.fields, request.scheme) == ("PUT", "/c?d", last.fields, "https")
    for line in (b"GET /a HTTP/1.0", b"GET http://b/ HTTP/1.1"):
        assert reader.read_like(last, line) is None
    with pytest.raises(errors.InvalidRequestLine):
        reader.read_like(last, b"GET  / HTTP/1.1")
