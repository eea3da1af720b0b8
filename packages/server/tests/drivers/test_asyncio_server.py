"""The asyncio server: accepting and its limits, the scoreboard, draining, and addresses of each kind of socket."""

import asyncio
import errno
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from gunicorn.drivers.asyncio_server import Options, Server
from gunicorn.health import HealthPath
from gunicorn.http.policy import Policy
from gunicorn.supervision.scoreboard import SLOT_SIZE, ScoreboardSlot, WorkerState

GET = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": f"{scope['client']} {scope['server']}".encode()})


class Gate:
    """An application that answers when it is told to."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.cancelled = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self.opened.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        await hello(scope, receive, send)


def new_slot() -> ScoreboardSlot:
    return ScoreboardSlot(0, memoryview(bytearray(SLOT_SIZE)))


def in_backlog(site: Any, count: int) -> bool:
    """Whether *count* connections wait in the listener's backlog."""
    with open("/proc/net/tcp") as file:
        for line in file:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].split(":")[1], 16) == site.port:
                return int(fields[4].split(":")[1], 16) == count
    raise AssertionError("no such listener")


class TestLimit:
    def test_accepting_pauses_at_the_limit_and_goes_on_below_it(self, run: Any, serving: Any) -> None:
        async def main() -> None:
            async with serving(hello, most_connections=2) as site:
                clients = [await site.connect() for _ in range(5)]  # the kernel takes them all
                for client in clients:
                    client.send(GET)
                await site.until(lambda: len(site.server.connections) == 2, "two connections")
                await site.until(lambda: in_backlog(site, 3), "three in the backlog")
                for client in clients[:2]:
                    assert (await client.answer())[0] == 200
                assert len(site.server.connections) == 2
                await clients[0].close()
                assert (await clients[2].answer())[0] == 200
                await clients[1].close()
                await clients[2].close()
                for client in clients[3:]:  # none was dropped
                    assert (await client.answer())[0] == 200

        run(main())

    def test_without_descriptors_it_waits_instead_of_spinning(self, run: Any, serving: Any) -> None:
        class Exhausted(socket.socket):
            attempts = 0

            def accept(self) -> Any:
                self.attempts += 1
                if self.attempts <= 2:
                    raise OSError(errno.EMFILE, "Too many open files")
                return super().accept()

        async def main() -> None:
            listener = Exhausted()
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            async with serving(hello, listener=listener) as site:
                client = await site.connect()
                assert (await client.get())[0] == 200  # at the second tick
                assert listener.attempts <= 5
                assert len([message for message in site.messages() if "Cannot accept" in message]) == 1

        run(main())


class TestScoreboard:
    def test_requests_connections_and_what_runs(self, run: Any, serving: Any) -> None:
        async def main() -> None:
            gate, slot = Gate(), new_slot()
            slot.state = WorkerState.IDLE
            async with serving(gate, slot=slot) as site:
                first, second = await site.connect(), await site.connect()
                await site.until(lambda: slot.connections == 2, "connections")
                first.send("GET /one?x HTTP/1.1\r\nHost: h\r\n\r\n")
                await site.until(lambda: slot.state == WorkerState.BUSY, "busy")
                since = slot.busy_since
                assert slot.current == "GET /one?x"
                assert since > 0
                second.send("GET /two HTTP/1.1\r\nHost: h\r\n\r\n")
                await site.until(lambda: len(site.server.running) == 2, "second request")
                assert (slot.current, slot.busy_since) == ("GET /one?x", since)  # the oldest
                [older, younger] = site.server.running
                older.task.cancel()
                await site.until(lambda: slot.current == "GET /two", "tick")
                assert slot.busy_since == younger.started > since
                gate.opened.set()
                assert (await first.answer())[0] == 500
                await second.answer()
                await site.until(lambda: slot.state == WorkerState.IDLE, "idle")
                assert (slot.requests, slot.busy_since, slot.errors) == (2, 0.0, 1)
                await first.close()
                await site.until(lambda: slot.connections == 1, "end of a connection")

        run(main())

    def test_the_limit_of_requests_is_told_once(self, run: Any, serving: Any) -> None:
        async def main() -> None:
            told: list[int] = []
            async with serving(hello, max_requests=3, on_limit=lambda: told.append(1)) as site:
                client = await site.connect()
                for number in range(1, 6):
                    await client.get()
                    assert len(told) == (number >= 3)

        run(main())


def test_the_health_path(run: Any, serving: Any) -> None:
    """Answered without the application, not counted and not reported; 503 while draining."""

    async def main() -> None:
        gate, slot = Gate(), new_slot()
        reported: list[Any] = []
        async with serving(gate, slot=slot, health=HealthPath("/healthz", slot), on_end=reported.append) as site:
            probe, busy = await site.connect(), await site.connect()
            busy.send(GET)
            await site.until(lambda: site.server.running, "the request")
            for _ in range(2):
                status, _, body = await probe.get("/healthz?from=balancer")
                assert (status, body) == (200, b"ok")
            probe.send("HEAD /healthz HTTP/1.1\r\nHost: h\r\n\r\nGET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
            assert (await probe.answer(bodiless=True))[0] == 200
            assert (await probe.answer())[2] == b"ok"
            assert (slot.requests, reported) == (0, [])
            draining = asyncio.ensure_future(site.server.drain(60))
            await site.until(lambda: slot.state == WorkerState.DRAINING, "the drain")
            status, fields, body = await probe.get("/healthz")
            assert (status, fields["connection"], body) == (503, "close", b"draining")
            gate.opened.set()
            assert (await busy.answer())[0] == 200
            await draining
            assert (slot.requests, len(reported)) == (1, 1)

    run(main())


def test_ticks_beat_and_renew_the_date(run: Any, serving: Any) -> None:
    async def main() -> None:
        ticks: list[int] = []
        async with serving(hello, on_tick=lambda: ticks.append(1)) as site:
            site.server.preamble.renew(0.0)
            client = await site.connect()
            assert (await client.get())[1]["date"] == "Thu, 01 Jan 1970 00:00:00 GMT"
            before = len(ticks)
            await site.until(lambda: len(ticks) > before, "tick")
            assert "1970" not in (await client.get())[1]["date"]

    run(main())


def test_hooks_see_each_request_begin_and_end(run: Any, serving: Any) -> None:
    async def main() -> None:
        seen: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            seen.append("app")
            if scope["path"] == "/fail":
                raise ValueError("x")
            await hello(scope, receive, send)
            seen.append("after")

        hooks = {
            "on_begin": lambda exchange: seen.append(exchange.request.uri),
            "on_end": lambda exchange: seen.append((exchange.status, exchange.sent > 0)),
        }
        async with serving(app, **hooks) as site:
            client = await site.connect()
            await client.get("/x")
            await client.get("/fail")
            assert seen == ["/x", "app", (200, True), "after", "/fail", "app", (500, True)]

    run(main())


def test_a_hook_that_fails_is_a_failed_request(run: Any, serving: Any) -> None:
    def refuse(exchange: Any) -> None:
        raise RuntimeError("hook")

    async def main() -> None:
        async with serving(hello, on_begin=refuse) as site:
            assert (await (await site.connect()).get())[0] == 500

    run(main())


class TestAddresses:
    def test_ipv4(self, run: Any, serving: Any) -> None:
        async def main() -> None:
            async with serving(hello) as site:
                client = await site.connect()
                own = client.writer.get_extra_info("sockname")
                assert (await client.get())[2].decode() == f"{own} ('127.0.0.1', {site.port})"

        run(main())

    def test_ipv6_has_two_items_too(self, run: Any, serving: Any) -> None:
        async def main() -> None:
            listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
            async with serving(hello, listener=listener) as site:
                client = await site.connect()
                own = client.writer.get_extra_info("sockname")[:2]
                assert (await client.get())[2].decode() == f"{own} ('::1', {site.port})"

        run(main())

    def test_bound_to_all_addresses_it_is_the_one_that_the_client_meant(self, run: Any, serving: Any) -> None:
        async def main() -> None:
            async with serving(hello, listener=socket.create_server(("0.0.0.0", 0))) as site:
                reader, writer = await asyncio.open_connection("127.0.0.2", site.port)
                writer.write(b"GET / HTTP/1.0\r\n\r\n")
                assert (await reader.read()).endswith(f"('127.0.0.2', {site.port})".encode())
                writer.close()
                await writer.wait_closed()

        run(main())

    def test_unix_peers_have_no_address_and_are_trusted(self, run: Any, serving: Any, short_path: Path) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            assert (scope["client"], scope["server"], scope["scheme"]) == (None, (str(short_path / "s"), None), "https")
            await hello(scope, receive, send)

        async def main() -> None:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(short_path / "s"))
            listener.listen()
            async with serving(app, listener=listener):
                reader, writer = await asyncio.open_unix_connection(str(short_path / "s"))
                writer.write(b"GET / HTTP/1.0\r\nX-Forwarded-Proto: https\r\n\r\n")
                assert b" 200 OK" in await reader.read()
                writer.close()
                await writer.wait_closed()

        run(main())


class TestDrain:
    def test_requests_in_flight_finish_and_idle_connections_close(self, run: Any, serving: Any) -> None:
        async def main() -> None:
            gate, slot = Gate(), new_slot()
            async with serving(gate, slot=slot) as site:
                busy, idle = await site.connect(), await site.connect()
                busy.send(GET)
                await site.until(lambda: site.server.running and len(site.server.connections) == 2, "requests")
                draining = asyncio.ensure_future(site.server.drain(60))
                assert await idle.ended() == b""
                assert slot.state == WorkerState.DRAINING
                assert not draining.done()
                late = await site.connect()  # waits in the backlog, for another worker
                late.send(GET)
                gate.opened.set()
                status, fields, _ = await busy.answer()
                assert (status, fields["connection"]) == (200, "close")
                assert await busy.ended() == b""
                await draining
                assert slot.requests == 1
                assert in_backlog(site, 1)
                assert site.messages() == []

        run(main())

    def test_a_request_that_was_sent_before_is_answered(self, run: Any, serving: Any) -> None:
        async def main() -> None:
            async with serving(hello) as site:
                client = await site.connect()
                await client.get()
                os.write(client.writer.get_extra_info("socket").fileno(), GET.encode())  # the loop has not seen it
                draining = asyncio.ensure_future(site.server.drain(60))
                assert (await client.answer())[0] == 200
                assert await client.ended() == b""
                await draining

        run(main())

    def test_what_does_not_end_in_time_is_cancelled_by_stop(self, run: Any, serving: Any) -> None:
        async def main() -> None:
            gate = Gate()
            async with serving(gate) as site:
                client = await site.connect()
                client.send(GET)
                await site.until(lambda: site.server.running, "request")
                await site.server.drain(0.01)
                assert "1 requests did not end within" in site.messages()[0]
                await site.server.stop()
                assert gate.cancelled == 1
                assert not site.server.running
                assert await client.ended() == b""

        run(main())

    def test_background_work_is_waited_for(self, run: Any, serving: Any) -> None:
        async def main() -> None:
            go = asyncio.Event()

            async def app(scope: Any, receive: Any, send: Any) -> None:
                await hello(scope, receive, send)
                await go.wait()

            async with serving(app) as site:
                client = await site.connect()
                await client.get()
                draining = asyncio.ensure_future(site.server.drain(60))
                assert await client.ended() == b""
                assert not draining.done()
                go.set()
                await draining

        run(main())

    def test_an_idle_server_is_drained_at_once(self, run: Any, serving: Any) -> None:
        async def main() -> None:
            async with serving(hello) as site:
                await site.server.drain(60)

        run(main())


def test_the_lifespans_state_reaches_requests_as_copies(run: Any, serving: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["state"] == {"pool": 1}
        scope["state"]["pool"] = 2
        await hello(scope, receive, send)

    async def main() -> None:
        async with serving(app, state={"pool": 1}) as site:
            client = await site.connect()
            for _ in range(2):
                assert (await client.get())[0] == 200

    run(main())


def test_root_path_is_the_option(run: Any, serving: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["root_path"] == "/mounted"
        await hello(scope, receive, send)

    async def main() -> None:
        async with serving(app, root_path="/mounted") as site:
            assert (await (await site.connect()).get())[0] == 200

    run(main())


def test_listeners_stay_the_callers(run: Any) -> None:
    import logging

    async def main() -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        server = Server(hello, asyncio.get_running_loop(), logging.getLogger("test"), Options(Policy()), {})
        server.start([listener])
        await server.stop()
        with pytest.raises(BlockingIOError):  # still listening
            listener.accept()
        listener.close()

    run(main())
