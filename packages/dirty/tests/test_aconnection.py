"""The asyncio client's connections, against peers that answer wrongly, late or not at all."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from gunicorn.dirty.client import DirtyClient
from gunicorn.dirty.errors import DirtyConnectionError, DirtyProtocolError
from gunicorn_dirty_protocol import Chunk, End, Request, Response, parse_frame

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def against(directory: str, peer: Peer, use: Callable[[DirtyClient], Coroutine[Any, Any, Any]]) -> Any:
    """Run `use(client)` while `peer` serves each connection."""

    async def main() -> Any:
        path = os.path.join(directory, "s")

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await peer(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_unix_server(serve, path)
        client = DirtyClient(path, 20)
        try:
            return await use(client)
        finally:
            await client.close_async()
            server.close()
            await server.wait_closed()

    return asyncio.run(main())


async def request(reader: asyncio.StreamReader) -> Request:
    header = await reader.readexactly(16)
    message = parse_frame(header + await reader.readexactly(int.from_bytes(header[4:8], "big")))
    assert isinstance(message, Request)
    return message


def test_answers_in_any_order_and_to_nobody_reach_whom_they_are_for(short_dir: str) -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = [await request(reader) for _ in range(3)]
        writer.write(Response(asked[0].request_id + 10**6, "nobody's").to_bytes())
        for one in reversed(asked):
            writer.write(Response(one.request_id, one.args[0]).to_bytes())
        await reader.read()

    async def use(client: DirtyClient) -> Any:
        return await asyncio.gather(*(client.execute_async("m:A", "go", number) for number in range(3)))

    assert against(short_dir, peer, use) == [0, 1, 2]


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_no_protocol_is_said_so(short_dir: str, stream: bool) -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()

    async def use(client: DirtyClient) -> None:
        ask: Any = anext(client.stream_async("m:A", "go")) if stream else client.execute_async("m:A", "go")
        with pytest.raises(DirtyProtocolError, match="does not speak the protocol"):
            await ask

    against(short_dir, peer, use)


def test_a_chunk_of_another_stream_is_never_taken(short_dir: str) -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        one = await request(reader)
        writer.write(Chunk(one.request_id, "mine").to_bytes() + Chunk(one.request_id + 1, "not mine").to_bytes())
        await reader.read()

    async def use(client: DirtyClient) -> None:
        items = client.stream_async("m:A", "go")
        assert await anext(items) == "mine"
        with pytest.raises(DirtyProtocolError, match="another's stream"):
            await anext(items)

    against(short_dir, peer, use)


def test_the_end_of_the_connection_is_the_end_of_all_its_calls(short_dir: str) -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(3):
            await request(reader)

    async def use(client: DirtyClient) -> Any:
        calls = (client.execute_async("m:A", "go", number) for number in range(3))
        return await asyncio.gather(*calls, return_exceptions=True)

    outcomes = against(short_dir, peer, use)
    assert [type(outcome) for outcome in outcomes] == [DirtyConnectionError] * 3
    assert all("may have run" in str(outcome) for outcome in outcomes)


def test_a_connection_of_a_stream_is_used_again(short_dir: str) -> None:
    connections = []

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        while True:
            one = await request(reader)
            writer.write(Chunk(one.request_id, one.args[0]).to_bytes() + End(one.request_id).to_bytes())

    async def use(client: DirtyClient) -> Any:
        items = []
        for number in range(3):
            items += [item async for item in client.stream_async("m:A", "go", number)]
        return items

    assert against(short_dir, peer, use) == [0, 1, 2]
    assert len(connections) == 1
