"""TLS on greenlets: a gevent worker with a certificate, in a process of its own, and clients of every manner."""

import contextlib
import os
import signal
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Serve = Callable[..., Any]
Connect = Callable[..., Any]

pytest.importorskip("gevent")

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def serve(serve_greenlets: Serve, tls_files: Any) -> Serve:
    """``serve(policy={}, **settings)``: as ``serve_greenlets``, with the certificate of localhost."""
    return lambda **options: serve_greenlets(**{"certfile": tls_files.combined, **options})


@pytest.fixture
def connect(tls_files: Any) -> Connect:
    """``connect(site, context=None)``: a peer after its handshake."""

    def start(site: Any, context: ssl.SSLContext | None = None, **how: Any) -> Any:
        peer = site.connect(**how)
        context = context or tls_files.context()
        peer.sock = context.wrap_socket(peer.sock, server_hostname="localhost", suppress_ragged_eofs=False)
        return peer

    return start


def test_requests_and_what_the_application_is_told(serve: Serve, connect: Connect) -> None:
    peer = connect(serve(app="wsgi_apps:validated"))
    lines = peer.get("/environ")[2].decode().splitlines()
    assert "wsgi.url_scheme=https" in lines
    assert "HTTPS=on" in lines
    assert f"SSL_PROTOCOL={peer.sock.version()}" in lines
    assert "SSL_CLIENT_VERIFY=NONE" in lines
    assert eval(peer.get("/cipher")[2]) == (peer.sock.version(), None, "127.0.0.1")


def test_pipelines_and_bodies(serve: Serve, connect: Connect) -> None:
    peer = connect(serve())
    body = os.urandom(3_000_000)
    raw = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    peer.send(GET * 3 + raw + GET)  # it reads all of it before it answers; two threads must not share a TLS connection
    assert [peer.answer()[2] for _ in range(5)] == [b"hello"] * 3 + [body, b"hello"]


def test_byte_by_byte(serve: Serve, connect: Connect) -> None:
    peer = connect(serve())
    for index in range(len(GET)):
        peer.send(GET[index : index + 1])
    assert peer.answer()[2] == b"hello"


def test_slow_readers(serve: Serve, connect: Connect) -> None:
    site = serve()
    slow, other = connect(site, receive_buffer=32768), connect(site)
    slow.send(b"GET /big?40 HTTP/1.1\r\nHost: h\r\n\r\n")
    for _ in range(5):
        assert other.get()[2] == b"hello"
        slow._receive()
    assert slow.answer()[2] == b"".join(b"%c" % (97 + number % 26) * 65536 for number in range(40))


def test_close_notify_ends_a_connection(serve: Serve, connect: Connect) -> None:
    peer = connect(serve())
    peer.get("/", "Connection: close")
    assert peer.closed()  # without close_notify that would be an SSLEOFError


def test_nobody_waits_for_a_handshake(serve: Serve, connect: Connect) -> None:
    site = serve()
    silent, dribbling = site.connect(), site.connect()
    dribbling.send(b"\x16\x03\x01\x02\x00\x01")
    peer = connect(site)
    for byte in b"\x00\x01\xfc\x03":
        dribbling.send(bytes([byte]))
        assert peer.get()[2] == b"hello"
    assert silent.sock.fileno() >= 0


@pytest.mark.parametrize("first", [b"", b"\x16\x03\x01\x02"], ids=["silent", "begun"])
def test_a_handshake_has_a_deadline(serve: Serve, first: bytes) -> None:
    site = serve(policy={"head_timeout": 0.1})
    peer = site.connect()
    peer.send(first)
    assert peer.closed()
    log = site.finish()
    assert "has gone away in the TLS handshake: deadline" in log
    assert "[WARNING]" not in log


def test_plain_http_is_told_so(serve: Serve) -> None:
    site = serve()
    peer = site.connect()
    peer.send(GET)
    status, fields, body = peer.answer()
    assert (status, fields["connection"], body) == (
        400,
        "close",
        b"400 Bad Request\nThis port speaks HTTPS, not HTTP\n",
    )
    assert peer.closed()
    peer.sock.close()
    log = site.finish()
    assert log.count("Invalid TLS handshake from ip=127.0.0.1: it is plain HTTP") == 1
    assert "Traceback" not in log


def test_nonsense_is_refused_and_logged_once(serve: Serve, connect: Connect) -> None:
    site = serve()
    peer = site.connect()
    peer.send(b"\x00" * 100)
    with contextlib.suppress(ConnectionResetError):
        peer.rest()
    peer.sock.close()
    assert connect(site).get()[2] == b"hello"
    log = site.finish()
    assert log.count("Invalid TLS handshake from ip=127.0.0.1: ") == 1
    assert "Traceback" not in log


def test_certificates_of_clients(serve: Serve, connect: Connect, tls_files: Any) -> None:
    site = serve(cert_reqs=2, ca_certs=tls_files.ca)
    peer = connect(site, tls_files.context(client_certificate=True))
    told = peer.get("/environ")[2].decode()
    assert "SSL_CLIENT_VERIFY=SUCCESS" in told
    assert "SSL_CLIENT_CERT=-----BEGIN CERTIFICATE-----" in told
    assert "client" in str(eval(peer.get("/cipher")[2])[1]["subject"])
    stranger = connect(site)  # TLS 1.3: only now it hears
    with pytest.raises(ssl.SSLError):
        stranger.get()
    stranger.sock.close()
    assert "peer did not return a certificate" in site.finish()


@pytest.mark.parametrize("suppressed", [True, False])
def test_ragged_ends(serve: Serve, connect: Connect, suppressed: bool) -> None:
    """The end of the connection without close_notify, within a request: it is answered, or it is none."""
    site = serve(suppress_ragged_eofs=suppressed)
    peer = connect(site)
    peer.send(GET)
    assert peer.answer()[2] == b"hello"
    peer.send(b"POST /swallow HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n")
    with socket.socket(fileno=os.dup(peer.sock.fileno())) as raw:
        raw.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ssl.SSLError, ConnectionResetError):
            answer = peer.rest()
    assert (b"PeerGoneError" in answer) is suppressed
    assert "Traceback" not in site.finish()


def test_the_drain_ends_handshakes_and_serves_requests(serve: Serve, connect: Connect) -> None:
    site = serve(policy={"keepalive": 600.0})
    shaking, used, half = site.connect(), connect(site), connect(site)
    used.get()
    half.send(GET[:10])
    used.get()
    site.send_signal(signal.SIGTERM)
    assert used.closed()  # so the drain has begun
    half.send(GET[10:])
    assert half.answer()[1]["connection"] == "close"
    assert shaking.closed()
    assert site.wait()[0] == 0


def test_files_are_sent_through_tls(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(1_000_000))
    assert connect(serve()).get(f"/file?{path}")[2] == path.read_bytes()
