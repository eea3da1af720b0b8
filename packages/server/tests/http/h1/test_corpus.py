"""The corpus (tests/corpus): each entry gets the reading, or the refusal, that stands beside it, however it arrives."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gunicorn.http import errors
from gunicorn.http.events import Data, Request, ResponseHead
from gunicorn.http.h1.connection import H1Connection
from gunicorn.http.h1.head import HeadReader
from gunicorn.http.h1.response import Preamble
from gunicorn.http.policy import Policy, upper_names

LONGEST_SPLIT = 400  # bytes of an entry that is cut in two at every place; longer ones come byte by byte only


def load_corpus() -> Any:
    path = Path(__file__).parents[2] / "corpus" / "corpus.py"
    spec = importlib.util.spec_from_file_location("corpus", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["corpus"] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


CORPUS = load_corpus()
ENTRIES = {entry.name: entry for entry in CORPUS.load()}


def policy_of(settings: dict[str, Any]) -> Policy:
    changed = dict(settings)
    if "forwarder_headers" in changed:
        changed["forwarder_headers"] = frozenset(upper_names(changed["forwarder_headers"]))
    if "forwarded_allow_ips" in changed:
        changed["forwarded_allow_ips"] = tuple(changed["forwarded_allow_ips"].split(","))
    return Policy(**changed)


class Outcome:
    """What a client at 127.0.0.1 gets that sends *pieces*; every request is answered with 200 and no body."""

    def __init__(self, reader: HeadReader, pieces: list[bytes]) -> None:
        self.requests: list[Request] = []
        self.bodies: list[bytes] = []
        self.complete = 0
        self.refusal = ""
        self.status = 0
        self.http = H1Connection(reader, Preamble("gunicorn", 0.0), False, reader.policy.trusts("127.0.0.1"))
        for piece in pieces:
            if self.http.closing:
                break
            self.http.receive_data(piece)
            self._pull()
        self.closing = self.http.closing
        self.waiting = not self.closing and not self.http.idle
        self.output = self.http.data_to_send().replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")

    def _pull(self) -> None:
        try:
            while (event := self.http.next_event()) is not None:
                if isinstance(event, Request):
                    self.requests.append(event)
                    self.bodies.append(b"")
                else:
                    assert isinstance(event, Data)
                    self.bodies[-1] += event.data
                if event.end_stream:
                    self.complete += 1
                    self.http.send(ResponseHead(200, [], b"", True))
        except errors.RemoteProtocolError as error:
            self.refusal, self.status = str(error), error.status
            self.http.refuse(error)

    def readings(self) -> list[Any]:
        """The complete requests, in the terms of the corpus."""
        return [
            CORPUS.Reading(
                request.method,
                request.uri,
                "{}.{}".format(*request.version),
                [(name.decode("latin-1"), value.decode("latin-1")) for name, value in
                 (field.pair for field in request.fields)],
                body.decode("latin-1"),
                request.target.path_bytes.decode("latin-1"),
                request.scheme,
                request.script_name,
            )
            for request, body in zip(self.requests[: self.complete], self.bodies, strict=False)
        ]  # fmt: skip


def arrivals(raw: bytes) -> Iterator[list[bytes]]:
    """Whole, byte by byte, and in two pieces."""
    yield [raw]
    yield [raw[index : index + 1] for index in range(len(raw))]
    if len(raw) <= LONGEST_SPLIT:
        yield from ([raw[:index], raw[index:]] for index in range(1, len(raw)))


def test_the_corpus_is_large_enough() -> None:
    ends = [entry.end for entry in ENTRIES.values()]
    assert len(ends) >= 600
    assert ends.count("refused") >= 300
    assert ends.count("open") >= 200


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_is_read_as_it_says(name: str) -> None:
    entry = ENTRIES[name]
    reader = HeadReader(policy_of(entry.settings))
    expected = [(reading.method, reading.target, reading.version, reading.fields, reading.body, reading.decoded_path,
                 reading.scheme, reading.script_name) for reading in entry.readings]  # fmt: skip
    first = None
    for pieces in arrivals(entry.raw):
        found = Outcome(reader, pieces)
        assert [(one.method, one.target, one.version, one.fields, one.body, one.path, one.scheme, one.script_name)
                for one in found.readings()] == expected, pieces  # fmt: skip
        assert found.status == entry.status, (found.refusal, pieces)
        assert found.refusal.endswith(f"({entry.clause})" if entry.status else ""), pieces
        assert found.closing == (entry.end in ("closed", "refused")), pieces
        assert found.output.count(b"\r\nServer: gunicorn\r\n") == len(expected) + bool(entry.status), pieces
        # Nothing of it depends on how it came, not even the words of a refusal.
        first = first or found
        assert (found.refusal, found.output) == (first.refusal, first.output), pieces


@pytest.mark.parametrize("name", [name for name, entry in ENTRIES.items() if entry.end == "waits"])
def test_an_unfinished_request_ends_silently_with_its_client(name: str) -> None:
    entry = ENTRIES[name]
    found = Outcome(HeadReader(policy_of(entry.settings)), [entry.raw])
    http = found.http
    http.receive_eof()
    while http.next_event() is not None:
        pass
    assert http.closing
    assert http.data_to_send().replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"") == b""


@pytest.mark.parametrize("name", [name for name, entry in ENTRIES.items() if entry.end == "refused"])
def test_a_refused_connection_says_nothing_more(name: str) -> None:
    entry = ENTRIES[name]
    http = Outcome(HeadReader(policy_of(entry.settings)), [entry.raw]).http
    http.receive_data(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert http.next_event() is None
    assert http.data_to_send() == b""
    with pytest.raises(errors.LocalProtocolError):
        http.send(ResponseHead(200, [], b"", True))
