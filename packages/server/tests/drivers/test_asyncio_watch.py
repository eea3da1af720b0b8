"""Requests over ``timeout``: which are found, what is said of them, and that the others are drained."""

import asyncio
import contextlib
from typing import Any

from gunicorn.drivers.asyncio_watch import stack_of

GET = "GET {} HTTP/1.1\r\nHost: h\r\n\r\n"


def start() -> dict[str, Any]:
    return {"type": "http.response.start", "status": 200, "headers": []}


def body(data: bytes = b"", more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


class Site:
    """An application with requests of every kind, and what the server told its worker."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.told: list[tuple[str, str]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        if path == "/stream":
            await send(start())
            await send(body(b"first", more=True))
        elif path == "/upload":
            while (await receive())["more_body"]:
                pass
        elif path == "/after":
            await send(start())
            await send(body(b"done"))
        if path != "/upload":
            await self.find_answer()
        if path == "/after":
            return
        if path != "/stream":
            await send(start())
        await send(body(b"last"))

    async def find_answer(self) -> None:
        await self.go.wait()

    def tell(self, what: str, stack: str) -> None:
        self.told.append((what, stack))


def test_a_request_that_keeps_its_client_waiting_is_logged_with_its_stack(run: Any, serving: Any) -> None:
    async def main() -> None:
        app = Site()
        async with serving(app, timeout=0.05, on_overdue=app.tell) as site:
            client = await site.connect()
            client.send(GET.format("/answer?x"))
            await site.until(lambda: app.told, "report")
            [(what, stack)] = app.told
            assert what == "GET /answer?x"
            assert "in find_answer" in stack
            assert "await self.go.wait()" in stack
            for _ in range(3):
                site.server._tick()  # more ticks find nothing new
            assert len(app.told) == 1
            app.go.set()
            assert (await client.answer())[2] == b"last"

    run(main())


def test_what_does_not_count(run: Any, serving: Any) -> None:
    """A response that has begun, a client that does not send its body, what runs after the response."""

    async def main() -> None:
        app = Site()
        async with serving(app, timeout=0.05, on_overdue=app.tell) as site:
            stream, upload, after = await site.connect(), await site.connect(), await site.connect()
            stream.send(GET.format("/stream"))
            upload.send("POST /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\na")
            assert (await after.get("/after"))[2] == b"done"
            await stream.head()
            await site.until(lambda: len(site.server.running) == 3, "three requests")
            counted = await site.connect()
            counted.send(GET.format("/answer"))
            await site.until(lambda: app.told, "report of the request that counts")
            assert [what for what, _ in app.told] == ["GET /answer"]
            upload.send("b")
            assert (await upload.answer())[2] == b"last"
            app.go.set()
            await counted.answer()

    run(main())


def test_0_is_never(run: Any, serving: Any) -> None:
    async def main() -> None:
        app = Site()
        async with serving(app, on_overdue=app.tell) as site:
            client = await site.connect()
            client.send(GET.format("/answer"))
            await site.until(lambda: site.server.running, "request")
            [exchange] = site.server.running
            exchange.started = exchange.occupied = exchange.started - 1e6
            site.server._tick()
            assert app.told == []
            app.go.set()
            await client.answer()

    run(main())


def test_the_drain_waits_for_the_others_only(run: Any, serving: Any) -> None:
    async def main() -> None:
        app = Site()
        async with serving(app, timeout=0.05, on_overdue=app.tell) as site:
            stuck, stream = await site.connect(), await site.connect()
            stream.send(GET.format("/stream"))
            await stream.head()
            stuck.send(GET.format("/answer"))
            await site.until(lambda: app.told, "report")
            draining = asyncio.ensure_future(site.server.drain(60))
            await asyncio.sleep(0)
            assert not draining.done()
            await stream.close()  # its application learns of that, and is cancelled
            await draining
            assert next(iter(site.server.running)).request.uri == "/answer"
            await site.server.stop()
            assert await stuck.ended() == b""

    run(main())


def test_the_stack_goes_through_tasks_and_generators(run: Any) -> None:
    async def main() -> None:
        hold = asyncio.Event()

        async def deepest() -> None:
            await hold.wait()

        async def items() -> Any:
            await asyncio.ensure_future(deepest())
            yield 1

        async def outer() -> None:
            async for _ in items():
                pass

        task = asyncio.ensure_future(outer())
        for _ in range(4):
            await asyncio.sleep(0)
        stack = stack_of(task)
        positions = [stack.index(f"in {name}") for name in ("outer", "items", "deepest", "wait")]
        assert positions == sorted(positions)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert stack_of(task) == ""

    run(main())
