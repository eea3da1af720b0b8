"""The corpus of raw requests over real sockets: all workers read each entry as it says, hence all alike.

The entries are packages/server/tests/corpus; apps/house_echo.py reports what applications see. Each entry is sent
whole, byte by byte, and whole by a client that then closes its side, on a connection of its own each time; many
connections are served side by side.
"""

from __future__ import annotations

import importlib.util
import json
import re
import selectors
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from integration.conftest import Server

WORKERS = {
    "sync": ("--worker-class", "sync", "house_echo:wsgi"),
    "gthread": ("--worker-class", "gthread", "--threads", "4", "house_echo:wsgi"),
    "gevent": ("--worker-class", "gevent", "house_echo:wsgi"),
    "asgi": ("--worker-class", "asgi", "house_echo:asgi"),
}
SIDE_BY_SIDE = 120  # connections at a time
MOST_PIECES = 600  # of one entry; a longer one is not cut at every byte
PATIENCE = 60.0  # seconds, for as many
PROBE = b"GET /probe HTTP/1.1\r\nHost: probe\r\n\r\n"
PROBED = {
    "method": "GET", "version": "1.1", "path": "/probe", "query": "", "fields": {"HOST": "probe"}, "body": "",
    "scheme": "http", "script_name": "",
}  # fmt: skip
HOWS = ("whole", "bytewise", "half-closed")
REFUSAL = re.compile(r"Invalid request from ip=127\.0\.0\.1: ")


def load_corpus() -> Any:
    path = Path(__file__).parents[2] / "packages" / "server" / "tests" / "corpus" / "corpus.py"
    spec = importlib.util.spec_from_file_location("corpus", path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules["corpus"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ENTRIES = load_corpus().load()
Outcome = tuple[list[tuple[int, Any]], str]
"""The answers, each with its status and what the application or the refusal says; how the connection was then."""


class Client:
    """One entry on a connection of its own. Ask for :meth:`events`, call :meth:`go_on` when they come, until done."""

    def __init__(self, address: Any, entry: Any, pieces: Iterable[bytes], closes: bool) -> None:
        self.entry = entry
        self._closes = closes or entry.end == "waits"
        self.answers: list[tuple[int, Any]] = []
        self.end = ""
        self.sock = socket.create_connection(("127.0.0.1", address))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self._pieces = iter(pieces)
        self._piece = next(self._pieces, b"")
        self._received = b""
        self._probed = False
        self._over = False  # this side sends no more

    def events(self) -> int:
        self._after_the_last_piece()
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if self._piece else 0)

    def go_on(self, events: int) -> None:
        try:
            if events & selectors.EVENT_READ:
                self._receive()
            if events & selectors.EVENT_WRITE and not self.end and self._piece:
                sent = self.sock.send(self._piece)
                self._piece = self._piece[sent:] or next(self._pieces, b"")
        except BlockingIOError:
            pass
        except (ConnectionResetError, BrokenPipeError):
            # What is sent after the end may be answered so; the answers came before.
            self.end = "closed" if self.entry.end in ("closed", "refused") else "reset"

    def _after_the_last_piece(self) -> None:
        if self._piece or self.end:
            return
        if self._closes:
            if not self._over:
                self._over = True
                self.sock.shutdown(socket.SHUT_WR)
        elif self.entry.end == "open":
            awaited = len(self.entry.readings)
            if len(self.answers) == awaited and not self._probed:
                self._probed, self._piece = True, PROBE
            elif len(self.answers) > awaited:
                self.end = "open" if self.answers.pop() == (200, PROBED) else "out of step"

    def _receive(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            self.end = "closed"
        self._received += data
        while self._take_answer():
            pass

    def _take_answer(self) -> bool:
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            return False
        line, *lines = head.decode("latin-1").split("\r\n")
        status = int(line.split(" ")[1])
        fields = {name.lower(): value for name, _, value in (each.partition(": ") for each in lines)}
        if status >= 200:
            length = int(fields["content-length"])
            if len(rest) < length:
                return False
            body, rest = rest[:length], rest[length:]
            assert status < 400 or fields["connection"] == "close"
            said = json.loads(fields["x-report"]) if "x-report" in fields else body.decode("latin-1")
            self.answers.append((status, said))
        self._received = rest
        return True

    def outcome(self) -> Outcome:
        return self.answers, self.end


def ask(
    server: Server, entries: list[Any], cut: Callable[[bytes], Iterable[bytes]], closes: bool = False
) -> dict[str, Outcome]:
    """Send the entries to the server, each in the pieces that *cut* makes of it; then each client *closes* its side."""
    address = server.address
    waiting = list(reversed(entries))
    found: dict[str, Outcome] = {}
    deadline = time.monotonic() + PATIENCE
    with selectors.DefaultSelector() as selector:
        while waiting or selector.get_map():
            assert time.monotonic() < deadline, [key.data.entry.name for key in selector.get_map().values()]
            while waiting and len(selector.get_map()) < SIDE_BY_SIDE:
                entry = waiting.pop()
                client = Client(address, entry, cut(entry.raw), closes)
                selector.register(client.sock, client.events(), client)
            for key, events in selector.select(1.0):
                client = key.data
                client.go_on(events)
                wanted = client.events()
                if client.end:
                    selector.unregister(client.sock)
                    client.sock.close()
                    found[client.entry.name] = client.outcome()
                elif wanted != key.events:
                    selector.modify(client.sock, wanted, client)
    return found


def whole(raw: bytes) -> list[bytes]:
    return [raw]


def bytewise(raw: bytes) -> Iterator[bytes]:
    step = len(raw) // MOST_PIECES + 1
    return (raw[start : start + step] for start in range(0, len(raw), step))


def groups() -> list[tuple[dict[str, Any], list[Any]]]:
    """The entries by their settings: each group needs a server."""
    found: list[tuple[dict[str, Any], list[Any]]] = []
    for entry in ENTRIES:
        for settings, entries in found:
            if settings == entry.settings:
                entries.append(entry)
                break
        else:
            found.append((entry.settings, [entry]))
    return found


def fault(entry: Any, how: str, outcome: Outcome) -> str:
    """What is wrong with *outcome*, if anything is."""
    answers, end = outcome
    wanted: list[tuple[int, Any]] = [(200, reading.summary()) for reading in entry.readings]
    if entry.end == "refused":
        status, said = answers[-1] if answers else (0, "")
        good = status == entry.status and str(said).endswith(f"({entry.clause})\n")
        wanted.append((status, said) if good else (entry.status, entry.clause))
    wanted_end = "open" if entry.end == "open" and how != "half-closed" else "closed"
    return "" if (answers, end) == (wanted, wanted_end) else repr(outcome)


@pytest.fixture(scope="module")
def outcomes(serve_module: Callable[..., Server]) -> Callable[[str], dict[str, dict[str, Outcome]]]:
    """``outcomes(worker)``: how its servers answered the corpus, whole and bytewise. Each is asked once."""
    known: dict[str, dict[str, dict[str, Outcome]]] = {}

    def of(worker: str) -> dict[str, dict[str, Outcome]]:
        if worker not in known:
            found: dict[str, dict[str, Outcome]] = {how: {} for how in HOWS}
            known[worker] = found
            for settings, entries in groups():
                server = serve_module(*WORKERS[worker], conf={**settings, "keepalive": 60})
                found["whole"] |= ask(server, entries, whole)
                found["bytewise"] |= ask(server, entries, bytewise)
                found["half-closed"] |= ask(server, entries, whole, closes=True)
                server.finish()
                refused = len(HOWS) * sum(entry.end == "refused" for entry in entries)
                assert len(REFUSAL.findall(server.output)) == refused, "each refusal is logged once, with its peer"
        return known[worker]

    return of


@pytest.mark.parametrize("worker", WORKERS)
def test_a_worker_reads_the_corpus_as_it_says(worker: str, outcomes: Any) -> None:
    for how, found in outcomes(worker).items():
        assert len(found) == len(ENTRIES)
        wrong = {entry.name: fault(entry, how, found[entry.name]) for entry in ENTRIES}
        assert {name: outcome for name, outcome in wrong.items() if outcome} == {}, how


def test_all_workers_read_the_corpus_alike(outcomes: Any) -> None:
    first = outcomes("sync")
    for worker in WORKERS:
        for how, found in outcomes(worker).items():
            assert found == first[how], (worker, how)
            answers = {name: outcome[0] for name, outcome in found.items()}
            assert answers == {name: outcome[0] for name, outcome in first["whole"].items()}, (worker, how)
