"""Listening sockets: made, inherited, kept over a reload, and unlinked only by their maker."""

import logging
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gunicorn import sock
from gunicorn.config import Config
from gunicorn.errors import HaltServer
from gunicorn.sock import Listener

LOG = logging.getLogger("test.sock")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []
    monkeypatch.setattr(sock.time, "sleep", waits.append)  # type: ignore[attr-defined]
    return waits


@pytest.fixture
def opened() -> Iterator[list[Listener]]:
    listeners: list[Listener] = []
    yield listeners
    sock.close_sockets(listeners)


def config(*bind: str, **settings: Any) -> Config:
    cfg = Config()
    cfg.set("bind", list(bind))
    for name, value in settings.items():
        cfg.set(name, value)
    return cfg


def make(opened: list[Listener], *bind: str, **settings: Any) -> list[Listener]:
    made = sock.create_sockets(config(*bind, **settings), LOG)
    opened += made
    return made


def test_tcp(opened: list[Listener]) -> None:
    (listener,) = make(opened, "127.0.0.1:0")
    assert isinstance(listener, socket.socket)
    host, port = listener.getsockname()
    assert str(listener) == f"http://{host}:{port}"
    assert not listener.getblocking()
    assert not listener.get_inheritable()
    assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
    assert not listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
    with socket.create_connection((host, port)) as client:
        client.settimeout(20)
        listener.settimeout(20)
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_ipv6(opened: list[Listener]) -> None:
    (listener,) = make(opened, "[::1]:0")
    assert str(listener) == f"http://[::1]:{listener.getsockname()[1]}"


def test_reuse_port_lets_two_listen(opened: list[Listener]) -> None:
    (first,) = make(opened, "127.0.0.1:0", reuse_port=True)
    (second,) = make(opened, f"127.0.0.1:{first.getsockname()[1]}", reuse_port=True)
    assert first.getsockname() == second.getsockname()


def test_an_address_in_use_is_tried_again_and_then_given_up(opened: list[Listener], no_waiting: list[float]) -> None:
    (first,) = make(opened, "127.0.0.1:0")
    port = first.getsockname()[1]
    with pytest.raises(HaltServer) as caught:
        make(opened, f"127.0.0.1:{port}")
    assert (caught.value.reason, caught.value.exit_status) == (
        f"cannot listen at 127.0.0.1:{port}: the address is in use",
        1,
    )
    assert no_waiting == [sock.RETRY_SECONDS] * (sock.BIND_ATTEMPTS - 1)


def test_an_address_that_is_freed_meanwhile_is_taken(opened: list[Listener], monkeypatch: pytest.MonkeyPatch) -> None:
    (first,) = make(opened, "127.0.0.1:0")
    port = first.getsockname()[1]
    monkeypatch.setattr(sock.time, "sleep", lambda seconds: first.close())  # type: ignore[attr-defined]
    (second,) = make(opened, f"127.0.0.1:{port}")
    assert second.getsockname()[1] == port


def test_an_impossible_address_is_not_tried_again(
    opened: list[Listener], no_waiting: list[float], short_path: Path
) -> None:
    path = short_path / "s"
    with pytest.raises(HaltServer, match=r"cannot listen at 192\.0\.2\.1:80"):
        make(opened, f"unix:{path}", "192.0.2.1:80")
    assert no_waiting == []
    assert not path.exists()  # what had been made before is gone again


def test_unix_with_its_umask(opened: list[Listener], short_path: Path) -> None:
    path = short_path / "s"
    (listener,) = make(opened, f"unix:{path}", umask=0o077)
    assert str(listener) == f"unix:{path}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    sock.close_sockets([listener])
    assert not path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_unix_socket_belongs_to_the_workers_user(opened: list[Listener], short_path: Path) -> None:
    make(opened, f"unix:{short_path}/s", user=65534, group=65534)
    status = (short_path / "s").stat()
    assert (status.st_uid, status.st_gid) == (65534, 65534)


def test_a_stale_socket_is_replaced_a_living_one_is_not(opened: list[Listener], short_path: Path) -> None:
    path = short_path / "s"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    (listener,) = make(opened, f"unix:{path}")
    with pytest.raises(HaltServer, match="the address is in use"):
        make(opened, f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    assert listener.fileno() >= 0


def test_a_living_socket_with_a_full_backlog_is_not_replaced(opened: list[Listener], short_path: Path) -> None:
    path = short_path / "s"
    make(opened, f"unix:{path}", backlog=0)
    with socket.socket(socket.AF_UNIX) as waiting:
        waiting.connect(str(path))
        inode = path.stat().st_ino
        with pytest.raises(HaltServer, match="the address is in use"):
            make(opened, f"unix:{path}")
        assert path.stat().st_ino == inode


def test_a_file_that_is_no_socket_is_left_alone(opened: list[Listener], short_path: Path) -> None:
    (short_path / "s").write_text("precious")
    with pytest.raises(HaltServer, match="exists and is no socket"):
        make(opened, f"unix:{short_path}/s")
    assert (short_path / "s").read_text() == "precious"


def test_a_file_that_somebody_has_replaced_is_not_unlinked(opened: list[Listener], short_path: Path) -> None:
    path = short_path / "s"
    (listener,) = make(opened, f"unix:{path}")
    path.unlink()
    path.write_text("another's")
    sock.close_sockets([listener])
    assert path.read_text() == "another's"


def test_a_child_does_not_unlink(opened: list[Listener], short_path: Path) -> None:
    (listener,) = make(opened, f"unix:{short_path}/s")
    pid = os.fork()
    if pid == 0:
        sock.close_sockets([listener])
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert (short_path / "s").exists()


def test_inherited_descriptors(opened: list[Listener]) -> None:
    original = socket.create_server(("127.0.0.1", 0))
    number = original.detach()
    made = sock.create_sockets(config("127.0.0.1:1"), LOG, [number])
    opened += made
    assert made[0].fileno() == number
    assert made[0].cfg_addr == number
    assert not made[0].get_inheritable()


def test_a_descriptor_as_an_address(opened: list[Listener]) -> None:
    number = socket.create_server(("127.0.0.1", 0)).detach()
    (listener,) = make(opened, f"fd://{number}")
    assert str(listener).startswith("http://127.0.0.1:")


def test_a_descriptor_that_is_no_socket_is_named() -> None:
    read, write = os.pipe()
    try:
        with pytest.raises(HaltServer, match=f"cannot listen on the inherited descriptor {read}"):
            sock.create_sockets(config("127.0.0.1:1"), LOG, [read])
    finally:
        os.close(read)
        os.close(write)


def test_an_inherited_unix_socket_can_be_adopted(opened: list[Listener], short_path: Path) -> None:
    path = short_path / "s"
    original = socket.socket(socket.AF_UNIX)
    original.bind(str(path))
    (listener,) = sock.create_sockets(config("127.0.0.1:1"), LOG, [original.detach()])
    listener.unlink()
    assert path.exists()
    listener.adopt_file()
    sock.close_sockets([listener])
    assert not path.exists()


def test_a_reload_keeps_the_listeners_of_addresses_that_stay(opened: list[Listener], short_path: Path) -> None:
    old = make(opened, f"unix:{short_path}/a", f"unix:{short_path}/b")
    new = sock.replace_sockets(old, config(f"unix:{short_path}/c", f"unix:{short_path}/b"), LOG)
    opened += new
    assert new[1] is old[1]
    assert new[0].getsockname() == f"{short_path}/c"
    assert old[0].fileno() >= 0  # closing it is the caller's


def test_a_reload_that_fails_leaves_nothing_behind(
    opened: list[Listener], short_path: Path, no_waiting: list[float]
) -> None:
    old = make(opened, f"unix:{short_path}/a")
    (short_path / "file").touch()
    with pytest.raises(HaltServer):
        sock.replace_sockets(old, config(f"unix:{short_path}/c", f"unix:{short_path}/file"), LOG)
    assert not (short_path / "c").exists()
    assert no_waiting == []


def test_a_closed_listener_can_be_shown() -> None:
    listener = Listener(socket.AF_INET, socket.SOCK_STREAM)
    listener.close()
    assert str(listener) == "closed"


def test_with_tls_addresses_say_so_also_after_a_reload(opened: list[Listener], tls_files: Any) -> None:
    (listener,) = make(opened, "127.0.0.1:0", certfile=tls_files.combined)
    assert str(listener) == f"https://127.0.0.1:{listener.getsockname()[1]}"
    (kept,) = sock.replace_sockets([listener], config("127.0.0.1:0"), LOG)
    assert kept is listener
    assert str(listener).startswith("http://")


def test_a_configuration_has_one_tls_context(tls_files: Any) -> None:
    cfg = config(certfile=tls_files.combined)
    assert sock.ssl_context(cfg) is sock.ssl_context(cfg)
    assert sock.ssl_context(cfg) is not sock.ssl_context(config(certfile=tls_files.combined))
