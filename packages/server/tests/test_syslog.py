"""Syslog: addresses, and messages over streams that break and are inherited."""

import logging
import os
import shutil
import socket
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gunicorn import syslog
from gunicorn.errors import ConfigError

PATIENCE = 20.0


@pytest.fixture
def short_path() -> Iterator[str]:
    """A path that is short enough for a unix socket."""
    folder = tempfile.mkdtemp(prefix="gs-")
    yield str(Path(folder) / "log")
    shutil.rmtree(folder)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        yield server


def record(message: str, level: int = logging.ERROR) -> logging.LogRecord:
    return logging.LogRecord("gunicorn.error", level, __file__, 1, message, None, None)


def accept(listener: socket.socket) -> socket.socket:
    connection, _ = listener.accept()
    connection.settimeout(PATIENCE)
    return connection


def reset_on_close(connection: socket.socket) -> None:
    """Let the peer hear of the end at once."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def receive(connection: socket.socket, end: bytes) -> bytes:
    """What comes until *end*."""
    data = b""
    while not data.endswith(end):
        part = connection.recv(1000)
        assert part, data
        data += part
    return data


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unix:///dev/log", (None, "/dev/log")),
        ("unix:///dev/log#dgram", (socket.SOCK_DGRAM, "/dev/log")),
        ("unix:///dev/log#stream", (socket.SOCK_STREAM, "/dev/log")),
        ("udp://host", (socket.SOCK_DGRAM, ("host", 514))),
        ("tcp://host:1514", (socket.SOCK_STREAM, ("host", 1514))),
    ],
)
def test_addresses(text: str, expected: Any) -> None:
    assert syslog.parse_address(text) == expected


@pytest.mark.parametrize("text", ["host:514", "unix://", "unix:///x#pipe", "udp://host:x", "http://host"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ConfigError, match="is none of unix://PATH, udp://HOST:PORT, tcp://HOST:PORT"):
        syslog.parse_address(text)


def test_a_host_that_does_not_exist_is_named() -> None:
    with pytest.raises(ConfigError, match=r"syslog_addr 'udp:.*514' cannot be used: "):
        syslog.make_handler("udp://no.such.host.invalid:514", "user")


def test_unix_datagrams(short_path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(short_path)
        server.settimeout(PATIENCE)
        handler = syslog.make_handler(f"unix://{short_path}#dgram", "daemon")
        handler.emit(record("a\nb"))
        handler.close()
        assert server.recv(1000) == b"<27>a\nb\0"


def test_unix_streams(short_path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(short_path)
        server.listen()
        server.settimeout(PATIENCE)
        handler = syslog.make_handler(f"unix://{short_path}#stream", "daemon")
        handler.emit(record("one", logging.INFO))
        handler.emit(record("two"))
        with accept(server) as connection:
            assert receive(connection, b"two\0") == b"<30>one\0<27>two\0"
        handler.close()


@pytest.mark.parametrize("socktype", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_unix_path_alone_fits_either_kind(short_path: str, socktype: socket.SocketKind) -> None:
    with socket.socket(socket.AF_UNIX, socktype) as server:
        server.bind(short_path)
        server.settimeout(PATIENCE)
        if socktype == socket.SOCK_STREAM:
            server.listen()
        handler = syslog.make_handler(f"unix://{short_path}", "daemon")
        handler.emit(record("one"))
        if socktype == socket.SOCK_DGRAM:
            assert server.recv(1000) == b"<27>one\0"
        else:
            with accept(server) as connection:
                assert receive(connection, b"\0") == b"<27>one\0"
        handler.close()


@pytest.mark.parametrize("kind", ["", "#dgram"])
def test_a_receiver_of_datagrams_that_hangs_stops_nobody(
    short_path: str, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 1000.0
    monkeypatch.setattr("gunicorn.syslog.time.monotonic", lambda: now)
    monkeypatch.setattr("gunicorn.syslog.PATIENCE", 0.1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(short_path)
        server.setblocking(False)
        handler = syslog.make_handler(f"unix://{short_path}{kind}", "daemon")
        sent = 0
        while not capsys.readouterr().err:  # until the receiver's queue is full, and one message was given up
            handler.emit(record("fills"))
            sent += 1
        handler.emit(record("dropped without a wait"))
        assert capsys.readouterr().err == ""
        for _ in range(sent - 1):
            assert server.recv(1000) == b"<27>fills\0"
        with pytest.raises(BlockingIOError):
            server.recv(1000)
        now += syslog.RETRY
        handler.emit(record("back"))
        assert server.recv(1000) == b"<27>back\0"
        handler.close()


def test_unix_datagrams_after_a_restart_of_the_receiver(short_path: str) -> None:
    handler = syslog.make_handler(f"unix://{short_path}#dgram", "daemon")
    for message in ("one", "two"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
            server.bind(short_path)
            server.settimeout(PATIENCE)
            handler.emit(record(message))
            assert server.recv(1000) == f"<27>{message}\0".encode()
        os.unlink(short_path)
    handler.close()


def test_messages_over_tcp_are_lines(listener: socket.socket) -> None:
    handler = syslog.make_handler(f"tcp://127.0.0.1:{listener.getsockname()[1]}", "local0")
    handler.emit(record("one\ntwo"))
    handler.emit(record("three"))
    with accept(listener) as connection:
        assert receive(connection, b"three\n") == b"<131>one#012two\n<131>three\n"
    handler.close()


def test_a_broken_connection_is_opened_again(listener: socket.socket) -> None:
    handler = syslog.make_handler(f"tcp://127.0.0.1:{listener.getsockname()[1]}", "user")
    handler.emit(record("before"))
    with accept(listener) as first:
        reset_on_close(first)
    handler.emit(record("after"))
    with accept(listener) as second:
        assert receive(second, b"\n") == b"<11>after\n"
    handler.close()


def test_while_nobody_listens_messages_are_dropped(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 1000.0
    monkeypatch.setattr("gunicorn.syslog.time.monotonic", lambda: now)
    port = listener.getsockname()[1]
    handler = syslog.make_handler(f"tcp://127.0.0.1:{port}", "user")
    handler.emit(record("before"))
    with accept(listener) as first:
        reset_on_close(first)
    listener.close()
    handler.emit(record("lost"))
    assert "ConnectionRefusedError" in capsys.readouterr().err  # logging's word about a handler that fails
    with socket.create_server(("127.0.0.1", port)) as again:
        again.settimeout(PATIENCE)
        handler.emit(record("too early"))
        now += syslog.RETRY
        handler.emit(record("back"))
        with accept(again) as connection:
            assert receive(connection, b"\n") == b"<11>back\n"
    assert capsys.readouterr().err == ""
    handler.close()


def test_a_forked_process_has_a_connection_of_its_own(listener: socket.socket) -> None:
    handler = syslog.make_handler(f"tcp://127.0.0.1:{listener.getsockname()[1]}", "user")
    handler.emit(record("before"))
    with accept(listener) as parents:
        assert receive(parents, b"\n") == b"<11>before\n"
        pid = os.fork()
        if not pid:
            handler.emit(record("child"))
            os._exit(0)
        with accept(listener) as childs:
            assert receive(childs, b"\n") == b"<11>child\n"
        assert os.waitpid(pid, 0)[1] == 0
        handler.emit(record("parent"))
        assert receive(parents, b"\n") == b"<11>parent\n"
    handler.close()
