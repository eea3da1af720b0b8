"""queues: what the kernel holds of a connection."""

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gunicorn.drivers.queues import WINDOW, open_window, received, unsent

Pair = tuple[socket.socket, socket.socket]
Eventually = Callable[..., Any]


@pytest.fixture
def pair() -> Iterator[Pair]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    with client, server:
        yield client, server


def test_received(pair: Pair, eventually: Eventually) -> None:
    client, server = pair
    assert received(server.fileno()) == 0
    client.sendall(b"x" * 1000)
    eventually(lambda: received(server.fileno()) == 1000, "the bytes")
    server.recv(400)
    assert received(server.fileno()) == 600


def test_unsent(pair: Pair, eventually: Eventually) -> None:
    client, server = pair
    client.setblocking(False)
    with pytest.raises(BlockingIOError):
        client.sendall(b"x" * (64 << 20))
    assert unsent(client.fileno()) > 0
    server.setblocking(False)

    def taken() -> bool:
        try:
            server.recv(1 << 20)
        except BlockingIOError:
            pass
        return unsent(client.fileno()) == 0

    eventually(taken, "the end of the queue")
    with open("/dev/null") as file:
        assert unsent(file.fileno()) == 0


def test_a_window_lets_a_sender_finish_before_anything_is_read(pair: Pair) -> None:
    """Twice as much as the sender's own buffer takes, which autotuning would not let in before a first read."""
    client, server = pair
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    client.settimeout(20)
    open_window(server, WINDOW * 2)
    client.sendall(b"x" * (WINDOW // 2))
    server.settimeout(20)
    assert server.recv(1) == b"x"  # readable at once, whatever was wanted


def test_the_window_of_a_lost_connection_is_nobodys_concern(pair: Pair) -> None:
    pair[1].close()
    open_window(pair[1], 1000)
