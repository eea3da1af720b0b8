"""The gevent worker under a real master."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Serve = Callable[..., Any]
Eventually = Callable[..., Any]


@pytest.fixture
def serve_gevent(serve: Serve) -> Serve:
    """Start a master with gevent workers and the application of support/wsgi_apps.py."""
    pytest.importorskip("gevent")
    return lambda *args, **kwargs: serve("-k", "gevent", *args, app="wsgi_apps:app", **kwargs)


def test_it_serves_patched(serve_gevent: Serve) -> None:
    server = serve_gevent()
    assert server.get() == "hello"
    found = server.get("/modules").split()
    assert found[0].startswith("gevent.")
    assert found[1].startswith("gevent.")


def test_the_master_is_not_patched(serve_gevent: Serve, short_path: Path) -> None:
    (short_path / "conf.py").write_text(
        "def when_ready(server):\n    import socket\n    server.log.info('it has %s', socket.socket.__module__)\n"
    )
    assert serve_gevent("-c", "conf.py").wait_for("it has socket")


def test_a_master_that_is_patched_by_its_configuration(
    serve_gevent: Serve, short_path: Path, eventually: Eventually
) -> None:
    (short_path / "conf.py").write_text("from gevent import monkey\n\nmonkey.patch_all()\n")
    server = serve_gevent("-c", "conf.py", "--preload")
    pid = int(server.get("/pid"))
    assert "preload_app imports" not in server.output
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: (server.try_get("/pid") or str(pid)) != str(pid), "another worker")
    server.send(signal.SIGTERM)
    assert server.wait() == 0


def test_preload_without_patch_is_warned_about(serve_gevent: Serve) -> None:
    server = serve_gevent("--preload")
    assert server.get() == "hello"
    assert server.wait_for("preload_app imports the application before the gevent worker can patch")


def test_a_blocked_hub_is_replaced(serve_gevent: Serve, eventually: Eventually) -> None:
    server = serve_gevent("-t", "4")
    pid = int(server.get("/pid"))
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as blocked:
        blocked.sendall(b"GET /block HTTP/1.1\r\nHost: h\r\n\r\n")
        eventually(lambda: (server.try_get("/pid") or str(pid)) != str(pid), "another worker")
    assert server.wait_for(f"WORKER TIMEOUT \\(pid:{pid}\\)")


def test_a_killed_worker_is_replaced(serve_gevent: Serve, eventually: Eventually) -> None:
    server = serve_gevent("-w", "2")
    pids = server.wait_for_children(2)
    os.kill(min(pids), signal.SIGKILL)
    server.wait_for_children(2, without={min(pids)})
    assert server.get() == "hello"


def test_workers_end_with_their_master(serve_gevent: Serve, eventually: Eventually) -> None:
    server = serve_gevent("-w", "2")
    server.wait_for_children(2)
    assert server.get() == "hello"
    server.send(signal.SIGKILL)
    eventually(lambda: not server.group(), "the workers' end")


def test_term_finishes_what_runs(serve_gevent: Serve, eventually: Eventually) -> None:
    server = serve_gevent()
    begun = server.directory / "x"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as busy:
        busy.sendall(f"GET /wait?{begun} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        eventually(begun.exists, "the request")
        server.send(signal.SIGTERM)
        server.wait_for("Handling signal: term")
        begun.unlink()
        assert b"waited" in busy.recv(65536)
    assert server.wait() == 0
    assert "Traceback" not in server.output


def test_quit_ends_at_once(serve_gevent: Serve, eventually: Eventually) -> None:
    server = serve_gevent("--graceful-timeout", "600")
    begun = server.directory / "x"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as busy:
        busy.sendall(f"GET /wait?{begun} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        eventually(begun.exists, "the request")
        server.send(signal.SIGQUIT)
        assert server.wait() == 0


def test_max_requests_loses_nothing(serve_gevent: Serve) -> None:
    server = serve_gevent("--max-requests", "5")
    assert len({server.get("/pid") for _ in range(40)}) > 1


def test_without_gevent_the_error_says_what_to_install() -> None:
    code = (
        "import sys\n"
        "sys.modules['gevent'] = None\n"
        "from gunicorn.app.wsgiapp import run\n"
        "sys.argv = ['gunicorn', '-k', 'gevent', 'wsgi_apps:app']\n"
        "run()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert 'pip install "gunicorn-server[gevent]"' in done.stderr
    assert "Traceback" not in done.stderr
