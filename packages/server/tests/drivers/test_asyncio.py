"""Connections on an event loop: framing, pipelining, flow control, deadlines, refusals, with real sockets."""

import asyncio
import contextvars
import logging
import socket
import time
from typing import Any

import pytest
from gunicorn.drivers.asyncio import UNREAD_LIMIT
from gunicorn.http.policy import Policy

GET = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"hello " + scope["path"].encode()})


async def read_all(receive: Any) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("disconnected")
        body += message["body"]
        more = message["more_body"]
    return body


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body = await read_all(receive)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def answer(send: Any, body: bytes = b"") -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def test_a_response_and_the_next_on_the_same_connection(run: Any, serving: Any) -> None:
    async def main() -> None:
        async with serving(hello) as site:
            client = await site.connect()
            for path in ("/a", "/b"):
                status, fields, body = await client.get(path)
                assert (status, body) == (200, b"hello " + path.encode())
                assert fields["content-length"] == "8"
                assert fields["content-type"] == "text/plain"
                assert fields["date"].endswith("GMT")
                assert fields["server"] == "gunicorn"
            assert len(site.server.connections) == 1
            assert site.messages() == []

    run(main())


def test_connection_close_and_http_1_0(run: Any, serving: Any) -> None:
    async def main() -> None:
        async with serving(hello) as site:
            client = await site.connect()
            status, fields, _ = await client.get("/", "Connection: close")
            assert (status, fields["connection"]) == (200, "close")
            assert await client.ended() == b""
            client = await site.connect()
            client.send("GET / HTTP/1.0\r\n\r\n")
            assert (await client.answer())[0] == 200
            assert await client.ended() == b""
            await site.until(lambda: not site.server.connections, "end of the connections")

    run(main())


def test_pipelined_requests_are_answered_in_order_and_in_contexts_of_their_own(run: Any, serving: Any) -> None:
    seen: contextvars.ContextVar[str] = contextvars.ContextVar("seen", default="")
    leaked = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        leaked.append(seen.get())
        seen.set(scope["path"])
        for _ in range(20 - int(scope["path"][1:])):  # the first takes longest
            await asyncio.sleep(0)
        await answer(send, scope["path"].encode())

    async def main() -> None:
        async with serving(app) as site:
            client = await site.connect()
            client.send("".join(f"GET /{number} HTTP/1.1\r\nHost: h\r\n\r\n" for number in range(20)))
            for number in range(20):
                assert (await client.answer())[2] == b"/%d" % number
            assert leaked == [""] * 20

    run(main())


@pytest.mark.parametrize("chunked", [False, True])
def test_request_bodies(run: Any, serving: Any, chunked: bool) -> None:
    body = bytes(range(256)) * 4000

    async def main() -> None:
        async with serving(echo) as site:
            client = await site.connect()
            for _ in range(2):
                if chunked:
                    client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
                    for start in range(0, len(body), 100_000):
                        part = body[start : start + 100_000]
                        client.send(b"%x\r\n%b\r\n" % (len(part), part))
                    client.send("0\r\n\r\n")
                else:
                    client.send(f"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n")
                    client.send(body)
                assert (await client.answer())[2] == body

    run(main())


def test_a_request_split_at_every_byte(run: Any, serving: Any) -> None:
    raw = b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"

    async def main() -> None:
        async with serving(echo) as site:
            client = await site.connect()
            client.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for number in range(len(raw)):
                client.send(raw[number : number + 1])
                await client.writer.drain()
                await asyncio.sleep(0)
            assert (await client.answer())[2] == b"abcde"

    run(main())


def test_expect_continue_is_answered_when_the_application_reads(run: Any, serving: Any) -> None:
    async def main() -> None:
        reading = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await reading.wait()
            await echo(scope, receive, send)

        async with serving(app) as site:
            client = await site.connect()
            client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
            await site.until(lambda: site.server.running, "request")
            reading.set()
            assert (await client.head())[0] == 100
            client.send("abc")
            assert (await client.answer())[2] == b"abc"

    run(main())


def test_what_the_application_does_not_read_stays_with_the_client(run: Any, serving: Any) -> None:
    size = 16 << 20

    async def main() -> None:
        reading = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await reading.wait()
            await answer(send, b"%d" % len(await read_all(receive)))

        async with serving(app) as site:
            client = await site.connect()
            client.send(f"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n")
            client.send(bytes(size))
            await site.until(lambda: site.server.running, "request")
            [protocol] = site.server.connections
            await site.until(lambda: not protocol.transport.is_reading(), "a pause")
            assert protocol.conn.buffered > UNREAD_LIMIT
            before = protocol.conn.buffered
            for _ in range(50):
                await asyncio.sleep(0)
            assert protocol.conn.buffered == before < 4 << 20
            assert client.writer.transport.get_write_buffer_size() > size // 2
            reading.set()
            assert (await client.answer())[2] == b"%d" % size

    run(main())


def test_a_pipelining_client_that_does_not_read_cannot_fill_the_memory(run: Any, serving: Any) -> None:
    async def main() -> None:
        go = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            waiting = asyncio.ensure_future(receive())  # as frameworks do, to learn of the client's end
            await go.wait()
            waiting.cancel()
            await answer(send, b"x")

        count = 200_000
        async with serving(app) as site:
            client = await site.connect()
            client.send(GET * count)
            await site.until(lambda: site.server.running, "request")
            [protocol] = site.server.connections
            await site.until(lambda: protocol.conn.buffered > UNREAD_LIMIT, "a full buffer")
            for _ in range(50):
                await asyncio.sleep(0)
            assert protocol.conn.buffered < 2 << 20
            go.set()
            for _ in range(100):
                assert (await client.answer())[2] == b"x"
            assert protocol.conn.buffered < 2 << 20
            client.reset()
            await site.until(lambda: not site.server.connections, "end of the connection")

    run(main())


@pytest.mark.parametrize("patient", [True, False])
def test_the_next_request_waits_for_a_client_that_does_not_read(run: Any, serving: Any, patient: bool) -> None:
    async def big(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, bytes(100_000))

    async def main() -> None:
        count = 1000
        async with serving(big) as site:
            client = await site.connect(limit=1024)
            client.send(GET * count)
            await site.until(lambda: site.server.connections, "connection")
            [protocol] = site.server.connections
            await site.until(lambda: protocol._stalled, "full transport")
            for _ in range(50):
                await asyncio.sleep(0)
            assert site.server.requests < count
            assert len(site.server.running) <= 1
            assert protocol.transport.get_write_buffer_size() < 1 << 20
            if patient:
                for _ in range(count):
                    assert len((await client.answer())[2]) == 100_000
            else:
                protocol.check_deadline(protocol.since + 60)
                await site.until(lambda: not site.server.connections, "end of the connection")
            assert site.messages() == []

    run(main())


def test_send_waits_for_a_client_that_does_not_read(run: Any, serving: Any) -> None:
    parts = 2000

    async def main() -> None:
        sent = 0

        async def app(scope: Any, receive: Any, send: Any) -> None:
            nonlocal sent
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for _ in range(parts):
                await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
                sent += 1
            await send({"type": "http.response.body"})

        async with serving(app) as site:
            client = await site.connect(limit=65536)
            client.send(GET)
            await client.head()
            await site.until(lambda: not next(iter(site.server.connections)).writable, "a full transport")
            stopped_at = sent
            for _ in range(50):
                await asyncio.sleep(0)
            assert sent == stopped_at < parts
            total = 0
            while size := int(await client.reader.readuntil(b"\r\n"), 16):
                await client.reader.readexactly(size + 2)
                total += size
            assert total == parts * 65536
            assert sent == parts

    run(main())


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET /\x00 HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("GET / HTTP/3.0\r\nHost: h\r\n\r\n", 505),
        (f"GET /{'a' * 5000} HTTP/1.1\r\nHost: h\r\n\r\n", 414),
        (f"GET / HTTP/1.1\r\nHost: h\r\nA: {'a' * 9000}\r\n\r\n", 431),
    ],
)
def test_refusals_are_answered_logged_once_and_close(run: Any, serving: Any, raw: str, status: int) -> None:
    async def main() -> None:
        async with serving(hello) as site:
            client = await site.connect()
            client.send(raw)
            client.send(GET)  # what follows a refused request is not served
            got, fields, _ = await client.answer()
            assert (got, fields["connection"]) == (status, "close")
            assert await client.ended() == b""
            [message] = site.messages()
            assert message.startswith("Invalid request from ip=127.0.0.1: ")
            assert "(RFC" in message
            assert site.server.requests == 0

    run(main())


def test_a_malformed_chunk_is_refused_and_the_application_told(run: Any, serving: Any) -> None:
    async def main() -> None:
        got: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            while not got or got[-1]["type"] == "http.request":
                got.append(await receive())
            await answer(send)

        async with serving(app) as site:
            client = await site.connect()
            client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
            await site.until(lambda: got, "first part")
            client.send("zz\r\n")
            assert (await client.answer())[0] == 400
            assert await client.ended() == b""
            assert got == [{"type": "http.request", "body": b"abc", "more_body": True}, {"type": "http.disconnect"}]
            await site.until(lambda: not site.server.running, "end of the request")
            assert len(site.messages()) == 1

    run(main())


def test_an_answer_before_the_body_was_sent_reaches_the_client_whole(run: Any, serving: Any) -> None:
    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 413, "headers": []})
        await send({"type": "http.response.body", "body": b"too large" * 1000})

    async def main() -> None:
        async with serving(refuse) as site:
            client = await site.connect()
            client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 8000000\r\n\r\n")
            client.send(bytes(8_000_000))
            status, fields, body = await client.answer()
            assert (status, fields["connection"], body) == (413, "close", b"too large" * 1000)
            assert await client.reader.read() == b""  # closed, not reset
            await client.close()
            await site.until(lambda: not site.server.connections, "end of the connection")

    run(main())


class TestDeadlines:
    def test_a_head_that_takes_too_long(self, run: Any, serving: Any) -> None:
        async def main() -> None:
            async with serving(hello, policy=Policy(head_timeout=0.3)) as site:
                client = await site.connect()
                client.send("GET / HTTP/1.1\r\n")

                async def drip() -> None:  # a slow loris: bytes keep coming, the head never ends
                    while True:
                        client.send("A: b\r\n")
                        await asyncio.sleep(0.01)

                dripping = asyncio.ensure_future(drip())
                assert (await client.answer())[0] == 408
                dripping.cancel()
                await client.close()
                assert len(site.messages()) == 1

        run(main())

    def test_a_body_that_stops(self, run: Any, serving: Any) -> None:
        async def main() -> None:
            async with serving(echo, policy=Policy(body_timeout=0.1)) as site:
                client = await site.connect()
                client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab")
                assert (await client.answer())[0] == 408
                assert await client.ended() == b""
                assert "no byte of a request's body" in site.messages()[0]

        run(main())

    def test_a_body_that_the_application_does_not_read_has_no_deadline(self, run: Any, serving: Any) -> None:
        async def main() -> None:
            go = asyncio.Event()

            async def app(scope: Any, receive: Any, send: Any) -> None:
                await go.wait()
                await echo(scope, receive, send)

            async with serving(app, policy=Policy(body_timeout=0.05)) as site:
                client = await site.connect()
                client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde")
                await site.until(lambda: site.server.running, "request")
                [protocol] = site.server.connections
                protocol.since -= 60
                protocol.check_deadline(protocol.since + 60)
                go.set()
                assert (await client.answer())[2] == b"abcde"

        run(main())

    @pytest.mark.parametrize("served", [False, True])
    def test_idle_connections_are_closed_without_a_word(self, run: Any, serving: Any, served: bool) -> None:
        async def main() -> None:
            async with serving(hello, policy=Policy(keepalive=0.1, head_timeout=0.1)) as site:
                client = await site.connect()
                if served:
                    await client.get()
                assert await client.ended() == b""
                assert site.messages() == []

        run(main())

    def test_none_for_a_request_that_is_being_answered(self, run: Any, serving: Any) -> None:
        async def main() -> None:
            go = asyncio.Event()

            async def app(scope: Any, receive: Any, send: Any) -> None:
                await go.wait()
                await answer(send, b"late")

            async with serving(app, policy=Policy(keepalive=0.01, head_timeout=0.01, body_timeout=0.01)) as site:
                client = await site.connect()
                client.send(GET)
                await site.until(lambda: site.server.running, "request")
                [protocol] = site.server.connections
                protocol.check_deadline(protocol.since + 60)
                go.set()
                assert (await client.answer())[2] == b"late"

        run(main())


class TestHalfClose:
    def test_a_client_that_has_said_all_still_gets_its_answer(self, run: Any, serving: Any) -> None:
        async def main() -> None:
            enough = asyncio.Event()

            async def app(scope: Any, receive: Any, send: Any) -> None:
                body = await read_all(receive)
                await send({"type": "http.response.start", "status": 200, "headers": []})
                while not enough.is_set():
                    await send({"type": "http.response.body", "body": body, "more_body": True})
                    await asyncio.sleep(0.01)
                await send({"type": "http.response.body"})

            grace = 0.5
            async with serving(app, disconnect_grace=grace) as site:
                client = await site.connect()
                client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab")
                client.writer.write_eof()
                assert (await client.head())[0] == 200
                deadline = time.monotonic() + 2.5 * grace  # it takes what comes, longer than the grace period
                while time.monotonic() < deadline:
                    assert await client.reader.readexactly(7) == b"2\r\nab\r\n"
                enough.set()
                assert (await client.ended()).endswith(b"0\r\n\r\n")
                assert site.messages() == []

        run(main())

    def test_what_runs_after_the_response_is_not_cancelled(self, run: Any, serving: Any) -> None:
        async def main() -> None:
            done: list[str] = []

            async def app(scope: Any, receive: Any, send: Any) -> None:
                await receive()
                await receive()  # its client has half-closed: the grace period runs
                await answer(send, b"ok")
                await asyncio.sleep(0.2)
                done.append("background")

            async with serving(app, disconnect_grace=0.05) as site:
                client = await site.connect()
                client.send(GET)
                client.writer.write_eof()
                assert (await client.answer())[2] == b"ok"
                await site.until(lambda: not site.server.running, "end of the request")
                assert done == ["background"]

        run(main())

    def test_pipelined_requests_before_it_are_all_answered(self, run: Any, serving: Any) -> None:
        async def main() -> None:
            async with serving(echo) as site:
                client = await site.connect()
                client.send(GET * 3)
                client.writer.write_eof()
                for _ in range(3):
                    assert (await client.answer())[0] == 200
                assert await client.ended() == b""

        run(main())

    def test_in_the_middle_of_a_head_it_is_the_end(self, run: Any, serving: Any) -> None:
        async def main() -> None:
            async with serving(hello) as site:
                client = await site.connect()
                client.send("GET / HT")
                client.writer.write_eof()
                assert await client.ended() == b""
                assert site.server.requests == 0

        run(main())

    def test_in_the_middle_of_a_body_the_application_learns_of_it(self, run: Any, serving: Any) -> None:
        async def main() -> None:
            got: list[Any] = []

            async def app(scope: Any, receive: Any, send: Any) -> None:
                while not got or got[-1]["type"] != "http.disconnect":
                    got.append(await receive())

            async with serving(app) as site:
                client = await site.connect()
                client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab")
                client.writer.write_eof()
                assert await client.ended() == b""
                assert b"".join(message.get("body", b"") for message in got) == b"ab"
                assert site.messages() == []

        run(main())

    def test_the_message_also_comes_after_a_body_that_was_read_late(self, run: Any, serving: Any) -> None:
        async def main() -> None:
            go = asyncio.Event()
            got: list[Any] = []

            async def app(scope: Any, receive: Any, send: Any) -> None:
                await go.wait()
                got.append(await read_all(receive))
                got.append(await receive())
                await answer(send, b"all the same")

            async with serving(app) as site:
                client = await site.connect()
                client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab")
                client.writer.write_eof()
                await site.until(lambda: site.server.running, "request")
                [protocol] = site.server.connections
                await site.until(lambda: protocol._eof, "end of the stream")
                go.set()
                assert (await client.answer())[2] == b"all the same"
                assert got == [b"ab", {"type": "http.disconnect"}]

        run(main())


def test_a_reset_of_an_idle_connection_is_no_news(run: Any, serving: Any) -> None:
    async def main() -> None:
        async with serving(hello) as site:
            client = await site.connect()
            await client.get()
            client.reset()
            await site.until(lambda: not site.server.connections, "end of the connection")
            assert site.messages(logging.DEBUG) == []

    run(main())


def test_accepted_connections_have_nodelay(run: Any, serving: Any) -> None:
    async def main() -> None:
        async with serving(hello) as site:
            client = await site.connect()
            await client.get()
            [protocol] = site.server.connections
            sock = protocol.transport.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1

    run(main())
