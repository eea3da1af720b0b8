"""GreenletDriver: how many connections a gevent worker takes, how it keeps time, and its end. It runs in a process of
its own.
"""

import json
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Serve = Callable[..., Any]
Eventually = Callable[..., Any]

pytest.importorskip("gevent")

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


def test_the_application_is_loaded_patched(serve_greenlets: Serve) -> None:
    found = serve_greenlets().connect().get("/modules")[2].decode().split()
    assert found[0].startswith("gevent.")
    assert found[1].startswith("gevent.")


# ---------------------------------------------------------------- time


def test_a_request_over_timeout_is_logged_with_its_stack_and_ends_the_worker(serve_greenlets: Serve) -> None:
    site = serve_greenlets(timeout=1)
    peer = site.connect()
    peer.send(b"GET /sleep?600 HTTP/1.1\r\nHost: h\r\n\r\n")
    status, log = site.wait()
    assert status == 0
    assert "A request runs for over 1 seconds, GET /sleep?600; replacing" in log
    assert "in do_sleep" in log


def test_what_timeout_does_not_count(serve_greenlets: Serve, tmp_path: Path) -> None:
    """Waiting for the client, and a response that has begun."""
    site = serve_greenlets(timeout=1)
    events = site.connect()
    events.send(f"GET /events?{tmp_path}/end HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    slow, reader, other = site.connect(), site.connect(receive_buffer=32768), site.connect()
    slow.send(b"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
    reader.send(b"GET /big?100 HTTP/1.1\r\nHost: h\r\n\r\n")
    end = time.monotonic() + 2.5
    sent = 0
    while time.monotonic() < end:
        slow.send(b"1\r\nx\r\n")
        sent += 1
        assert other.get()[2] == b"hello"
    slow.send(b"0\r\n\r\n")
    assert slow.answer()[2] == b"x" * sent
    assert len(reader.answer()[2]) == 100 * 65536
    (tmp_path / "end").touch()
    assert events.answer()[2] == b"data: first\n\ndata: last\n\n"
    assert "A request runs" not in site.finish()


def test_the_scoreboard_shows_what_has_run_longest(
    serve_greenlets: Serve, eventually: Eventually, tmp_path: Path
) -> None:
    site = serve_greenlets()
    older, newer, other = site.connect(), site.connect(), site.connect()

    def slot() -> Any:
        return json.loads(other.get("/slot")[2])

    older.send(f"GET /wait?{tmp_path}/older HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    eventually(lambda: slot()["current"] == f"GET /wait?{tmp_path}/older", "its request in the scoreboard")
    began = slot()["busy_since"]
    newer.send(f"GET /wait?{tmp_path}/newer HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    eventually((tmp_path / "newer").exists, "the second request")
    for _ in range(20):
        now = slot()
        assert (now["current"], now["busy_since"], now["state"]) == (f"GET /wait?{tmp_path}/older", began, "BUSY")
    (tmp_path / "older").unlink()
    assert older.answer()[2] == b"waited"
    eventually(lambda: slot()["current"] == f"GET /wait?{tmp_path}/newer", "the other request in the scoreboard")
    (tmp_path / "newer").unlink()
    assert newer.answer()[2] == b"waited"
    eventually(lambda: slot()["current"] == "GET /slot" or slot()["state"] == "IDLE", "nothing but this request")
    assert slot()["connections"] == 3


@pytest.mark.parametrize("how", ["max_requests", "parent"])
def test_the_scoreboard_shows_the_drain(
    how: str, serve_greenlets: Serve, eventually: Eventually, tmp_path: Path
) -> None:
    site = serve_greenlets(max_requests=1 if how == "max_requests" else 0)
    half, busy = site.connect(), site.connect()  # accepted in this order
    half.send(b"GET /slot HTTP/1.1\r\nHost: h\r\n")
    busy.send(f"GET /wait?{tmp_path}/x HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    eventually((tmp_path / "x").exists, "the request")
    if how == "max_requests":
        assert site.connect().get()[2] == b"hello"
    else:
        site.lose_parent()
    eventually(lambda: refused(site), "the end of accepting")
    half.send(b"\r\n")
    assert json.loads(half.answer()[2])["state"] == "DRAINING"
    (tmp_path / "x").unlink()
    assert busy.answer()[2] == b"waited"
    assert site.wait()[0] == 0


def refused(site: Any) -> bool:
    try:
        site.connect().sock.close()
    except OSError:
        return True
    return False


# ---------------------------------------------------------------- limits and the end


def test_worker_connections_leaves_the_rest_in_the_backlog(serve_greenlets: Serve) -> None:
    site = serve_greenlets(worker_connections=2, policy={"keepalive": 600.0})
    first, second = site.connect(), site.connect()
    first.get()
    second.get()
    third = site.connect()
    third.send(GET)
    third.sock.settimeout(0.1)
    with pytest.raises(TimeoutError):
        third.answer()
    first.sock.close()
    third.sock.settimeout(20)
    assert third.answer()[2] == b"hello"


def test_max_requests(serve_greenlets: Serve) -> None:
    site = serve_greenlets(max_requests=3)
    peer = site.connect()
    for _ in range(3):
        assert peer.get()[2] == b"hello"
    status, log = site.wait()
    assert status == 0
    assert "Autorestarting worker after 3 requests." in log


def test_term_drains(serve_greenlets: Serve, eventually: Eventually, tmp_path: Path) -> None:
    site = serve_greenlets(policy={"keepalive": 600.0})
    idle, half, busy = site.connect(), site.connect(), site.connect()  # accepted in this order
    idle.get()
    half.send(GET[:10])
    busy.send(f"GET /wait?{tmp_path}/x HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    eventually(lambda: os.listdir(tmp_path), "the request's begin")
    site.send_signal(signal.SIGTERM)
    assert idle.closed()
    half.send(GET[10:])
    status, fields, _ = half.answer()
    assert (status, fields["connection"]) == (200, "close")
    with pytest.raises(OSError):  # noqa: PT011 - refused, or reset: nobody listens
        site.connect().get()
    (tmp_path / "x").unlink()
    status, fields, body = busy.answer()
    assert (status, fields["connection"], body) == (200, "close", b"waited")
    assert site.wait()[0] == 0


def test_graceful_timeout_ends_the_drain(serve_greenlets: Serve, eventually: Eventually, tmp_path: Path) -> None:
    site = serve_greenlets(graceful_timeout=1)
    peer = site.connect()
    peer.send(f"GET /wait?{tmp_path}/x HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    eventually(lambda: os.listdir(tmp_path), "the request's begin")
    site.send_signal(signal.SIGTERM)
    assert site.wait()[0] == 0


@pytest.mark.parametrize("path", ["/wait?{}/x", "/block", "/deaf"])
@pytest.mark.parametrize("signum", [signal.SIGQUIT, signal.SIGINT])
def test_quit_ends_at_once(signum: int, path: str, serve_greenlets: Serve, tmp_path: Path) -> None:
    site = serve_greenlets(graceful_timeout=600)
    site.connect().get()
    site.connect().send(f"GET {path.format(tmp_path)} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    site.send_signal(signum)
    assert site.wait()[0] == 0


def test_a_thousand_slow_connections(serve_greenlets: Serve) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1200:
        pytest.skip(f"a process may open {hard} files here (ulimit -Hn)")
    if soft != resource.RLIM_INFINITY and soft < 1200:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1200, hard))
    try:
        site = serve_greenlets(worker_connections=2000)
        peers = [site.connect() for _ in range(1000)]
        for peer in peers:
            peer.send(GET[:-1])
        assert site.connect().get()[2] == b"hello"
        for peer in peers:
            peer.send(GET[-1:])
        for peer in peers:
            assert peer.answer()[2] == b"hello"
        site.finish()
        site.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# ---------------------------------------------------------------- when worker_connections are taken


def test_a_slow_head_makes_room(serve_greenlets: Serve) -> None:
    site = serve_greenlets(worker_connections=2, patience=0.2)
    slow = [site.connect(), site.connect()]
    for peer in slow:
        peer.send(GET[:-1])
    for _ in range(3):
        assert site.connect().get("/", "Connection: close")[2] == b"hello"
    status, fields, body = slow[0].answer()
    assert (status, fields["connection"]) == (408, "close")
    assert b"others need the place of this connection" in body
    slow[1].send(GET[-1:])
    assert slow[1].answer()[2] == b"hello"  # one was enough
    log = site.finish()
    assert log.count("others need the place") == 1
    assert "Traceback" not in log


def test_an_idle_connection_makes_room_silently(serve_greenlets: Serve) -> None:
    site = serve_greenlets(worker_connections=1, patience=0.2, policy={"keepalive": 600.0})
    idle = site.connect()
    assert idle.get()[2] == b"hello"
    assert site.connect().get()[2] == b"hello"
    assert idle.closed()
    assert "Invalid request" not in site.finish()


def test_a_slow_body_and_a_slow_reader_make_room(serve_greenlets: Serve) -> None:
    site = serve_greenlets(worker_connections=2, patience=0.2)
    sender, reader = site.connect(), site.connect(receive_buffer=32768)
    sender.send(b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nx")
    reader.send(b"GET /big?2000 HTTP/1.1\r\nHost: h\r\n\r\n")
    first, second = site.connect(), site.connect()
    assert first.get()[2] == b"hello"
    assert sender.answer()[0] == 408
    first.send(b"GET /sleep?600 HTTP/1.1\r\nHost: h\r\n\r\n")
    assert second.get()[2] == b"hello"
    assert not reader.rest().endswith(b"0\r\n\r\n")


def test_who_is_at_work_is_not_given_up(serve_greenlets: Serve, eventually: Eventually, tmp_path: Path) -> None:
    site = serve_greenlets(worker_connections=1, patience=0.05)
    busy, other = site.connect(), site.connect()
    busy.send(f"GET /wait?{tmp_path}/x HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    eventually((tmp_path / "x").exists, "the request")
    other.send(GET)
    other.sock.settimeout(0.5)
    with pytest.raises(TimeoutError):
        other.answer()
    other.sock.settimeout(20)
    (tmp_path / "x").unlink()
    assert busy.answer()[2] == b"waited"
    assert other.answer()[2] == b"hello"


# ---------------------------------------------------------------- health path


def test_the_health_path(serve_greenlets: Serve, eventually: Eventually, tmp_path: Path) -> None:
    site = serve_greenlets(health_path="/healthz")
    peer, half, busy = site.connect(), site.connect(), site.connect()  # accepted in this order
    assert peer.get("/healthz")[::2] == (200, b"ok")
    assert peer.get("/")[2] == b"hello"
    busy.send(f"GET /wait?{tmp_path}/x HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    eventually((tmp_path / "x").exists, "the request")
    half.send(b"GET /healthz HTTP/1.1\r\nHost: h\r\n")
    assert json.loads(peer.get("/slot")[2])["requests"] == 1
    site.send_signal(signal.SIGTERM)
    eventually(lambda: refused(site), "the end of accepting")
    half.send(b"\r\n")
    assert half.answer()[::2] == (503, b"draining")
    (tmp_path / "x").unlink()
    assert busy.answer()[2] == b"waited"
