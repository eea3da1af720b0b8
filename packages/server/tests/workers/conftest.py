"""Clients for the workers' tests under a real master."""

import http.client
import threading
from collections.abc import Callable
from typing import Any

import pytest


class Hammer(threading.Thread):
    """A client that sends POST requests, one after the other and as long as it can on one connection, until told to
    stop. It repeats nothing: whatever goes wrong is in :attr:`failures`.
    """

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port
        self.served = 0
        self.failures: list[str] = []
        self.enough = threading.Event()

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            while not self.enough.is_set():
                body = b"%d" % self.served
                try:
                    connection.request("POST", "/echo", body)
                    response = connection.getresponse()
                    found = response.read()
                except (OSError, http.client.HTTPException) as error:
                    self.failures.append(f"after {self.served}: {error!r}")
                    connection.close()
                    continue
                if (response.status, found) != (200, body):
                    self.failures.append(f"{response.status} {found!r}")
                self.served += 1
        finally:
            connection.close()


@pytest.fixture
def hammer_until() -> Callable[..., list[str]]:
    """``hammer_until(server, condition, clients=4)``: what went wrong for clients at work until *condition* is true."""

    def run(server: Any, condition: Callable[[], Any], clients: int = 4) -> list[str]:
        hammers = [Hammer(server.port) for _ in range(clients)]
        for hammer in hammers:
            hammer.start()
        try:
            condition()
        finally:
            for hammer in hammers:
                hammer.enough.set()
            for hammer in hammers:
                hammer.join()
        assert all(hammer.served for hammer in hammers)
        return [failure for hammer in hammers for failure in hammer.failures]

    return run
