"""A client's connection at the arbiter: pieces, mixtures, nonsense and sudden ends."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from gunicorn.dirty.protocol import BinaryProtocol
from gunicorn_dirty_protocol import Cancel, Request

APP = "sampleapps:Sample"
Wait = Callable[..., Any]


def test_a_client_that_vanishes_within_its_request_leaves_the_slot_in_step(start: Any, wait_for: Wait) -> None:
    pool = start("--workers", "1").ready()
    client = pool.client()
    pids = pool.worker_pids()
    frame = BinaryProtocol.encode_request(1, APP, "remember", (b"x" * 2_000_000,))
    for cut in (len(frame) - 1, len(frame) // 2, 70_000):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(pool.path)
            sock.sendall(frame[:cut])
        pool.idle()
        assert client.execute(APP, "remembered") == []
    assert pool.worker_pids() == pids


def test_answers_are_matched_when_a_connection_has_many_requests(start: Any) -> None:
    pool = start("--workers", "2", "--threads", "2").ready()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(pool.path)
        sizes = {number: (number * 37_123) % 300_000 for number in range(1, 60)}
        frames = b"".join(
            BinaryProtocol.encode_request(number, APP, "echo", ([number, b"z" * size],))
            for number, size in sizes.items()
        )
        sender = threading.Thread(target=sock.sendall, args=(frames,))
        sender.start()
        seen: dict[int, Any] = {}
        while len(seen) < len(sizes):
            message = BinaryProtocol.read_message(sock)
            seen[message["id"]] = message["result"]
        sender.join(10)
    assert {number: (result[0], len(result[1])) for number, result in seen.items()} == {
        number: (number, size) for number, size in sizes.items()
    }


def test_requests_of_many_kinds_follow_one_another_on_a_connection(start: Any) -> None:
    pool = start("--workers", "1").ready()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(pool.path)
        kinds = itertools.product(("echo", "pid", "echo"), (None, 10.0, 20.0, None), (None, 3))
        for number, (action, deadline, priority) in enumerate(list(kinds) * 2, 1):
            args = (number,) if action == "echo" else ()
            sock.sendall(Request(number, APP, action, args, {}, deadline, priority).to_bytes())
            message = BinaryProtocol.read_message(sock)
            assert message["id"] == number
            assert message["result"] == (number if action == "echo" else pool.worker_pids()[0])


@pytest.mark.parametrize("action", ["forever", "aforever"])
def test_after_a_stream_was_given_up_nothing_more_of_it_comes(start: Any, action: str) -> None:
    pool = start("--workers", "1").ready()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(20)
        sock.connect(pool.path)
        for number in range(1, 20, 2):
            sock.sendall(BinaryProtocol.encode_request(number, APP, action, (50_000,)))
            assert BinaryProtocol.read_message(sock)["type"] == "chunk"
            sock.sendall(Cancel(number).to_bytes() + BinaryProtocol.encode_request(number + 1, APP, "echo", (number,)))
            seen: list[tuple[str, int]] = []
            while not seen or seen[-1] != ("response", number + 1):
                message = BinaryProtocol.read_message(sock)
                seen.append((message["type"], message["id"]))
            assert message["result"] == number
            kinds = [kind for kind, identity in seen if identity == number]
            assert kinds[-1] == "error"  # the one answer that ends it
            assert set(kinds[:-1]) <= {"chunk"}
            assert len(seen) == len(kinds) + 1
            assert seen.index(("error", number)) == len(seen) - 2


def test_requests_come_in_any_pieces(start: Any) -> None:
    pool = start("--workers", "1").ready()
    frame = BinaryProtocol.encode_request(77, APP, "echo", ("pieces",))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(pool.path)
        for index in range(len(frame)):
            sock.sendall(frame[index : index + 1])
        assert BinaryProtocol.read_message(sock)["result"] == "pieces"


def test_bytes_that_are_not_the_protocol_end_their_connection_only(start: Any) -> None:
    pool = start("--workers", "1").ready()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(pool.path)
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        message = BinaryProtocol.read_message(sock)
        assert message["error"]["error_type"] == "DirtyProtocolError"
        assert sock.recv(1) == b""
    assert pool.client().execute(APP, "echo", 1) == 1
