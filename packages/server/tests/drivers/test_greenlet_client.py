"""Client: what a gevent worker says to clients of every manner. It runs in a process of its own."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Serve = Callable[..., Any]
Eventually = Callable[..., Any]

pytest.importorskip("gevent")

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


def post(path: str, body: bytes, *fields: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: h", f"Content-Length: {len(body)}", *fields, "", ""]
    return "\r\n".join(lines).encode() + body


def chunked(path: str) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".encode()


def test_keep_alive_and_pipelining(serve_greenlets: Serve) -> None:
    peer = serve_greenlets().connect()
    for _ in range(3):
        assert peer.get()[2] == b"hello"
    peer.send(GET * 3 + post("/echo", b"hi") + GET)
    assert [peer.answer()[2] for _ in range(5)] == [b"hello", b"hello", b"hello", b"hi", b"hello"]


def test_a_slow_sender_keeps_nobody_waiting(serve_greenlets: Serve) -> None:
    site = serve_greenlets()
    slow, other = site.connect(), site.connect()
    for index in range(len(GET)):
        slow.send(GET[index : index + 1])
        assert other.get()[2] == b"hello"
    assert slow.answer()[2] == b"hello"


def test_waiting_applications_let_others_run(serve_greenlets: Serve, eventually: Eventually, tmp_path: Path) -> None:
    site = serve_greenlets()
    waiting = []
    for number in range(5):
        peer = site.connect()
        peer.send(f"GET /wait?{tmp_path}/{number} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        waiting.append(peer)
    eventually(lambda: len(os.listdir(tmp_path)) == 5, "five requests at once")
    assert site.connect().get()[2] == b"hello"
    for name in os.listdir(tmp_path):
        (tmp_path / name).unlink()
    assert [peer.answer()[2] for peer in waiting] == [b"waited"] * 5


def test_a_slow_reader_gets_everything_and_keeps_nobody_waiting(serve_greenlets: Serve) -> None:
    site = serve_greenlets()
    slow, other = site.connect(receive_buffer=32768), site.connect()
    slow.send(b"GET /big?40 HTTP/1.1\r\nHost: h\r\n\r\n")
    for _ in range(10):
        assert other.get()[2] == b"hello"
        slow._receive()
    body = slow.answer()[2]
    assert len(body) == 40 * 65536
    assert body == b"".join(b"%c" % (97 + number % 26) * 65536 for number in range(40))


# ---------------------------------------------------------------- request bodies

LINES = b"line one\nabcdef\nline three\nlast"
PARTS = repr([b"line one\n", b"abc", b"de", b"f\n", b"line three\n", b"last"]).encode()


def test_bodies_of_any_size(serve_greenlets: Serve) -> None:
    peer = serve_greenlets().connect()
    for size in (0, 1, 65536, 65537, 3_000_000):
        body = os.urandom(size)
        peer.send(post("/echo", body) + GET)
        assert peer.answer()[2] == body
        assert peer.answer()[2] == b"hello"


def test_the_file_methods_of_a_body_that_is_there(serve_greenlets: Serve) -> None:
    peer = serve_greenlets().connect()
    peer.send(post("/lines", LINES))
    assert peer.answer()[2] == PARTS


def test_the_file_methods_of_a_body_that_is_arriving(serve_greenlets: Serve) -> None:
    peer = serve_greenlets().connect()
    peer.send(chunked("/lines"))
    for index in range(len(LINES)):
        peer.send(b"1\r\n" + LINES[index : index + 1] + b"\r\n")
    peer.send(b"0\r\n\r\n" + GET)
    assert peer.answer()[2] == PARTS
    assert peer.answer()[2] == b"hello"


def test_a_body_is_read_while_it_arrives(serve_greenlets: Serve) -> None:
    peer = serve_greenlets().connect()
    peer.send(chunked("/stream-back") + b"4\r\nabc\n\r\n")
    assert peer._until(b"4\r\nABC\n\r\n")
    peer.send(b"4\r\ndef\n\r\n")
    assert peer._until(b"4\r\nDEF\n\r\n")
    peer.send(b"0\r\n\r\n")
    assert peer.rest() == b"0\r\n\r\n"


def test_expect_continue(serve_greenlets: Serve) -> None:
    site = serve_greenlets()
    peer = site.connect()
    peer.send(b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert peer.answer()[0] == 100
    peer.send(b"hi")
    assert peer.answer()[2] == b"hi"
    peer.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    status, fields, body = peer.answer()
    assert (status, fields["connection"], body) == (200, "close", b"hello")


def test_a_small_body_that_is_ignored_leaves_the_connection(serve_greenlets: Serve) -> None:
    peer = serve_greenlets().connect()
    peer.send(post("/hello", b"x" * 1000)[:-500])
    peer.send(b"x" * 500)
    assert peer.answer()[2] == b"hello"
    assert peer.get()[2] == b"hello"


def test_a_large_body_that_is_ignored_ends_the_connection_and_the_answer_arrives(serve_greenlets: Serve) -> None:
    peer = serve_greenlets().connect()
    peer.send(post("/first-line", b"line\n" + b"x" * 1_000_000))
    status, fields, body = peer.answer()
    assert (status, fields["connection"], body) == (200, "close", b"line\n")
    assert peer.closed()


def test_a_malformed_body_is_refused_while_it_is_read(serve_greenlets: Serve) -> None:
    site = serve_greenlets()
    peer = site.connect()
    peer.send(chunked("/echo") + b"2\r\nhi\r\nsize\r\n")
    status, fields, _ = peer.answer()
    assert (status, fields["connection"]) == (400, "close")
    assert peer.closed()
    log = site.finish()
    assert log.count("Invalid request from ip=127.0.0.1: chunk size b'size'") == 1
    assert "Traceback" not in log


def test_an_application_may_answer_a_malformed_body_itself(serve_greenlets: Serve) -> None:
    peer = serve_greenlets().connect()
    peer.send(chunked("/swallow") + b"size\r\n")
    status, fields, body = peer.answer()
    assert (status, fields["connection"], body) == (200, "close", b"InvalidChunk")


def test_a_client_that_goes_away_in_its_body(serve_greenlets: Serve) -> None:
    site = serve_greenlets()
    peer = site.connect()
    peer.send(chunked("/echo") + b"5\r\nhe")
    peer.sock.close()
    small = site.connect()
    small.send(post("/echo", b"hello")[:-2])
    small.sock.close()
    assert site.connect().get()[2] == b"hello"
    assert "Traceback" not in site.finish()


# ---------------------------------------------------------------- failures


def test_a_failing_application_is_answered_for(serve_greenlets: Serve) -> None:
    site = serve_greenlets()
    status, fields, _ = site.connect().get("/fail")
    assert (status, fields["connection"]) == (500, "close")
    late = site.connect()
    late.send(b"GET /fail-late HTTP/1.1\r\nHost: h\r\n\r\n")
    assert late.rest().endswith(b"\r\n\r\n4\r\nsome\r\n")
    assert site.connect().get()[2] == b"hello"
    assert site.finish().count("KeyError: 'the application fails'") == 2


def test_a_refused_request_is_answered_and_logged_once(serve_greenlets: Serve) -> None:
    site = serve_greenlets()
    peer = site.connect()
    peer.send(b"GET / HTTP/1.1\r\n\r\n" + b"x" * 100_000)
    assert peer.answer()[0] == 400
    assert peer.closed()
    assert site.finish().count("Invalid request from ip=127.0.0.1: a request has exactly one Host") == 1


def test_half_close_still_gets_the_answer(serve_greenlets: Serve) -> None:
    peer = serve_greenlets().connect()
    peer.send(GET + GET)
    peer.sock.shutdown(1)
    assert peer.rest().count(b"hello") == 2


def test_early_hints(serve_greenlets: Serve) -> None:
    peer = serve_greenlets().connect()
    status, fields, _ = peer.get("/early-hints")
    assert (status, fields) == (103, {"link": "</a>"})
    assert peer.answer()[2] == b"late"


# ---------------------------------------------------------------- time


@pytest.mark.parametrize(
    "raw",
    [
        GET[:10],
        post("/echo", b"hello")[:-2],
        post("/echo", b"x" * 100_000)[:-2],
        chunked("/echo") + b"5\r\nhe",
    ],
    ids=["head", "small body", "large body", "chunked body"],
)
def test_a_request_that_takes_too_long_is_answered_408(raw: bytes, serve_greenlets: Serve) -> None:
    site = serve_greenlets(policy={"head_timeout": 0.1, "body_timeout": 0.1})
    peer = site.connect()
    peer.send(raw)
    status, fields, _ = peer.answer()
    assert (status, fields["connection"]) == (408, "close")
    assert peer.closed()
    log = site.finish()
    assert log.count("Invalid request from ip=127.0.0.1: the request was not complete after 0.1 seconds") == 1
    assert "Traceback" not in log


def test_dripping_a_head_does_not_extend_its_deadline(serve_greenlets: Serve) -> None:
    peer = serve_greenlets(policy={"head_timeout": 0.2}).connect()
    peer.sock.settimeout(0.01)
    began = time.monotonic()
    peer.send(b"GET / HTTP/1.1\r\nX: ")
    while time.monotonic() < began + 15:
        try:
            peer.send(b"x")
            if peer._receive():
                break
        except TimeoutError:
            pass
    assert peer.buffer.startswith(b"HTTP/1.1 408 ")


def test_idle_connections_end_silently(serve_greenlets: Serve) -> None:
    site = serve_greenlets(policy={"keepalive": 0.1, "head_timeout": 0.1})
    used, fresh = site.connect(), site.connect()
    used.get()
    assert used.closed()
    assert fresh.closed()
    assert "Invalid request" not in site.finish()


def test_validated(serve_greenlets: Serve) -> None:
    """wsgiref.validate checks both sides of PEP 3333."""
    site = serve_greenlets(app="wsgi_apps:validated")
    peer = site.connect()
    assert peer.get()[2] == b"hello"
    assert peer.get("/early-hints")[0] == 103
    assert peer.answer()[2] == b"late"
    peer.send(post("/echo-all", b"hello") + chunked("/echo-all") + b"5\r\nhello\r\n0\r\n\r\n")
    assert [peer.answer()[2] for _ in range(2)] == [b"hello", b"hello"]
    body = os.urandom(200_000)
    peer.send(post("/echo-all", body))
    assert peer.answer()[2] == body
    assert len(peer.get("/big?3")[2]) == 3 * 65536
    assert peer.get("/fail")[0] == 500
    log = site.finish()
    assert "AssertionError" not in log
    assert log.count("Traceback") == 1


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("sendfile", [None, False])
def test_files(serve_greenlets: Serve, tmp_path: Path, sendfile: bool | None) -> None:
    site = serve_greenlets(sendfile=sendfile)
    path = tmp_path / "file"
    path.write_bytes(os.urandom(5_000_000))
    slow, other = site.connect(receive_buffer=32768), site.connect()
    slow.send(f"GET /file?{path} HTTP/1.1\r\nHost: h\r\n\r\n".encode() + GET)
    for _ in range(5):
        assert other.get()[2] == b"hello"
        slow._receive()
    status, fields, body = slow.answer()
    assert (status, body) == (200, path.read_bytes())
    assert fields.get("content-length") == (None if sendfile is False else "5000000")
    assert slow.answer()[2] == b"hello"
    other.send(f"HEAD /file?{path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    assert other.answer(bodiless=True)[0] == 200
    assert other.get()[2] == b"hello"
    assert "Traceback" not in site.finish()


def test_a_file_that_becomes_shorter_ends_the_connection(serve_greenlets: Serve, tmp_path: Path) -> None:
    site = serve_greenlets()
    path = tmp_path / "file"
    path.write_bytes(b"x" * 50_000_000)
    peer = site.connect(receive_buffer=32768)
    peer.send(f"GET /file?{path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    assert peer._receive()
    os.truncate(path, 1000)
    assert len(peer.rest()) < 50_000_000
    log = site.finish()
    assert "A file became shorter while it was sent to ip=127.0.0.1" in log
    assert "Traceback" not in log


# ---------------------------------------------------------------- backpressure


def test_a_stream_waits_for_its_reader(serve_greenlets: Serve, eventually: Eventually, tmp_path: Path) -> None:
    site = serve_greenlets()
    log = tmp_path / "blocks"
    slow, other = site.connect(receive_buffer=32768), site.connect()
    slow.send(f"GET /endless?{log} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    eventually(lambda: log.exists() and log.stat().st_size, "the first block")
    counts = [0]
    while counts[-1] != log.stat().st_size:  # it stops as soon as the kernel's buffers are full
        counts.append(log.stat().st_size)
        for _ in range(50):
            assert other.get()[2] == b"hello"
    assert 0 < counts[-1] < 2000  # blocks of 64 KiB
    slow.reset()
    eventually(lambda: log.with_suffix(".closed").exists(), "close()")
    assert "Traceback" not in site.finish()


def test_a_fast_reader_of_a_stream_leaves_others_their_turn(serve_greenlets: Serve, tmp_path: Path) -> None:
    site = serve_greenlets()
    greedy, other = site.connect(), site.connect()
    greedy.send(f"GET /endless?{tmp_path}/x HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    reader = threading.Thread(target=drop_all, args=(greedy.sock,))
    reader.start()
    for _ in range(20):
        assert other.get()[2] == b"hello"
    site.send_signal(signal.SIGQUIT)
    reader.join()


def drop_all(sock: Any) -> None:
    with contextlib.suppress(OSError):
        while sock.recv(1 << 20):
            pass
