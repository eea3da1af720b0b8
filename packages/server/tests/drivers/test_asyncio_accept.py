"""Accepting on an event loop: who makes room when all places are taken. Its limit is tested with the server."""

import asyncio
from typing import Any

import pytest
from gunicorn.drivers import admission

GET = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


class Gate:
    """An application that answers when it is told to."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.opened.wait()
        await hello(scope, receive, send)


def in_backlog(site: Any, count: int) -> bool:
    """Whether *count* connections wait in the listener's backlog."""
    with open("/proc/net/tcp") as file:
        for line in file:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].split(":")[1], 16) == site.port:
                return int(fields[4].split(":")[1], 16) == count
    raise AssertionError("no such listener")


class TestMakingRoom:
    """At the limit, who keeps the worker waiting gives way to who waits in the backlog."""

    @pytest.mark.parametrize("first", ["", "GET / HT", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n"])
    def test_a_client_that_sends_too_slowly(self, run: Any, serving: Any, monkeypatch: Any, first: str) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            while (await receive()).get("more_body"):
                pass
            await hello(scope, receive, send)

        monkeypatch.setattr(admission, "PATIENCE", (0.0,) * 6)

        async def main() -> None:
            async with serving(app, most_connections=1) as site:
                slow = await site.connect()
                slow.send(first)
                await site.until(lambda: site.server.connections, "slow connection")
                other = await site.connect()
                assert (await other.get())[0] == 200
                answer = await slow.ended()
                assert answer.startswith(b"HTTP/1.1 408 " if first else b"")
                assert len(site.messages()) == bool(first)

        run(main())

    def test_a_client_that_does_not_read(self, run: Any, serving: Any, monkeypatch: Any) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x" * 8_000_000 if scope["path"] == "/big" else b"x"})

        monkeypatch.setattr(admission, "PATIENCE", (0.0,) * 6)

        async def main() -> None:
            async with serving(app, most_connections=1) as site:
                slow = await site.connect(limit=1024)
                slow.send("GET /big HTTP/1.1\r\nHost: h\r\n\r\n")
                await slow.head()
                other = await site.connect()
                assert (await other.get())[0] == 200

        run(main())

    def test_nobody_goes_while_the_application_works_or_nobody_waits(
        self, run: Any, serving: Any, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(admission, "PATIENCE", (0.0,) * 6)

        async def main() -> None:
            gate = Gate()
            async with serving(gate, most_connections=2) as site:
                busy, idle = await site.connect(), await site.connect()
                busy.send(GET)
                await site.until(lambda: len(site.server.connections) == 2 and site.server.running, "two connections")
                site.server._acceptor._make_room()
                assert len(site.server.connections) == 2
                other = await site.connect()
                assert await idle.ended() == b""
                other.send(GET)
                await site.until(lambda: len(site.server.running) == 2, "the other's request")
                await site.connect()
                await site.until(lambda: in_backlog(site, 1), "one more")
                site.server._acceptor._make_room()
                gate.opened.set()
                assert (await busy.answer())[0] == (await other.answer())[0] == 200

        run(main())
