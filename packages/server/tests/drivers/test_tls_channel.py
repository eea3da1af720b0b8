"""TLSChannel: TLS on sync and gthread, with clients of every manner."""

import contextlib
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any
from wsgiref.validate import validator

import pytest

Serve = Callable[..., Any]
Eventually = Callable[..., Any]
StartResponse = Callable[..., Any]

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
BLOCKS = 60


def app(environ: dict[str, Any], start_response: StartResponse) -> Any:
    path = environ["PATH_INFO"]
    if path == "/stream":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return (bytes([97 + number % 26]) * 65536 for number in range(BLOCKS))
    if path == "/whole":
        body = b"w" * 3_000_000
    elif path == "/echo":
        body = environ["wsgi.input"].read()
    elif path == "/fast":
        body = b"hello"
    else:
        names = ("wsgi.url_scheme", "HTTPS", "SSL_PROTOCOL", "SSL_CLIENT_VERIFY", "SSL_CLIENT_CERT")
        body = repr({name: environ[name] for name in names if name in environ}).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


STREAM = b"".join(bytes([97 + number % 26]) * 65536 for number in range(BLOCKS))


@pytest.fixture(params=[0, 2], ids=["sync", "gthread"])
def serve(request: pytest.FixtureRequest, serve_wsgi: Serve, tls_files: Any) -> Serve:
    def start(application: Any = app, **options: Any) -> Any:
        return serve_wsgi(application, threads=request.param, **{"certfile": tls_files.combined, **options})

    return start


@pytest.fixture
def connect(tls_files: Any) -> Callable[..., Any]:
    """``connect(site, context=None, server_hostname="localhost")``: a peer after its handshake."""

    def start(site: Any, context: ssl.SSLContext | None = None, name: str = "localhost", **how: Any) -> Any:
        peer = site.connect(**how)
        context = context or tls_files.context()
        peer.sock = context.wrap_socket(peer.sock, server_hostname=name, suppress_ragged_eofs=False)
        return peer

    return start


def test_requests_and_what_the_application_is_told(serve: Serve, connect: Any) -> None:
    def checked(environ: dict[str, Any], start_response: StartResponse) -> Any:
        assert isinstance(environ["gunicorn.socket"], ssl.SSLSocket)
        return validator(app)(environ, start_response)

    site = serve(checked)
    peer = connect(site)
    for _ in range(3):
        status, _, body = peer.get()
        assert (status, eval(body)) == (
            200,
            {"wsgi.url_scheme": "https", "HTTPS": "on", "SSL_PROTOCOL": "TLSv1.3", "SSL_CLIENT_VERIFY": "NONE"},
        )
    assert peer.sock.selected_alpn_protocol() is None
    assert site.log.messages(30) == []


def test_pipelines_and_bodies(serve: Serve, connect: Any) -> None:
    peer = connect(serve())
    body = os.urandom(3_000_000)
    raw = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    peer.send(GET + raw + GET)
    assert peer.answer()[0] == 200
    assert peer.answer()[2] == body
    assert peer.answer()[0] == 200


def test_requests_that_come_in_one_record_and_byte_by_byte(serve: Serve, connect: Any) -> None:
    peer = connect(serve())
    peer.send(GET * 3)
    assert [peer.answer()[0] for _ in range(3)] == [200] * 3
    for index in range(len(GET)):
        peer.send(GET[index : index + 1])
    assert peer.answer()[0] == 200


@pytest.mark.parametrize(("path", "body"), [("/stream", STREAM), ("/whole", b"w" * 3_000_000)])
def test_slow_readers(serve: Serve, connect: Any, path: str, body: bytes) -> None:
    peer = connect(serve(), receive_buffer=32768)
    for _ in range(2):
        assert peer.get(path)[2] == body


def test_close_notify_ends_a_connection(serve: Serve, connect: Any) -> None:
    peer = connect(serve())
    peer.get("/", "Connection: close")
    assert peer.closed()  # without close_notify that would be an SSLEOFError


def test_half_close_still_gets_the_answer(serve: Serve, connect: Any) -> None:
    peer = connect(serve())
    peer.send(GET)
    with socket.socket(fileno=os.dup(peer.sock.fileno())) as raw:
        raw.shutdown(socket.SHUT_WR)
    assert peer.answer()[0] == 200


def test_nobody_waits_for_a_handshake(serve: Serve, connect: Any, eventually: Eventually) -> None:
    site = serve(policy={"head_timeout": 600.0})
    silent, dribbling = site.connect(), site.connect()
    dribbling.send(b"\x16\x03\x01\x02\x00\x01")
    eventually(lambda: site.connections == 2, "their connections")
    peer = connect(site)
    for byte in b"\x00\x01\xfc\x03":
        dribbling.send(bytes([byte]))
        assert peer.get("/fast")[2] == b"hello"
    assert site.connections == 3
    assert silent.sock.fileno() >= 0


@pytest.mark.parametrize("first", [b"", b"\x16\x03\x01\x02"])
@pytest.mark.parametrize("eager", [False, True])
def test_a_handshake_has_a_deadline(serve: Serve, eventually: Eventually, first: bytes, eager: bool) -> None:
    site = serve(policy={"head_timeout": 0.1}, do_handshake_on_connect=eager)
    peer = site.connect()
    peer.send(first)
    assert peer.closed()
    eventually(lambda: site.connections == 0, "its end")
    assert site.log.messages(30) == []


def test_the_handshake_may_begin_at_once(serve: Serve, connect: Any) -> None:
    assert connect(serve(do_handshake_on_connect=True)).get("/fast")[2] == b"hello"


def test_plain_http_is_told_so(serve: Serve, eventually: Eventually) -> None:
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
    eventually(lambda: site.connections == 0, "its end")
    assert site.log.messages(30) == ["Invalid TLS handshake from ip=127.0.0.1: it is plain HTTP"]


def test_nonsense_is_refused_and_logged_once(serve: Serve, connect: Any, eventually: Eventually) -> None:
    site = serve()
    peer = site.connect()
    peer.send(b"\x00" * 100)
    with contextlib.suppress(ConnectionResetError):
        peer.rest()
    peer.sock.close()
    eventually(lambda: site.connections == 0, "its end")
    [message] = site.log.messages(30)
    assert message.startswith("Invalid TLS handshake from ip=127.0.0.1: ")
    assert connect(site).get("/fast")[2] == b"hello"


def test_who_leaves_in_the_handshake_is_not_worth_a_warning(serve: Serve, eventually: Eventually) -> None:
    site = serve()
    for first in (b"", b"\x16\x03\x01\x02"):
        peer = site.connect()
        peer.send(first)
        eventually(lambda: site.connections == 1, "its connection")
        peer.sock.close()
        eventually(lambda: site.connections == 0, "its end")
    assert site.log.messages(30) == []


def test_certificates_of_clients(serve: Serve, connect: Any, tls_files: Any, eventually: Eventually) -> None:
    site = serve(cert_reqs=2, ca_certs=tls_files.ca)
    told = eval(connect(site, tls_files.context(client_certificate=True)).get()[2])
    assert told["SSL_CLIENT_VERIFY"] == "SUCCESS"
    assert told["SSL_CLIENT_CERT"].startswith("-----BEGIN CERTIFICATE-----")
    stranger = connect(site)  # TLS 1.3: only now it hears
    with pytest.raises(ssl.SSLError):
        stranger.get()
    stranger.sock.close()
    eventually(lambda: site.log.messages(30), "the warning")
    assert "peer did not return a certificate" in site.log.messages(30)[0]


def test_names_choose_certificates_through_the_hook(serve: Serve, connect: Any, tls_files: Any) -> None:
    def hook(cfg: Any, factory: Any) -> ssl.SSLContext:
        context: ssl.SSLContext = factory()
        other = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        other.load_cert_chain(tls_files.other)

        def choose(sock: Any, name: str, _: Any) -> None:
            if name == "other.test":
                sock.context = other

        context.sni_callback = choose
        return context

    site = serve(ssl_context=hook)
    assert connect(site).get("/fast")[2] == b"hello"
    assert connect(site, name="other.test").get("/fast")[2] == b"hello"  # the client has checked the certificate


@pytest.mark.parametrize("suppressed", [True, False])
def test_ragged_ends(serve: Serve, connect: Any, eventually: Eventually, suppressed: bool) -> None:
    """The end of the connection without close_notify counts as an orderly one, or as none."""
    site = serve(suppress_ragged_eofs=suppressed)
    peer = connect(site)
    peer.get("/fast")
    raw = socket.socket(fileno=os.dup(peer.sock.fileno()))
    with raw:
        raw.shutdown(socket.SHUT_WR)
        if suppressed:
            assert peer.closed()
        else:
            with contextlib.suppress(ssl.SSLError, ConnectionResetError):
                assert peer.closed()
    eventually(lambda: site.connections == 0, "its end")
    assert site.log.messages(30) == []


def test_the_drain_ends_handshakes_and_serves_requests(serve: Serve, connect: Any) -> None:
    site = serve()
    shaking, used, half = site.connect(), connect(site), connect(site)
    used.get("/fast")
    half.send(GET[:10])
    used.get("/fast")
    site.terminate()
    half.send(GET[10:])
    assert half.answer()[1]["connection"] == "close"
    assert used.closed()
    assert shaking.closed()
    site.wait()


def test_files_are_sent_through_tls(serve: Serve, connect: Any, tmp_path: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(1_000_000))

    def files(environ: dict[str, Any], start_response: StartResponse) -> Any:
        start_response("200 OK", [("Content-Length", "1000000")])
        return environ["wsgi.file_wrapper"](open(path, "rb"))

    assert connect(serve(files)).get()[2] == path.read_bytes()
