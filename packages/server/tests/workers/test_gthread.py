"""The gthread worker under a real master."""

import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

Serve = Callable[..., Any]
Eventually = Callable[..., Any]


def test_it_serves_several_requests_at_a_time(serve: Serve, eventually: Eventually) -> None:
    server = serve("-k", "gthread", "--threads", "3", app="wsgi_apps:app")
    assert server.get() == "hello"
    begun = [server.directory / str(number) for number in range(2)]
    with ExitStack() as stack:
        peers = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=20)) for _ in begun]
        for peer, path in zip(peers, begun, strict=True):
            peer.sendall(f"GET /wait?{path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        eventually(lambda: all(path.exists() for path in begun), "both requests at once")
        assert server.get() == "hello"
        for path in begun:
            path.unlink()
        for peer in peers:
            assert b"waited" in peer.recv(65536)


def test_sync_with_threads_is_gthread(serve: Serve) -> None:
    server = serve("-k", "sync", "--threads", "2", app="wsgi_apps:app")
    assert server.wait_for("Using worker: gthread")
    assert "wsgi.multithread=True" in server.get("/environ")


def test_a_request_over_timeout_is_replaced_with_its_worker(serve: Serve, eventually: Eventually) -> None:
    server = serve("-k", "gthread", "--threads", "2", "-t", "2", app="wsgi_apps:app")
    pid = int(server.get("/pid"))
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as stuck:
        stuck.sendall(b"GET /sleep?600 HTTP/1.1\r\nHost: h\r\n\r\n")
        eventually(lambda: (server.try_get("/pid") or str(pid)) != str(pid), "another worker")
    assert server.wait_for("A request runs for over 2 seconds, GET /sleep\\?600; replacing the worker")
    assert "in do_sleep" in server.output
    assert "WORKER TIMEOUT" not in server.output


def test_replacements_fail_no_request_of_clients_at_work(serve: Serve, hammer_until: Any) -> None:
    server = serve("-k", "gthread", "--threads", "2", "--max-requests", "60", app="wsgi_apps:app")
    failures = hammer_until(server, lambda: server.wait_for("Autorestarting worker after", 3))
    assert failures == []


def test_term_finishes_what_runs(serve: Serve, eventually: Eventually) -> None:
    server = serve("-k", "gthread", "--threads", "2", app="wsgi_apps:app")
    begun = server.directory / "x"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as busy:
        busy.sendall(f"GET /wait?{begun} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        eventually(begun.exists, "the request")
        server.send(signal.SIGTERM)
        server.wait_for("Handling signal: term")
        begun.unlink()
        assert b"waited" in busy.recv(65536)
    assert server.wait() == 0


def test_quit_ends_at_once(serve: Serve, eventually: Eventually) -> None:
    server = serve("-k", "gthread", "--threads", "2", "--graceful-timeout", "600", app="wsgi_apps:app")
    begun = server.directory / "x"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as busy:
        busy.sendall(f"GET /wait?{begun} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        eventually(begun.exists, "the request")
        server.send(signal.SIGQUIT)
        assert server.wait() == 0
