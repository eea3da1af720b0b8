"""SelectorDriver: real sockets on loopback. What sync and gthread have in common is tested on both."""

import os
import select
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from gunicorn.drivers import admission, patience, selector
from gunicorn.drivers.runner import Runner
from gunicorn.drivers.spool import MOST_IN_MEMORY, Spool
from gunicorn.supervision.scoreboard import WorkerState
from small_apps import GET, echo, hello, post

Serve = Callable[..., Any]
Eventually = Callable[..., Any]
StartResponse = Callable[..., Any]


def test_a_slow_sender_keeps_nobody_waiting(serve: Serve) -> None:
    site = serve(hello)
    slow, other = site.connect(), site.connect()
    for index in range(len(GET)):
        slow.send(GET[index : index + 1])
        assert other.get()[2] == b"hello"
    assert slow.answer()[2] == b"hello"


def test_connections_are_counted(serve: Serve, eventually: Eventually) -> None:
    site = serve(hello)
    peers = [site.connect() for _ in range(3)]
    eventually(lambda: site.connections == 3, "three connections")
    peers[0].sock.close()
    peers[1].reset()
    eventually(lambda: site.connections == 1, "one connection")
    assert peers[2].get()[2] == b"hello"


@pytest.mark.skipif(not hasattr(select, "EPOLLEXCLUSIVE"), reason="one of several processes is woken on Linux only")
def test_a_connection_for_which_another_process_was_woken_in_vain_is_accepted(serve_wsgi: Serve) -> None:
    """The kernel wakes whoever waits first; when that one never accepts, as it was killed, the others hear nothing."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()
    with select.epoll() as first:
        first.register(listener.fileno(), select.EPOLLIN | select.EPOLLEXCLUSIVE)

        def wait_in_vain() -> None:
            while not ended.is_set():
                first.poll(0.05)

        waiter = threading.Thread(target=wait_in_vain)
        waiter.start()
        try:
            site = serve_wsgi(hello, listener=listener)
            for _ in range(5):
                assert site.connect().get()[2] == b"hello"
        finally:
            ended.set()
            waiter.join()


def test_a_channel_that_is_released_while_it_is_disarmed_is_heard_of_again(
    serve_wsgi: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread releases it at the worst moment: the request that has come meanwhile must not wait for ever."""
    worker = serve_wsgi(hello).worker
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as peer:
        worker = type(worker)(1, os.getppid(), [listener], None, 15, worker.cfg, worker.log)
        driver = selector.SelectorDriver(worker, Runner(worker, True))
        peer.connect(listener.getsockname())
        channel = driver.next_channel()
        assert channel is not None
        peer.sendall(GET)
        arm = driver.arm

        def release_first(each: Any, mask: int) -> None:
            if mask == 0:
                driver.release(each)
            arm(each, mask)

        monkeypatch.setattr(driver, "arm", release_first)
        found: list[Any] = []
        poller = threading.Thread(target=lambda: found.append(driver.next_channel()))
        poller.start()
        poller.join(5)
        driver.stopped = True
        poller.join(5)
        driver.close()
    assert found == [channel]


def test_worker_connections_leaves_the_rest_in_the_backlog(serve: Serve) -> None:
    site = serve(hello, worker_connections=2, policy={"keepalive": 600.0})
    first, second, third = site.connect(), site.connect(), site.connect()
    first.get()
    second.get()
    third.send(GET)
    third.sock.settimeout(0.1)
    with pytest.raises(TimeoutError):
        third.answer()
    first.sock.close()
    third.sock.settimeout(20)
    assert third.answer()[2] == b"hello"


def test_max_requests_drains(serve: Serve) -> None:
    site = serve(hello, max_requests=3, policy={"keepalive": 600.0})
    peer = site.connect()
    for _ in range(3):
        assert peer.get()[2] == b"hello"
    assert peer.closed()
    site.wait()
    assert site.worker.scoreboard.state == WorkerState.DRAINING
    assert "Autorestarting worker after 3 requests." in site.log.messages()


def test_term_drains(serve: Serve) -> None:
    site = serve(hello, policy={"keepalive": 600.0})
    idle, half = site.connect(), site.connect()
    idle.get()
    half.send(GET[:10])
    half_sent = site.connect()  # so that the head's begin was received before TERM
    half_sent.get()
    site.terminate()
    assert idle.closed()
    half.send(GET[10:])
    status, fields, body = half.answer()
    assert (status, fields["connection"], body) == (200, "close", b"hello")
    site.wait()
    with pytest.raises(ConnectionRefusedError):
        site.connect()


def test_graceful_timeout_ends_the_drain(serve: Serve) -> None:
    site = serve(hello, graceful_timeout=0, policy={"head_timeout": 600.0})
    peer = site.connect()
    peer.send(GET[:10])
    site.connect().get()
    site.terminate()
    site.wait()
    assert peer.closed()


def test_the_end_of_the_master_drains(serve: Serve) -> None:
    read_end, write_end = os.pipe()
    site = serve(hello, parent_fd=read_end, policy={"keepalive": 600.0})
    peer = site.connect()
    peer.get()
    os.close(write_end)
    assert peer.closed()
    site.wait()
    assert site.worker.scoreboard.state == WorkerState.DRAINING
    os.close(read_end)


def test_descriptors_are_not_left_open(serve_wsgi: Serve, eventually: Eventually) -> None:
    site = serve_wsgi(echo)
    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    for _ in range(20):
        peer = site.connect()
        peer.send(post(b"x" * (MOST_IN_MEMORY + 1), "Connection: close"))
        peer.answer()
        peer.sock.close()
    eventually(lambda: site.connections == 0, "the end of the connections")
    if sys.platform == "linux":
        assert len(os.listdir("/proc/self/fd")) == before


# ---------------------------------------------------------------- who gives way when all connections are taken


def stall(site: Any, how: str) -> Any:
    """A connection that keeps the worker waiting in some way."""
    peer = site.connect(receive_buffer=32768)
    if how == "idle":
        peer.get()
    elif how == "head":
        peer.send(GET[:-4])
    elif how == "body":
        peer.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n")
    elif how == "stream":
        peer.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n")
        peer.answer()
    elif how == "reader":
        peer.send(b"GET /whole HTTP/1.1\r\nHost: h\r\n\r\n")
        peer._receive()
    elif how == "streamed":
        peer.send(b"GET /blocks HTTP/1.1\r\nHost: h\r\n\r\n")
        peer._receive()
    return peer


def stalled(environ: dict[str, Any], start_response: StartResponse) -> Any:
    environ["wsgi.input"].read()
    start_response("200 OK", [])
    if environ["PATH_INFO"] == "/blocks":
        return (b"x" * 65536 for _ in range(1000))
    return [b"x" * 20_000_000 if environ["PATH_INFO"] == "/whole" else b"hello"]


@pytest.mark.parametrize(
    ("threads", "how"),
    [
        *((threads, how) for threads in (0, 2) for how in ("silent", "idle", "head", "body", "reader")),
        (2, "stream"),
        (2, "streamed"),
    ],
)
def test_slow_clients_give_way_when_others_wait(
    threads: int, how: str, serve_wsgi: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "PATIENCE", (0.0,) * 6)
    site = serve_wsgi(stalled, threads=threads, worker_connections=2, policy={"keepalive": 600.0})
    slow = [stall(site, how) for _ in range(2)]
    for _ in range(4):
        assert site.connect().get("/", "Connection: close")[2] == b"hello"
    if how in ("head", "body"):
        found, _, _ = select.select([peer.sock for peer in slow], [], [], 20)
        assert found[0].recv(65536).startswith(b"HTTP/1.1 408 ")
        assert "others wait for its place" in site.log.messages(30)[0]
    else:
        assert site.log.messages(30) == []


def test_nobody_gives_way_without_need(serve: Serve, monkeypatch: pytest.MonkeyPatch, eventually: Eventually) -> None:
    monkeypatch.setattr(admission, "PATIENCE", (0.0,) * 6)
    monkeypatch.setattr(selector, "LOOK_AGAIN", 0.005)
    site = serve(hello, worker_connections=2, policy={"keepalive": 600.0})
    peers = [site.connect(), site.connect()]
    for peer in peers:
        peer.get()
    beats: set[float] = set()

    def several() -> bool:
        beats.add(site.worker.scoreboard.heartbeat)
        return len(beats) > 5

    eventually(several, "several looks")
    for peer in peers:
        assert peer.get()[2] == b"hello"


def test_an_error_of_the_driver_ends_the_connection_only(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoiled(self: Any, data: bytes) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Spool, "write", spoiled)
    site = serve(hello)
    peer = site.connect()
    peer.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello")
    assert peer.closed()
    assert site.connect().get()[2] == b"hello"
    assert any("Error on the connection" in message for message in site.log.messages(40))


def test_a_client_at_work_loses_nothing_when_the_worker_ends(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    """Its next request may be on the way: it has some time, and is told that the answer is the last."""
    monkeypatch.setattr(patience, "ARRIVAL_TIMEOUT", 20.0)
    site = serve(hello, policy={"keepalive": 600.0})
    peer = site.connect()
    peer.get()
    site.terminate()

    def refused() -> bool:
        try:
            socket.create_connection(("127.0.0.1", site.port)).close()
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:  # it was in the backlog that was just closed
            pass
        return False

    eventually(refused, "the end of accepting")
    status, fields, body = peer.get()
    assert (status, fields["connection"], body) == (200, "close", b"hello")
    site.wait()
