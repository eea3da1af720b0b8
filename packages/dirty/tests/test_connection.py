"""The pool of connections under the blocking client; through the client: test_client.py."""

from __future__ import annotations

import os
import socket
import threading

import pytest
from gunicorn.dirty.connection import ConnectionPool
from gunicorn.dirty.errors import DirtyConnectionError


def test_connections_beyond_the_bound_are_closed(short_dir: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gunicorn.dirty.connection._MAX_IDLE", 1)
    path = os.path.join(short_dir, "p")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        pool = ConnectionPool(path)
        first, second = pool.send(b"1", None), pool.send(b"2", 5)
        pool.put_back(first)
        pool.put_back(second)
        assert pool.idle == [first]
        assert second.sock.fileno() == -1
        pool.close()
        assert first.sock.fileno() == -1


def test_a_peer_that_closes_at_once_is_not_asked_for_ever(short_dir: str) -> None:
    path = os.path.join(short_dir, "p")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def close_at_once() -> None:
            listener.accept()[0].close()

        closed = threading.Thread(target=close_at_once)
        closed.start()
        with pytest.raises((DirtyConnectionError, ConnectionResetError, BrokenPipeError)):
            ConnectionPool(path).send(b"x" * 10_000_000, 20)
        closed.join()
