"""The gevent worker under a real master."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
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


def test_the_hub_is_there_before_privileges_are_dropped(serve_gevent: Serve) -> None:
    """It imports modules; the worker's user may not be allowed to read them."""
    server = serve_gevent("-c", "python:hub_conf")
    server.wait_for("a hub before the user changes: True")


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


TAKES_NAMES = "from ssl import SSLContext\nfrom time import sleep as nap\n"


def test_names_taken_by_the_configuration_are_warned_about(serve_gevent: Serve, short_path: Path) -> None:
    (short_path / "client_library.py").write_text(TAKES_NAMES)
    (short_path / "conf.py").write_text("import client_library\nimport ssl\nimport http.client\n")
    server = serve_gevent("-c", "conf.py")
    assert server.get() == "hello"
    message = (
        "so they will block all requests of a worker, or fail: client_library.SSLContext, client_library.nap; begin"
    )
    assert server.wait_for(message)
    assert "MonkeyPatchWarning" not in server.output


def test_names_taken_after_a_patch_of_ones_own_are_fine(serve_gevent: Serve, short_path: Path) -> None:
    (short_path / "client_library.py").write_text(TAKES_NAMES)
    (short_path / "conf.py").write_text("from gevent import monkey\nmonkey.patch_all()\nimport client_library\n")
    server = serve_gevent("-c", "conf.py")
    assert server.get() == "hello"
    assert "before the gevent worker" not in server.output


def test_ssl_imported_by_the_configuration_works_in_the_application(serve_gevent: Serve, short_path: Path) -> None:
    """As a module: the application's contexts are gevent's then."""
    (short_path / "conf.py").write_text("import ssl\n")
    server = serve_gevent("-c", "conf.py")
    assert server.get("/client-context") == "gevent.ssl PROTOCOL_TLS_CLIENT"
    assert "before the gevent worker" not in server.output


class Asker(threading.Thread):
    """A client that keeps its connection as long as the server lets it, and never asks twice."""

    def __init__(self, port: int, count: int) -> None:
        super().__init__()
        self.pids: set[bytes] = set()
        self.failures: list[str] = []
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._count = count

    def run(self) -> None:
        for _ in range(self._count):
            try:
                self._connection.request("GET", "/pid")  # connects again when the last answer said "close"
                response = self._connection.getresponse()
                self.pids.add(response.read())
                assert response.status == 200
            except Exception as error:
                self.failures.append(repr(error))
                self._connection.close()
        self._connection.close()


def test_max_requests_under_load_fails_nobody(serve_gevent: Serve) -> None:
    server = serve_gevent("-w", "2", "--max-requests", "60", "--max-requests-jitter", "20")
    server.get()
    askers = [Asker(server.port, 150) for _ in range(4)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert [failure for asker in askers for failure in asker.failures] == []
    assert len(set().union(*(asker.pids for asker in askers))) >= 5


def test_names_choose_certificates_through_the_hook(serve_gevent: Serve, short_path: Path, tls_files: Any) -> None:
    (short_path / "conf.py").write_text(
        "import ssl\n"
        "def ssl_context(config, factory):\n"
        "    context = factory()\n"
        "    other = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
        f"    other.load_cert_chain({tls_files.other!r})\n"
        "    def chosen(sock, name, _context):\n"
        "        if name == 'other.test':\n"
        "            sock.context = other\n"
        "    context.sni_callback = chosen\n"
        "    return context\n"
    )
    server = serve_gevent("-c", "conf.py", "--certfile", tls_files.combined)
    port = int(server.wait_for(r"Listening at: https://127\.0\.0\.1:(\d+)")[-1])
    for name in ("localhost", "other.test"):
        with (
            socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
            tls_files.context().wrap_socket(plain, server_hostname=name) as secure,
        ):
            secure.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            assert secure.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert "Traceback" not in server.output
    assert "Warning" not in server.output
