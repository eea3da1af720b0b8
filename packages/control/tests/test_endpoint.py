"""The endpoint over real sockets in one loop: order, bounds, deadlines, and clients that do not behave."""

import os
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from gunicorn.control import endpoint as module
from gunicorn.control.commands import REGISTRY
from gunicorn.control.connection import MAX_REQUEST_SIZE
from gunicorn.control.dispatch import Dispatcher
from gunicorn.control.endpoint import IDLE_TIMEOUT, MAX_CONNECTIONS, MAX_GUESTS, STALL_TIMEOUT, Endpoint
from gunicorn.control.framing import encode_frame
from gunicorn.control.peer import Peer
from gunicorn.control.socket_file import SocketFile


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(directory: str) -> str:
    return f"{directory}/c.ctl"


@pytest.fixture
def endpoint(host: Any, path: str, clock: Clock) -> Iterator[Endpoint]:
    endpoint = Endpoint(host, Dispatcher(REGISTRY, host.introspection, host.log), clock)
    endpoint.listen(SocketFile.open(path, 0o600, backlog=64))
    yield endpoint
    endpoint.close()
    assert not os.path.exists(path)


@pytest.fixture
def client(endpoint: Endpoint, path: str, connect: Any) -> Any:
    return connect(path)


def big(host: Any) -> None:
    """Make `show config` an answer that no socket buffer holds."""
    host.introspection.settings = {"key": "x" * (8 << 20)}


def test_a_command_is_answered(host: Any, client: Any) -> None:
    assert client.call("show", "stats", id=41) == {"id": 41, "status": "ok", "data": host.introspection.stats()}


def test_errors_leave_the_connection_open(client: Any) -> None:
    for command in ("fnord", "worker add x", "worker kill 1"):
        assert client.call(command)["status"] == "error"
    client.send(encode_frame([]))
    assert client.reply() == {"id": 0, "status": "error", "error": "a request is a JSON object, not a list"}
    assert client.call("help")["status"] == "ok"


def test_many_requests_at_once_are_answered_in_order_and_share_the_loop(host: Any, client: Any) -> None:
    for number in range(50):
        client.ask("show stats", id=number)
    before = host.turns
    assert [client.reply()["id"] for _ in range(50)] == list(range(50))
    assert host.turns - before >= 50  # one request per turn, however many have arrived


def test_requests_byte_by_byte(host: Any, client: Any) -> None:
    for byte in encode_frame({"id": 2, "command": "show workers"}):
        client.send(bytes([byte]))
        host.turn()
    assert client.reply()["data"]["count"] == 3


def test_a_client_that_sends_no_more_gets_its_answers(client: Any) -> None:
    import socket

    client.ask("show stats", id=1)
    client.ask("show stats", id=2)
    client.sock.shutdown(socket.SHUT_WR)
    assert [client.reply()["id"], client.reply()["id"]] == [1, 2]
    assert client.closed()


def test_an_oversized_request_is_refused_without_being_held(endpoint: Endpoint, client: Any) -> None:
    client.send(struct.pack(">I", MAX_REQUEST_SIZE + 1))
    assert "exceeds the limit of 65536 bytes" in client.reply()["error"]
    assert client.closed()
    assert endpoint.connections == 0


def test_a_slow_reader_does_not_hold_up_others(host: Any, endpoint: Endpoint, path: str, connect: Any) -> None:
    big(host)
    slow, quick = connect(path), connect(path)
    slow.ask("show config")
    host.run(lambda: endpoint.busy)
    for _ in range(20):
        assert quick.call("show stats")["status"] == "ok"
    assert slow.reply()["data"] == host.introspection.settings


def test_a_reply_that_nobody_takes_ends_it(host: Any, endpoint: Endpoint, client: Any, clock: Clock) -> None:
    big(host)
    client.ask("show config")
    host.run(lambda: endpoint.busy)
    clock.now += STALL_TIMEOUT - 1
    endpoint.tick(clock.now)
    assert endpoint.connections == 1
    clock.now += 1
    endpoint.tick(clock.now)
    assert endpoint.connections == 0


def test_a_request_that_is_dripped_ends_it(host: Any, endpoint: Endpoint, client: Any, clock: Clock) -> None:
    for byte in b"\x00\x00\x01":
        client.send(bytes([byte]))
        turns = host.turns
        host.run(lambda: host.turns > turns + 2)  # noqa: B023 - run() calls it before the next round
        clock.now += STALL_TIMEOUT / 3
        assert endpoint.connections == 1
    endpoint.tick(clock.now)
    assert endpoint.connections == 0
    assert client.closed()


def test_an_idle_connection_is_closed_at_last(host: Any, endpoint: Endpoint, client: Any, clock: Clock) -> None:
    assert client.call("help")["status"] == "ok"
    host.settle()
    clock.now += IDLE_TIMEOUT - 1
    assert client.call("help")["status"] == "ok"  # which begins a new idle time
    host.settle()
    clock.now += IDLE_TIMEOUT - 1
    endpoint.tick(clock.now)
    assert client.call("help")["status"] == "ok"
    host.settle()
    clock.now += IDLE_TIMEOUT
    endpoint.tick(clock.now)
    assert client.closed()


def test_a_fault_of_ours_costs_the_connection_and_not_the_loop(
    host: Any, endpoint: Endpoint, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint.dispatcher, "dispatch", None)
    client.ask("help")
    assert client.closed()
    assert host.log.texts("exception") == ["Control: closing a connection after an internal error"]
    assert endpoint.connections == 0


def test_clients_that_vanish(host: Any, endpoint: Endpoint, path: str, connect: Any) -> None:
    watched = host.watched
    big(host)
    for request in (b"", b"\x00\x00", encode_frame({"id": 1, "command": "show config"})):
        client = connect(path)
        client.send(request)
        host.run(lambda: endpoint.connections == 1)
        client.sock.close()
        host.run(lambda: endpoint.connections == 0)
    assert host.watched == watched


def test_the_number_of_connections_is_bounded(host: Any, endpoint: Endpoint, path: str, connect: Any) -> None:
    clients = [connect(path) for _ in range(MAX_CONNECTIONS)]
    host.run(lambda: endpoint.connections == MAX_CONNECTIONS)
    assert clients[0].call("help")["status"] == "ok"
    late = connect(path)
    assert late.call("help")["status"] == "ok"
    assert endpoint.connections == MAX_CONNECTIONS
    assert sum(client.poll() is None and client.eof for client in clients) == 1


def test_at_the_bound_busy_connections_stay_and_new_ones_wait(
    host: Any, endpoint: Endpoint, path: str, connect: Any, clock: Clock
) -> None:
    clients = [connect(path) for _ in range(MAX_CONNECTIONS)]
    for client in clients:
        client.send(b"\x00")
    host.settle()
    late = connect(path)
    late.ask("help")
    host.settle()
    assert endpoint.connections == MAX_CONNECTIONS
    assert late.poll() is None
    clock.now += STALL_TIMEOUT
    endpoint.tick(clock.now)
    assert late.reply()["status"] == "ok"
    assert endpoint.connections == 1


def test_guests_cannot_keep_the_owner_out(
    host: Any, endpoint: Endpoint, path: str, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "peer_of", lambda sock, mode: Peer(1, 8, 7))
    guests = [connect(path) for _ in range(MAX_GUESTS)]
    assert guests[0].call("help")["status"] == "ok"
    assert connect(path).closed()
    assert endpoint.connections == MAX_GUESTS
    monkeypatch.undo()
    assert connect(path).call("help")["status"] == "ok"
    assert guests[0].call("help")["status"] == "ok"


def test_a_command_that_asks_the_pool(host: Any, pool: Any, client: Any) -> None:
    client.ask("show dirty", id=1)
    client.ask("show stats", id=2)
    shown = client.reply()
    assert (shown["id"], shown["status"]) == (1, "ok")
    assert shown["data"] == {**host.introspection.pool, **pool.STATUS, "enabled": True}
    assert client.reply()["id"] == 2
    assert client.call("dirty add", 2)["data"] == {"success": True, "operation": "add", "requested": 2}
    pool.mode = "list"
    assert client.call("dirty add")["error"] == "the dirty arbiter answered with list, not with a dict"


def test_a_silent_pool_holds_up_nobody_and_ends_at_the_deadline(
    host: Any, pool: Any, endpoint: Endpoint, path: str, connect: Any, clock: Clock
) -> None:
    pool.mode = "silence"
    asking, other = connect(path), connect(path)
    asking.ask("show dirty")
    host.run(lambda: pool.asked)
    assert endpoint.busy
    assert other.call("show stats")["status"] == "ok"
    clock.now += 4.9
    endpoint.tick(clock.now)
    assert endpoint.busy
    clock.now += 0.1
    endpoint.tick(clock.now)
    assert asking.reply()["error"].startswith("the dirty arbiter has not answered within 5 seconds")
    assert asking.call("help")["status"] == "ok"


def test_a_pool_that_is_gone(host: Any, directory: str, client: Any) -> None:
    host.introspection.pool = {"pid": None, "socket": f"{directory}/gone", "state": "restarting", "restarts": 3}
    assert "cannot be reached" in client.call("dirty add")["error"]
    assert "cannot be reached" in client.call("show all")["data"]["dirty_arbiter"]["error"]


def test_closing_with_a_question_under_way(host: Any, pool: Any, endpoint: Endpoint, client: Any) -> None:
    pool.mode = "silence"
    watched = host.watched
    client.ask("show dirty")
    host.run(lambda: pool.asked)
    endpoint.close()
    assert client.closed()
    host.run(lambda: not pool.open)
    assert host.watched == watched - 1  # without the listener; the client had not been accepted yet


def test_a_child_closes_its_copies_only(host: Any, endpoint: Endpoint, path: str, connect: Any) -> None:
    client = connect(path)
    assert client.call("help")["status"] == "ok"
    listener = endpoint.listener
    assert listener is not None
    child = os.fork()
    if not child:
        endpoint.forked()
        os._exit(0 if listener.sock.fileno() == -1 and endpoint.connections == 0 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert os.path.exists(path)
    assert client.call("help")["status"] == "ok"
    assert connect(path).call("help")["status"] == "ok"


def test_running_out_of_descriptors_pauses_instead_of_spinning(
    host: Any, endpoint: Endpoint, path: str, connect: Any, clock: Clock
) -> None:
    import resource

    client = connect(path)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        host.run(lambda: host.log.texts("error"))
        assert host.turn() == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert host.log.texts("error") == ["Control: cannot accept a connection: [Errno 24] Too many open files"]
    endpoint.tick(clock.now)
    assert client.call("help")["status"] == "ok"
