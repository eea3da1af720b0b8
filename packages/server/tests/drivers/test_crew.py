"""Crew: threads that share a selector driver. Takes over from a blocked leader, and gives up what runs too long."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gunicorn.drivers import crew, patience
from small_apps import GET, WAIT, Gate

Serve = Callable[..., Any]
Eventually = Callable[..., Any]
StartResponse = Callable[..., Any]


@pytest.fixture
def app() -> Any:
    made = Gate()
    yield made
    made.go.set()


def test_a_blocked_request_keeps_nobody_waiting(app: Gate, serve_wsgi: Serve, eventually: Eventually) -> None:
    site = serve_wsgi(app, threads=2)
    blocked, other = site.connect(), site.connect()
    blocked.send(WAIT)
    eventually(lambda: app.waiting == 1, "the blocked request")
    other.sock.settimeout(2)
    for _ in range(10):
        assert other.get()[0] == 200
    app.go.set()
    assert blocked.answer()[0] == 200


def test_all_threads_work_at_once_and_no_more(app: Gate, serve_wsgi: Serve, eventually: Eventually) -> None:
    site = serve_wsgi(app, threads=4)
    peers = [site.connect() for _ in range(6)]
    for peer in peers:
        peer.send(WAIT)
    eventually(lambda: app.waiting == 4, "four requests at once")
    app.go.set()
    names = {peer.answer()[1]["x-thread"] for peer in peers}
    assert len(names) >= 4
    assert app.most == 4


def test_pipelined_requests_are_answered_in_order(app: Gate, serve_wsgi: Serve, eventually: Eventually) -> None:
    site = serve_wsgi(app, threads=3)
    peer, other = site.connect(), site.connect()
    peer.send(WAIT + GET + GET)
    eventually(lambda: app.waiting == 1, "the first request")
    assert other.get()[0] == 200
    app.go.set()
    assert [peer.answer()[0] for _ in range(3)] == [200] * 3


def test_what_is_sent_while_a_request_runs_is_read_afterwards(
    app: Gate, serve_wsgi: Serve, eventually: Eventually
) -> None:
    site = serve_wsgi(app, threads=2)
    peer, other = site.connect(), site.connect()
    peer.send(WAIT)
    eventually(lambda: app.waiting == 1, "the first request")
    for _ in range(3):
        peer.send(GET)
        assert other.get()[0] == 200
    app.go.set()
    assert [peer.answer()[0] for _ in range(4)] == [200] * 4


def test_a_client_that_leaves_while_its_request_runs(app: Gate, serve_wsgi: Serve, eventually: Eventually) -> None:
    site = serve_wsgi(app, threads=2)
    peer, other = site.connect(), site.connect()
    peer.send(WAIT)
    eventually(lambda: app.waiting == 1, "its request")
    peer.reset()
    assert other.get()[0] == 200
    app.go.set()
    eventually(lambda: site.connections == 1, "its end")
    assert other.get()[0] == 200


def test_it_serves_after_a_long_quiet(app: Gate, serve_wsgi: Serve, monkeypatch: pytest.MonkeyPatch,
                                      eventually: Eventually) -> None:  # fmt: skip
    """The followers sleep by then, and must be called."""
    monkeypatch.setattr(crew, "QUIET", 3)
    made: list[crew.Crew] = []
    real = crew.Crew.__init__

    def remember(self: crew.Crew, *args: Any) -> None:
        real(self, *args)
        made.append(self)

    monkeypatch.setattr(crew.Crew, "__init__", remember)
    site = serve_wsgi(app, threads=2)
    eventually(lambda: made[0]._asleep, "the followers' sleep")
    blocked, other = site.connect(), site.connect()
    blocked.send(WAIT)
    eventually(lambda: app.waiting == 1, "the blocked request")
    assert other.get()[0] == 200
    app.go.set()
    assert blocked.answer()[0] == 200


def test_many_clients_of_a_mixed_application(serve_wsgi: Serve) -> None:
    def app(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        number = int(environ["QUERY_STRING"])
        if number % 7 == 0:
            time.sleep(0.002)  # what makes it slow
        start_response("200 OK", [])
        return [b"%d" % number] * 2

    site = serve_wsgi(app, threads=4)
    wrong: list[Any] = []

    def client(first: int) -> None:
        peer = site.connect()
        for number in range(first, first + 100):
            found = peer.get(f"/?{number}")[2]
            if found != b"%d" % number * 2:
                wrong.append((number, found))

    clients = [threading.Thread(target=client, args=(number * 1000,)) for number in range(8)]
    for each in clients:
        each.start()
    for each in clients:
        each.join(60)
    assert wrong == []
    assert site.worker.scoreboard.requests == 800


def test_a_request_over_timeout_is_logged_with_its_stack_and_the_worker_drains(
    app: Gate, serve_wsgi: Serve, eventually: Eventually
) -> None:
    site = serve_wsgi(app, threads=2, timeout=1)
    blocked, idle = site.connect(), site.connect()
    idle.get()
    blocked.send(WAIT)
    assert idle.closed()
    site.wait()  # though the request still runs
    [message] = site.log.messages(50)
    assert message.startswith("A request runs for over 1 seconds, GET /wait; replacing")
    assert "self.go.wait(20)" in message
    app.go.set()
    eventually(lambda: not any(thread.name.startswith("gunicorn-") for thread in threading.enumerate()), "their end")


def test_a_response_that_has_begun_may_take_longer_than_timeout(
    app: Gate, serve_wsgi: Serve, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Server-sent events, for one."""
    looks: list[float] = []
    real = crew.Crew._check_overdue
    begun = threading.Event()

    def look(self: crew.Crew, now: float) -> None:
        looks.append(now)
        real(self, now + (1000 if begun.is_set() else 0))

    def events(environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"first "
        begun.set()
        app.go.wait(20)
        yield b"last"

    monkeypatch.setattr(crew.Crew, "_check_overdue", look)
    site = serve_wsgi(events, threads=2, timeout=30)
    peer = site.connect()
    peer.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    assert begun.wait(20)
    seen = len(looks)
    eventually(lambda: len(looks) > seen + 1, "the supervisor's looks")
    app.go.set()
    assert peer.answer()[2] == b"first last"
    assert site.log.messages(50) == []


def test_timeout_zero_means_never(app: Gate, serve_wsgi: Serve, eventually: Eventually,
                                  monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    looks: list[float] = []
    real = crew.Crew._check_overdue

    def look(self: crew.Crew, now: float) -> None:
        looks.append(now)
        real(self, now + 1000)

    monkeypatch.setattr(crew.Crew, "_check_overdue", look)
    site = serve_wsgi(app, threads=2, timeout=0)
    blocked = site.connect()
    blocked.send(WAIT)
    eventually(lambda: app.waiting == 1, "the request")
    seen = len(looks)
    eventually(lambda: len(looks) > seen + 3, "the supervisor's looks")
    app.go.set()
    assert blocked.answer()[0] == 200
    assert site.log.messages(50) == []


def test_drain_waits_for_what_runs(app: Gate, serve_wsgi: Serve, eventually: Eventually) -> None:
    site = serve_wsgi(app, threads=2)
    blocked = site.connect()
    blocked.send(WAIT)
    eventually(lambda: app.waiting == 1, "the request")
    site.terminate()

    def refused() -> bool:
        try:
            site.connect()
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:  # it was in the backlog that was just closed
            pass
        return False

    eventually(refused, "the end of accepting")
    assert site.thread.is_alive()
    app.go.set()
    assert blocked.answer()[0] == 200
    site.wait()


def test_the_heartbeat_goes_on_while_all_threads_work(app: Gate, serve_wsgi: Serve, eventually: Eventually) -> None:
    site = serve_wsgi(app, threads=2)
    for _ in range(2):
        site.connect().send(WAIT)
    eventually(lambda: app.waiting == 2, "both requests")
    before = site.worker.scoreboard.heartbeat
    eventually(lambda: site.worker.scoreboard.heartbeat > before, "a heartbeat")
    app.go.set()


# ---------------------------------------------------------------- waiting for clients


class Streams:
    """``/stream`` yields blocks for ever, ``/echo`` reads its input; anything else answers at once. Counts who runs."""

    def __init__(self) -> None:
        self.local = threading.local()
        self.running = 0
        self.most = 0
        self.asked = 0  # blocks
        self.strangers = 0  # blocks that were asked for on another thread
        self._lock = threading.Lock()

    def enter(self) -> None:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)

    def leave(self) -> None:
        with self._lock:
            self.running -= 1

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Any:
        self.enter()
        try:
            if environ["PATH_INFO"] == "/echo":
                data = environ["wsgi.input"]
                self.leave()
                try:
                    size = len(data.read())
                finally:
                    self.enter()
                start_response("200 OK", [])
                return [str(size).encode()]
            start_response("200 OK", [])
            return self.blocks() if environ["PATH_INFO"] == "/stream" else [b"hello"]
        finally:
            self.leave()

    def blocks(self) -> Any:
        self.local.mine = True
        while True:
            self.enter()
            time.sleep(0.0005)  # the application's work
            self.asked += 1
            self.strangers += not getattr(self.local, "mine", False)
            self.leave()
            yield b"x" * 65536


def stream_slowly(site: Any) -> Any:
    peer = site.connect(receive_buffer=32768)
    peer.send(b"GET /stream HTTP/1.1\r\nHost: h\r\n\r\n")
    return peer


def standstill(app: Streams) -> bool:
    """Whether no block is asked for during a while."""
    seen = app.asked
    time.sleep(0.1)
    return app.asked == seen


@pytest.mark.parametrize("threads", [1, 2])
def test_slow_readers_of_streams_take_no_thread_away(threads: int, serve_wsgi: Serve, eventually: Eventually) -> None:
    app = Streams()
    site = serve_wsgi(app, threads=threads, policy={"keepalive": 600.0})
    readers = [stream_slowly(site) for _ in range(8)]
    eventually(lambda: app.asked >= 8 and standstill(app), "that all wait for their readers")
    other = site.connect()
    for _ in range(20):
        assert other.get()[2] == b"hello"
    before = app.asked
    for reader in readers:  # each goes on when it is read from
        for _ in range(200):
            assert reader._receive()
    assert app.asked > before + 8
    assert app.most <= threads
    assert app.strangers == 0
    for reader in readers:
        reader.sock.close()
    eventually(lambda: site.connections == 1, "their end")
    assert other.get()[2] == b"hello"


@pytest.mark.parametrize("threads", [1, 2])
def test_slow_senders_of_large_bodies_take_no_thread_away(
    threads: int, serve_wsgi: Serve, eventually: Eventually
) -> None:
    app = Streams()
    site = serve_wsgi(app, threads=threads, policy={"keepalive": 600.0})
    senders = [site.connect() for _ in range(6)]
    for sender in senders:
        sender.send(b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n" + b"x" * 100_000)
    other = site.connect()
    for _ in range(20):
        assert other.get()[2] == b"hello"
    for sender in senders:
        sender.send(b"x" * 100_000)
    assert [sender.answer()[2] for sender in senders] == [b"200000"] * 6
    assert app.most <= threads


def test_who_comes_back_waits_for_a_place(serve_wsgi: Serve, eventually: Eventually) -> None:
    """The only thread is at work in application code: nobody else runs until it is done."""
    app, busy = Streams(), Gate()

    def both(environ: dict[str, Any], start_response: StartResponse) -> Any:
        return (busy if environ["PATH_INFO"] == "/wait" else app)(environ, start_response)

    site = serve_wsgi(both, threads=1)
    reader = stream_slowly(site)
    eventually(lambda: app.asked and standstill(app), "that it waits for its reader")
    blocked = site.connect()
    blocked.send(WAIT)
    eventually(lambda: busy.waiting == 1, "the other request")
    asked = app.asked
    for _ in range(100):
        assert reader._receive()
    assert standstill(app)
    assert app.asked == asked
    busy.go.set()
    assert blocked.answer()[0] == 200
    for _ in range(200):
        assert reader._receive()
    assert app.asked > asked


def test_the_time_of_clients_is_not_the_application_s(serve_wsgi: Serve, eventually: Eventually) -> None:
    app = Streams()
    site = serve_wsgi(app, threads=2, timeout=1)
    reader = stream_slowly(site)
    eventually(lambda: app.asked and standstill(app), "that it waits for its reader")
    time.sleep(1.5)  # the time that the reader takes
    assert site.connect().get()[2] == b"hello"
    assert site.log.messages(50) == []
    reader.sock.close()


def test_a_reader_of_a_stream_that_takes_nothing_is_given_up(
    serve_wsgi: Serve, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "WRITE_TIMEOUT", 0.3)
    site = serve_wsgi(Streams(), threads=1)
    stream_slowly(site)
    eventually(lambda: site.connections == 1, "its connection")
    eventually(lambda: site.connections == 0, "its end")
    assert site.log.messages(30) == []


def test_spare_threads_end(serve_wsgi: Serve, eventually: Eventually, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "SPARE", 0.05)
    app = Streams()
    site = serve_wsgi(app, threads=2)
    readers = [stream_slowly(site) for _ in range(5)]

    def count() -> int:
        return sum(thread.name.startswith("gunicorn-") for thread in threading.enumerate())

    eventually(lambda: count() == 6, "five threads that wait, and one that polls; the other place is vacant")
    for reader in readers:
        reader.reset()
    eventually(lambda: site.connections == 0, "their end")
    eventually(lambda: count() == 2, "the end of the spare ones")
    assert site.connect().get()[2] == b"hello"


def test_a_vacant_place_is_filled_when_the_last_idle_thread_gets_a_request(
    serve_wsgi: Serve, eventually: Eventually
) -> None:
    """With three places, two of them left by slow readers, two requests that block at once leave nobody to poll."""
    streams, held = Streams(), threading.Event()

    def app(environ: dict[str, Any], start_response: StartResponse) -> Any:
        if environ["PATH_INFO"] == "/held":
            assert held.wait(20)
        return streams(environ, start_response)

    site = serve_wsgi(app, threads=3)
    readers = [stream_slowly(site) for _ in range(2)]
    eventually(lambda: streams.asked >= 2 and standstill(streams), "that both wait for their readers")
    blocked = [site.connect() for _ in range(2)]
    for peer in blocked:
        peer.send(b"GET /held HTTP/1.1\r\nHost: h\r\n\r\n")
        assert site.connect().get()[2] == b"hello"
    held.set()
    for peer in blocked:
        assert peer.answer()[2] == b"hello"
    for reader in readers:
        reader.reset()


def test_the_end_does_not_wait_for_slow_readers_for_ever(serve_wsgi: Serve, eventually: Eventually) -> None:
    app = Streams()
    site = serve_wsgi(app, threads=2, graceful_timeout=1)
    readers = [stream_slowly(site) for _ in range(3)]
    eventually(lambda: app.asked >= 3 and standstill(app), "that all wait for their readers")
    site.terminate()
    site.wait()
    for reader in readers:
        reader.sock.close()
    eventually(lambda: not any(thread.name.startswith("gunicorn-") for thread in threading.enumerate()), "their end")


def test_without_room_for_a_thread_the_others_go_on(
    serve_wsgi: Serve, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Streams()
    site = serve_wsgi(app, threads=2)

    def refuse(self: crew.Crew) -> None:
        raise RuntimeError("can't start new thread")

    eventually(
        lambda: sum(thread.name.startswith("gunicorn-") for thread in threading.enumerate()) == 2, "both threads"
    )
    monkeypatch.setattr(crew.Crew, "_start_member", refuse)
    reader = stream_slowly(site)
    eventually(lambda: app.asked and standstill(app), "that it waits for its reader")
    assert site.connect().get()[2] == b"hello"
    asked = app.asked
    for _ in range(200):
        assert reader._receive()
    assert app.asked > asked
    reader.sock.close()
    eventually(lambda: site.connections == 1, "its end")


def test_an_application_that_exits_costs_no_thread(serve_wsgi: Serve) -> None:
    def app(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        if environ["PATH_INFO"] == "/exit":
            raise SystemExit(3)
        start_response("200 OK", [])
        return [b"fine"]

    site = serve_wsgi(app, threads=1)
    for _ in range(3):
        peer = site.connect()
        peer.send(b"GET /exit HTTP/1.1\r\nHost: h\r\n\r\n")
        assert peer.closed()
    assert site.connect().get()[2] == b"fine"
