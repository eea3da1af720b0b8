"""Gauges: what the master tells its logger of, and when."""

import socket
from collections.abc import Callable
from typing import Any

import pytest
from gunicorn.supervision.gauges import Gauges, waiting_connections


class Log:
    def __init__(self) -> None:
        self.told: list[tuple[str, int, str]] = []

    def debug(self, msg: str, *args: Any, extra: dict[str, Any]) -> None:
        assert (msg % args).endswith(str(extra["value"])) or (msg % args).startswith(str(extra["value"]))
        self.told.append((extra["metric"], extra["value"], extra["mtype"]))


def test_the_number_of_workers_when_it_changes() -> None:
    log, gauges = Log(), Gauges()
    for number in (0, 2, 2, 2, 1):
        gauges.report(log, number, [], False, 0.0)
    assert log.told == [("gunicorn.workers", number, "gauge") for number in (0, 2, 1)]


def test_the_backlog_once_a_second(eventually: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        clients = [socket.create_connection(server.getsockname()) for server in (one, two, two)]
        eventually(lambda: waiting_connections(two) == 2, "two connections wait")
        log, gauges = Log(), Gauges()
        for now in (10.0, 10.5, 10.9, 11.1):
            gauges.report(log, 1, [one, two], True, now)
        assert log.told[1:] == [("gunicorn.backlog", 3, "histogram")] * 2
        one.accept()[0].close()
        gauges.report(log, 1, [one, two], True, 12.2)
        assert log.told[-1] == ("gunicorn.backlog", 2, "histogram")
        for client in clients:
            client.close()


def test_sockets_that_have_no_number(tmp_path: Any) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        assert waiting_connections(server) == 0
    closed = socket.socket()
    closed.close()
    assert waiting_connections(closed) == 0


@pytest.mark.parametrize("platform", ["darwin", "freebsd14"])
def test_other_systems(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.setattr("sys.platform", platform)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        assert waiting_connections(server) == 0
