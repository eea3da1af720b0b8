"""TLS on an event loop: what applications learn of it, and what is said to clients that get it wrong."""

import asyncio
import json
import logging
import os
import socket
import ssl
from typing import Any

import pytest

GET = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"


async def describe(scope: Any, receive: Any, send: Any) -> None:
    text = json.dumps([scope["scheme"], scope["extensions"].get("tls")]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": text})


@pytest.fixture
def context(tls_files: Any) -> ssl.SSLContext:
    """A server's, which asks for a certificate and does not insist; for SNI it has two."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(tls_files.combined)
    made.load_verify_locations(tls_files.ca)
    made.verify_mode = ssl.CERT_OPTIONAL
    return made


@pytest.mark.parametrize("certified", [False, True])
def test_applications_see_https_and_the_clients_certificate(
    run: Any, serving: Any, context: ssl.SSLContext, tls_files: Any, certified: bool
) -> None:
    async def main() -> None:
        async with serving(describe, ssl=context) as site:
            client = await site.connect(ssl=tls_files.context(certified), server_hostname="localhost")
            for _ in range(3):
                status, _, text = await client.get()
                scheme, tls = json.loads(text)
                assert (status, scheme, tls["tls_version"]) == (200, "https", 0x0304)
                assert bool(tls["client_cert_chain"]) == certified
                assert ("CN=client" in (tls["client_cert_name"] or "")) == certified

    run(main())


def test_without_tls_there_is_no_such_extension(run: Any, serving: Any) -> None:
    async def main() -> None:
        async with serving(describe) as site:
            assert json.loads((await (await site.connect()).get())[2]) == ["http", None]

    run(main())


def test_server_name_indication_is_the_contexts(
    run: Any, serving: Any, context: ssl.SSLContext, tls_files: Any
) -> None:
    other = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    other.load_cert_chain(tls_files.other, tls_files.other_key)

    def choose(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        if name == "other.test":
            connection.context = other

    context.sni_callback = choose

    async def main() -> None:
        async with serving(describe, ssl=context) as site:
            for name in ("localhost", "other.test"):
                client = await site.connect(ssl=tls_files.context(), server_hostname=name)
                assert (await client.get())[0] == 200

    run(main())


def test_a_handshake_that_stops_makes_nobody_wait(
    run: Any, serving: Any, context: ssl.SSLContext, tls_files: Any
) -> None:
    async def main() -> None:
        from gunicorn.http.policy import Policy

        async with serving(describe, ssl=context, policy=Policy(head_timeout=0.3)) as site:
            silent = await site.connect()
            client = await site.connect(ssl=tls_files.context(), server_hostname="localhost")
            assert (await client.get())[0] == 200
            assert await silent.ended() == b""  # it has as long as a request's head
            assert site.messages() == []

    run(main())


def test_plain_http_is_answered_and_logged_once(run: Any, serving: Any, context: ssl.SSLContext) -> None:
    async def main() -> None:
        async with serving(describe, ssl=context) as site:
            client = await site.connect()
            client.send(GET)
            answer = await client.ended()
            assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
            assert b"plain HTTP was sent to a TLS port" in answer
            await site.until(site.messages, "log line")
            [message] = site.messages()
            assert message == "Invalid TLS handshake from ip=127.0.0.1: it is plain HTTP"
            await site.until(lambda: not site.server._acceptor.greeting, "end of the handshake")

    run(main())


def test_a_handshake_that_fails_is_logged_once(run: Any, serving: Any, context: ssl.SSLContext) -> None:
    async def main() -> None:
        async with serving(describe, ssl=context) as site:
            client = await site.connect()
            client.send(b"\x16\x03\x01\x00\x05hello")
            await client.ended()
            await site.until(site.messages, "log line")
            [message] = site.messages()
            assert message.startswith("Invalid TLS handshake from ip=127.0.0.1: ")
            client.reset()
            gone = await site.connect()
            gone.reset()
            await site.until(lambda: len(site.messages(logging.DEBUG)) == 2, "line on the one that left")
            assert len(site.messages()) == 1

    run(main())


def test_handshakes_count_as_connections_and_are_waited_for(
    run: Any, serving: Any, context: ssl.SSLContext, tls_files: Any
) -> None:
    async def main() -> None:
        async with serving(describe, ssl=context, most_connections=1) as site:
            silent = await site.connect()
            await site.until(lambda: site.server._acceptor.greeting, "handshake")
            assert site.server._acceptor.paused
            draining = asyncio.ensure_future(site.server.drain(60))
            await asyncio.sleep(0.01)
            assert not draining.done()
            await silent.close()
            await draining

    run(main())


def test_a_request_of_many_reads_and_a_large_answer(
    run: Any, serving: Any, context: ssl.SSLContext, tls_files: Any
) -> None:
    async def echo(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await send({"type": "http.response.body", "body": message["body"], "more_body": more})

    async def main() -> None:
        async with serving(echo, ssl=context) as site:
            client = await site.connect(ssl=tls_files.context(), server_hostname="localhost")
            sent = bytes(range(256)) * 4096
            client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(sent) + sent)
            assert (await client.answer())[2] == sent

    run(main())


def test_a_connection_that_ends_without_a_goodbye_is_no_news(
    run: Any, serving: Any, context: ssl.SSLContext, tls_files: Any
) -> None:
    """As with suppress_ragged_eofs, which is the context's option."""
    context.options |= getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", ssl.Options(0))

    async def main() -> None:
        async with serving(describe, ssl=context) as site:
            client = await site.connect(ssl=tls_files.context(), server_hostname="localhost")
            assert (await client.get())[0] == 200
            with socket.socket(fileno=os.dup(client.writer.get_extra_info("socket").fileno())) as raw:
                raw.shutdown(socket.SHUT_WR)
            await site.until(lambda: not site.server.connections, "end of the connection")
            assert site.messages() == []

    run(main())


@pytest.mark.parametrize("body", [b"", b"body"])
def test_who_streams_to_a_client_that_said_goodbye_is_stopped(
    run: Any, serving: Any, context: ssl.SSLContext, tls_files: Any, body: bytes
) -> None:
    many = 20_000
    ended: list[tuple[int, bool]] = []
    over = asyncio.Event()

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        if body:
            await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        sent = 0
        try:
            for sent in range(many):  # noqa: B007 - a sender that the transport never holds up would hold up the loop
                await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        except OSError:
            ended.append((sent, True))
            raise
        else:
            ended.append((sent, False))
        finally:
            over.set()

    def client(port: int) -> None:  # in a thread: the loop may have no time for it
        with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
            tls = tls_files.context().wrap_socket(plain, server_hostname="localhost")
            tls.sendall(f"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            seen = 0
            while seen < 200_000:
                seen += len(tls.recv(65536))
            tls.close()  # what is unread resets the connection

    async def main() -> None:
        async with serving(stream, ssl=context) as site:
            await asyncio.gather(asyncio.to_thread(client, site.port), over.wait())
            sent, stopped = ended[0]
            assert stopped, sent

    run(main())
