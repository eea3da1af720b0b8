"""The sync worker under a real master."""

import os
import signal
import socket
from collections.abc import Callable
from typing import Any

import pytest

Serve = Callable[..., Any]
Eventually = Callable[..., Any]


def test_it_serves_one_request_at_a_time(serve: Serve, eventually: Eventually) -> None:
    server = serve("-k", "sync", app="wsgi_apps:app")
    assert server.get() == "hello"
    begun = server.directory / "x"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as busy:
        busy.sendall(f"GET /wait?{begun} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        eventually(begun.exists, "the first request")
        with socket.create_connection(("127.0.0.1", server.port), timeout=0.2) as other:
            other.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            with pytest.raises(TimeoutError):
                other.recv(1)
            begun.unlink()
            other.settimeout(20)
            assert other.recv(12) == b"HTTP/1.1 200"
        assert b"waited" in busy.recv(65536)


def test_a_request_over_timeout_costs_the_worker_its_life(serve: Serve, eventually: Eventually) -> None:
    server = serve("-k", "sync", "-t", "2", app="wsgi_apps:app")
    pid = int(server.get("/pid"))
    assert server.try_get("/sleep?600") is None
    eventually(lambda: (server.try_get("/pid") or str(pid)) != str(pid), "another worker")
    assert server.wait_for(f"WORKER TIMEOUT \\(pid:{pid}\\)")


def test_a_killed_worker_is_replaced(serve: Serve, eventually: Eventually) -> None:
    server = serve("-k", "sync", app="wsgi_apps:app")
    pid = int(server.get("/pid"))
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: (server.try_get("/pid") or str(pid)) != str(pid), "another worker")


def test_max_requests_loses_nothing(serve: Serve) -> None:
    server = serve("-k", "sync", "--max-requests", "5", app="wsgi_apps:app")
    pids = {server.get("/pid") for _ in range(40)}
    assert len(pids) > 1


def test_replacements_fail_no_request_of_clients_at_work(serve: Serve, hammer_until: Any) -> None:
    server = serve("-k", "sync", "-w", "2", "--max-requests", "60", "--max-requests-jitter", "30", app="wsgi_apps:app")
    failures = hammer_until(server, lambda: server.wait_for("Autorestarting worker after", 6))
    assert failures == []


def test_term_finishes_what_runs(serve: Serve, eventually: Eventually) -> None:
    server = serve("-k", "sync", app="wsgi_apps:app")
    begun = server.directory / "x"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as busy:
        busy.sendall(f"GET /wait?{begun} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        eventually(begun.exists, "the request")
        server.send(signal.SIGTERM)
        server.wait_for("Handling signal: term")
        begun.unlink()
        assert b"waited" in busy.recv(65536)
    assert server.wait() == 0
