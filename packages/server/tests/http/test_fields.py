"""FieldTable: one field line at a time, and the memory of lines seen before."""

import string

import pytest
from gunicorn.http import errors, fields
from gunicorn.http.fields import Field, FieldTable
from gunicorn.http.policy import Policy
from hypothesis import given
from hypothesis import strategies as st


def table(**policy: object) -> FieldTable:
    return FieldTable(Policy(**policy))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("line", "kind", "parsed"),
    [
        (b"Accept: */*", fields.PLAIN, None),
        (b"Host: a:80", fields.HOST_FIELD, b"a:80"),
        (b"Content-Length: 12", fields.CONTENT_LENGTH, 12),
        (b"Transfer-Encoding: Chunked", fields.TRANSFER_ENCODING, b"chunked"),
        (b"Connection: Keep-Alive, X ,,", fields.CONNECTION, frozenset({b"keep-alive", b"x"})),
        (b"Expect: 100-Continue", fields.EXPECT, b"100-Continue"),
        (b"X_Y: 1", fields.UNDERSCORED, None),
        (b"X-Forwarded-Proto: https", fields.SCHEME, True),
        (b"X-Forwarded-Proto: HTTPS", fields.SCHEME, True),
        (b"X-Forwarded-Proto: http", fields.SCHEME, False),
    ],
)
def test_kinds(line: bytes, kind: int, parsed: object) -> None:
    found = table().read(line)
    assert (found.kind, found.parsed) == (kind, parsed)


def test_a_scheme_header_may_have_an_underscore() -> None:
    found = table(secure_scheme_headers={"X_PROTO": "https"}).read(b"x_proto: https")
    assert (found.kind, found.parsed) == (fields.SCHEME, True)


@pytest.mark.parametrize(
    ("line", "key"),
    [
        (b"Accept-Language: de", "HTTP_ACCEPT_LANGUAGE"),
        (b"content-type: text/plain", "CONTENT_TYPE"),
        (b"Content-Length: 1", "CONTENT_LENGTH"),
        (b"Content-Type-2: x", "HTTP_CONTENT_TYPE_2"),
    ],
)
def test_environ_keys(line: bytes, key: str) -> None:
    found = table().read(line)
    assert found.key == key
    assert found.item == (key, found.text)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"Host: a b", errors.InvalidHost),
        (b"Content-Length: 1a", errors.InvalidFraming),
        (b"Content-Length: 12345678901234567890", errors.ContentTooLarge),
        (b"Expect: cake", errors.ExpectationFailed),
        (b"no colon", errors.InvalidHeader),
        (b"n(me: 1", errors.InvalidHeaderName),
        (b"X: a\x00b", errors.InvalidHeader),
        (b"X: a\x1fb", errors.InvalidHeader),
        (b"X" * 9000 + b": 1", errors.LimitRequestHeaders),
    ],
)
def test_refused_lines_are_not_remembered(line: bytes, error: type[errors.RemoteProtocolError]) -> None:
    each = table()
    for _ in range(2):
        with pytest.raises(error):
            each.read(line)
    assert each.known == {}


def test_lines_that_come_again_are_remembered() -> None:
    each = table()
    each.read(b"Accept: a")
    assert each.known == {}
    found = each.read(b"Accept: a")
    assert each.known == {b"Accept: a": found}


def test_long_lines_are_not_remembered() -> None:
    each = table()
    for _ in range(2):
        each.read(b"Cookie: " + b"x" * fields.LONGEST_KEPT_LINE)
    assert each.known == {}


def test_the_memory_has_a_bound() -> None:
    each = table()
    for number in range(fields.MOST_KEPT_LINES + 10):
        each.read(b"X: %d" % number)
        each.read(b"X: %d" % number)
        assert len(each.known) <= fields.MOST_KEPT_LINES
    assert len(each.known) >= 10


def test_the_memory_of_names_has_a_bound() -> None:
    each = table()
    for number in range(fields.MOST_KEPT_NAMES + 10):
        each.read(b"X-%d: 1" % number)
        assert len(each._names) <= fields.MOST_KEPT_NAMES
    each.read(b"x" * (fields.LONGEST_KEPT_NAME + 1) + b": 1")
    assert all(len(name) <= fields.LONGEST_KEPT_NAME for name in each._names)


def test_a_known_name_needs_its_colon() -> None:
    each = table()
    each.read(b"Host: a")
    with pytest.raises(errors.InvalidHeader, match="no colon"):
        each.read(b"Host")


TOKENS = st.text(string.ascii_letters + string.digits + "!#$%&'*+-.^`|~", min_size=1, max_size=20)
VALUES = st.binary(max_size=40).map(lambda value: bytes(byte for byte in value if byte >= 32 and byte != 127).strip())


@given(TOKENS, VALUES, st.sampled_from([b"", b" ", b"\t", b" \t "]))
def test_any_valid_line_is_read_as_it_was_written(name: str, value: bytes, space: bytes) -> None:
    plain = Policy(secure_scheme_headers={})
    if name.encode().lower() in fields.KINDS:
        return
    found = FieldTable(plain).read(name.encode() + b":" + space + value + space)
    assert found.pair == (name.encode().lower(), value)
    assert found.text == value.decode("latin-1")


def test_a_field_shows_itself() -> None:
    assert repr(Field(b"a", b"b", fields.PLAIN, None)) == "Field(b'a', b'b')"
