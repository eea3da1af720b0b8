"""One request in the hands of an application: its failures, its client's leaving, contexts, real frameworks."""

import asyncio
import logging
from typing import Any

import pytest
from gunicorn.asgi.cycle import ClientDisconnected
from gunicorn.http.errors import LocalProtocolError

GET = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
POST_HALF = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab"


def start(status: Any = 200, headers: Any = ()) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers}


def body(data: Any = b"", more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def ok(send: Any) -> None:
    await send(start())
    await send(body(b"ok"))


def tracebacks(site: Any) -> list[str]:
    return [type(record.exc_info[1]).__name__ for record in site.handler.records if record.exc_info]


class TestFailures:
    @pytest.mark.parametrize("started", [False, True])
    def test_an_exception_before_anything_was_sent_is_answered_with_500(
        self, run: Any, serving: Any, started: bool
    ) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            if started:
                await send(start())
            if scope["path"] == "/fail":
                raise ValueError("x")
            await ok(send)

        async def main() -> None:
            async with serving(app) as site:
                client = await site.connect()
                status, _, text = await client.get("/fail")
                assert (status, text) == (500, b"Internal Server Error\n")
                if not started:  # and the connection goes on
                    assert (await client.get())[2] == b"ok"
                assert tracebacks(site) == ["ValueError"]
                assert site.messages() == ["Error handling request /fail"]
                assert site.server._options.slot.errors == 1

        run(main())

    def test_an_exception_after_the_head_breaks_the_connection_off(self, run: Any, serving: Any) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(start())
            await send(body(b"part", more=True))
            raise ValueError("x")

        async def main() -> None:
            async with serving(app) as site:
                client = await site.connect()
                client.send(GET)
                rest = await client.ended()
                assert not rest.endswith(b"0\r\n\r\n")  # a client can tell that it is not whole
                assert tracebacks(site) == ["ValueError"]

        run(main())

    def test_an_exception_after_the_response_is_logged_and_harms_nobody(self, run: Any, serving: Any) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await ok(send)
            if scope["path"] == "/fail":
                raise ValueError("x")

        async def main() -> None:
            async with serving(app) as site:
                client = await site.connect()
                assert (await client.get("/fail"))[2] == b"ok"
                assert (await client.get())[2] == b"ok"
                assert tracebacks(site) == ["ValueError"]

        run(main())

    @pytest.mark.parametrize(
        ("messages", "status", "text"),
        [
            ([], 500, "without starting its response to /"),
            ([start()], 500, "without completing its response to /"),
            ([start(), body(b"x", more=True)], None, "without completing its response to /"),
        ],
    )
    def test_returning_too_early(
        self, run: Any, serving: Any, messages: list[Any], status: int | None, text: str
    ) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            for message in messages:
                await send(message)

        async def main() -> None:
            async with serving(app) as site:
                client = await site.connect()
                client.send(GET)
                if status:
                    assert (await client.answer())[0] == status
                else:
                    assert not (await client.ended()).endswith(b"0\r\n\r\n")
                [message] = site.messages()
                assert text in message

        run(main())

    @pytest.mark.parametrize(
        ("messages", "text"),
        [
            ([body(b"x")], "start has to come first"),
            ([start(), start()], "already started"),
            ([start(), body(b"ok"), body(b"more")], "already complete"),
            ([start(), body("text")], "not a byte string"),
            ([start(200, [(b"a", b"b\r\nc: d")]), body()], "control character"),
            ([start(200, [("a", "b\n")]), body()], "control character"),
            ([start(200, [[b"a", b"b\r\nc: d"]]), body()], "control character"),
            ([start(200, [[b"a b", b""]]), body()], "not a token"),
            ([start(99), body()], "no final response"),
            ([start("200"), body()], "not a number"),
            ([{"type": "http.response.push"}], "none that an HTTP response has"),
            ([start(), {"type": "http.response.trailers", "headers": []}], "trailers=True"),
            ([start(1000), body()], "not a number of three digits"),
            ([start(200, [(b"content-length", b"5")]), body(b"x")], "Content-Length is 5"),
            ([start(200, [(b"content-length", b"x")]), body(b"x")], "not a number"),
        ],
    )
    def test_protocol_errors_raise_in_the_application_and_answer_500(
        self, run: Any, serving: Any, messages: list[Any], text: str
    ) -> None:
        raised: list[BaseException] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            try:
                for message in messages:
                    await send(message)
            except LocalProtocolError as error:
                raised.append(error)
                raise

        async def main() -> None:
            async with serving(app) as site:
                client = await site.connect()
                status, fields, _ = await client.get()
                assert status == (200 if text == "already complete" else 500)
                assert "c" not in fields
                assert text in str(raised[0])
                assert tracebacks(site) == ["LocalProtocolError"]

        run(main())

    def test_an_application_may_recover_from_a_rejected_head(self, run: Any, serving: Any) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            try:
                await send(start(200, [(b"a\n", b"")]))
                await send(body())
            except LocalProtocolError:
                await send(start(503))
                await send(body(b"sorry"))

        async def main() -> None:
            async with serving(app) as site:
                client = await site.connect()
                status, _, text = await client.get()
                assert (status, text) == (503, b"sorry")
                assert site.messages() == []

        run(main())

    def test_a_body_longer_than_its_content_length_never_reaches_the_next_response(
        self, run: Any, serving: Any
    ) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(start(200, [(b"content-length", b"3")]))
            await send(body(b"abc", more=True))
            with pytest.raises(LocalProtocolError, match="longer than its Content-Length"):
                await send(body(b"HTTP/1.1 200 OK\r\n"))

        async def main() -> None:
            async with serving(app) as site:
                client = await site.connect()
                client.send(GET * 2)
                assert (await client.answer())[2] == b"abc"
                assert await client.ended() == b""
                assert site.messages() == ["The response to / could not be sent as the application gave it"]

        run(main())

    def test_headers_as_lists_and_status_as_an_enum(self, run: Any, serving: Any) -> None:
        from http import HTTPStatus

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(start(HTTPStatus.CREATED, [[b"x-a", bytearray(b"1")], (b"x-b", b"2")]))
            await send(body(b"ok"))

        async def main() -> None:
            async with serving(app) as site:
                status, fields, _ = await (await site.connect()).get()
                assert (status, fields["x-a"], fields["x-b"]) == (201, "1", "2")

        run(main())

    def test_head_204_and_304_have_no_body(self, run: Any, serving: Any) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(start(int(scope["path"][1:])))
            await send(body(b"some", more=True))
            await send(body(b"thing"))

        async def main() -> None:
            async with serving(app) as site:
                client = await site.connect()
                for method, status in (("HEAD", 200), ("GET", 204), ("GET", 304)):
                    client.send(f"{method} /{status} HTTP/1.1\r\nHost: h\r\n\r\n")
                    assert (await client.answer(bodiless=True))[0] == status
                assert (await client.get("/200"))[2] == b"something"

        run(main())

    def test_interim_responses(self, run: Any, serving: Any) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
            await ok(send)

        async def main() -> None:
            async with serving(app) as site:
                client = await site.connect()
                client.send(GET)
                assert await client.head() == (103, {"link": "</a.css>; rel=preload"})
                assert (await client.answer())[2] == b"ok"
                client.send("GET / HTTP/1.0\r\n\r\n")
                assert (await client.answer())[0] == 200

        run(main())

    def test_trailers(self, run: Any, serving: Any) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            assert ("http.response.trailers" in scope["extensions"]) == (scope["http_version"] != "1.0")
            await send({**start(), "trailers": True})
            await send({"type": "http.response.early_hint", "links": [b"</a>"]})  # the head is not on its way yet
            await send(body(b"abc", more=True))
            await send(body(b"d"))
            await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")], "more_trailers": True})
            await send({"type": "http.response.trailers", "headers": [[b"x-b", b"2"], (b"content-length", b"4")]})

        async def main() -> None:
            async with serving(app) as site:
                client = await site.connect()
                client.send("GET / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\n\r\n")
                assert await client.head() == (103, {"link": "</a>"})
                assert (await client.head())[1]["transfer-encoding"] == "chunked"
                rest = b"3\r\nabc\r\n1\r\nd\r\n0\r\nx-sum: 1\r\nx-b: 2\r\n\r\n"
                assert await client.reader.readexactly(len(rest)) == rest
                client.send("HEAD / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\n\r\n")
                assert (await client.head())[0] == 103
                assert (await client.answer(bodiless=True))[0] == 200
                client.send(GET)  # it does not say that it takes them
                assert (await client.head())[0] == 103
                assert (await client.answer())[2] == b"abcd"
                client.send("GET / HTTP/1.0\r\nTE: trailers\r\n\r\n")
                assert (await client.answer())[2] == b"abcd"
                assert site.messages() == []

        run(main())

    def test_trailers_that_never_come(self, run: Any, serving: Any) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({**start(), "trailers": True})
            await send(body(b"abc"))

        async def main() -> None:
            async with serving(app) as site:
                client = await site.connect()
                client.send(GET)
                assert not (await client.ended()).endswith(b"0\r\n\r\n")
                assert site.messages() == ["The application returned without completing its response to /"]

        run(main())


class TestDisconnect:
    def test_the_message_comes_first_and_the_application_may_end_by_itself(self, run: Any, serving: Any) -> None:
        async def main() -> None:
            ended: list[Any] = []

            async def app(scope: Any, receive: Any, send: Any) -> None:
                await receive()
                ended.append(await receive())
                for _ in range(10):
                    await asyncio.sleep(0)  # it has time to clean up
                ended.append("cleaned up")

            async with serving(app, disconnect_grace=60) as site:
                client = await site.connect()
                client.send(GET)
                await site.until(lambda: site.server.running, "request")
                client.reset()
                await site.until(lambda: not site.server.running, "end of the request")
                assert ended == [{"type": "http.disconnect"}, "cleaned up"]
                assert site.messages() == []

        run(main())

    @pytest.mark.parametrize("how", ["reset", "close"])
    @pytest.mark.parametrize("grace", [0, 0.05])
    def test_it_is_cancelled_after_the_grace_period(self, run: Any, serving: Any, how: str, grace: float) -> None:
        async def main() -> None:
            ended: list[BaseException] = []

            async def app(scope: Any, receive: Any, send: Any) -> None:
                try:
                    await asyncio.Event().wait()
                except BaseException as error:
                    ended.append(error)
                    raise

            async with serving(app, disconnect_grace=grace) as site:
                client = await site.connect()
                client.send(GET)
                await site.until(lambda: site.server.running, "request")
                [exchange] = site.server.running
                if how == "reset":
                    client.reset()
                else:
                    await client.close()
                await site.until(lambda: not site.server.running, "end of the request")
                await site.until(lambda: not site.server.connections, "end of the connection")
                assert isinstance(ended[0], asyncio.CancelledError)
                await site.until(exchange.task.done, "end of the task")
                assert exchange.task.cancelled()
                assert site.messages() == []

        run(main())

    def test_send_raises_an_os_error_which_is_no_error_of_the_application(self, run: Any, serving: Any) -> None:
        async def main() -> None:
            raised: list[OSError] = []

            async def app(scope: Any, receive: Any, send: Any) -> None:
                await receive()
                await receive()
                for _ in range(2):
                    with pytest.raises(ClientDisconnected, match=r"127\.0\.0\.1:\d+ has disconnected") as caught:
                        await send(start())
                    raised.append(caught.value)
                raise raised[0]

            async with serving(app) as site:
                client = await site.connect()
                client.send(GET)
                await site.until(lambda: site.server.running, "request")
                client.reset()
                await site.until(lambda: not site.server.running, "end of the request")
                assert len(raised) == 2
                assert site.messages() == []

        run(main())

    @pytest.mark.parametrize("own_bug", [False, True])
    def test_what_a_framework_makes_of_a_disconnect_is_no_error_either(
        self, run: Any, serving: Any, own_bug: bool
    ) -> None:
        async def main() -> None:
            class FrameworkError(Exception):
                pass

            async def app(scope: Any, receive: Any, send: Any) -> None:
                await receive()
                await receive()
                if own_bug:
                    raise ZeroDivisionError
                try:
                    await send(start())
                except OSError:
                    raise FrameworkError from None

            async with serving(app) as site:
                client = await site.connect()
                client.send(GET)
                await site.until(lambda: site.server.running, "request")
                client.reset()
                await site.until(lambda: not site.server.running, "end of the request")
                assert len(site.messages(logging.ERROR)) == own_bug
                assert len(site.messages(logging.DEBUG)) > 0

        run(main())

    def test_a_sender_that_waits_is_woken(self, run: Any, serving: Any) -> None:
        async def main() -> None:
            async def app(scope: Any, receive: Any, send: Any) -> None:
                await send(start())
                while True:
                    await send(body(bytes(65536), more=True))

            async with serving(app, disconnect_grace=60) as site:
                client = await site.connect(limit=1024)
                client.send(GET)
                await site.until(
                    lambda: site.server.connections and not next(iter(site.server.connections)).writable, "full"
                )
                client.reset()
                await site.until(lambda: not site.server.running, "end of the request")
                assert site.messages() == []

        run(main())

    def test_in_the_middle_of_the_request_body(self, run: Any, serving: Any) -> None:
        async def main() -> None:
            got: list[Any] = []

            async def app(scope: Any, receive: Any, send: Any) -> None:
                while not got or got[-1]["type"] != "http.disconnect":
                    got.append(await receive())

            async with serving(app) as site:
                client = await site.connect()
                client.send(POST_HALF)
                await site.until(lambda: got, "first part")
                client.reset()
                await site.until(lambda: not site.server.running, "end of the request")
                assert got[0]["body"] == b"ab"
                assert got[-1] == {"type": "http.disconnect"}

        run(main())

    def test_after_the_response_receive_says_disconnect(self, run: Any, serving: Any) -> None:
        async def main() -> None:
            got: list[Any] = []

            async def app(scope: Any, receive: Any, send: Any) -> None:
                await receive()
                waiting = asyncio.ensure_future(receive())
                await asyncio.sleep(0)
                await ok(send)
                got.append(await waiting)
                got.append(await receive())

            async with serving(app) as site:
                assert (await (await site.connect()).get())[2] == b"ok"
                await site.until(lambda: not site.server.running, "end of the request")
                assert got == [{"type": "http.disconnect"}] * 2

        run(main())

    def test_two_receivers_at_once(self, run: Any, serving: Any) -> None:
        async def main() -> None:
            async def app(scope: Any, receive: Any, send: Any) -> None:
                await receive()
                first, second = asyncio.ensure_future(receive()), asyncio.ensure_future(receive())
                await asyncio.sleep(0)
                first.cancel()
                await asyncio.sleep(0)
                assert not second.done()
                await ok(send)
                assert await second == {"type": "http.disconnect"}

            async with serving(app) as site:
                assert (await (await site.connect()).get())[2] == b"ok"
                await site.until(lambda: not site.server.running, "end of the request")
                assert site.messages() == []

        run(main())


class TestTasks:
    def test_each_request_has_a_task_of_its_own_from_its_first_step(self, run: Any, serving: Any) -> None:
        async def main() -> None:
            tasks = []

            async def app(scope: Any, receive: Any, send: Any) -> None:
                first = asyncio.current_task()
                await asyncio.sleep(0)
                assert asyncio.current_task() is first is not None
                tasks.append(first)
                async with _timeout():
                    await ok(send)

            async with serving(app) as site:
                client = await site.connect()
                await client.get()
                await client.get()
                assert len(set(tasks)) == 2
                assert site.messages() == []

        run(main())

    def test_the_next_request_does_not_wait_for_what_runs_after_the_response(self, run: Any, serving: Any) -> None:
        async def main() -> None:
            go = asyncio.Event()

            async def app(scope: Any, receive: Any, send: Any) -> None:
                await ok(send)
                await go.wait()

            async with serving(app) as site:
                client = await site.connect()
                for number in range(1, 4):
                    assert (await client.get())[2] == b"ok"
                    assert len(site.server.running) == number
                go.set()
                await site.until(lambda: not site.server.running, "end of the requests")

        run(main())

    def test_what_a_request_sends_too_late_does_not_reach_the_next_one(self, run: Any, serving: Any) -> None:
        async def main() -> None:
            late = asyncio.Event()

            async def app(scope: Any, receive: Any, send: Any) -> None:
                if scope["path"] == "/first":
                    await ok(send)
                    await late.wait()
                    with pytest.raises(LocalProtocolError):
                        await send(body(b"late"))
                else:
                    await send(start())
                    late.set()
                    for _ in range(5):
                        await asyncio.sleep(0)
                    await send(body(b"second"))

            async with serving(app) as site:
                client = await site.connect()
                assert (await client.get("/first"))[2] == b"ok"
                assert (await client.get("/second"))[2] == b"second"
                assert site.messages() == []

        run(main())


class _timeout:  # noqa: N801 - asyncio.timeout, where it exists (3.11)
    def __init__(self) -> None:
        make: Any = getattr(asyncio, "timeout", None)
        self.inner = make(60) if make else None

    async def __aenter__(self) -> None:
        if self.inner:
            await self.inner.__aenter__()

    async def __aexit__(self, *error: object) -> None:
        if self.inner:
            await self.inner.__aexit__(*error)


class TestStarlette:
    """The features that its users rely on, over real sockets."""

    @pytest.fixture
    def app(self) -> Any:
        pytest.importorskip("starlette", reason="starlette is not installed")
        from starlette.applications import Starlette
        from starlette.background import BackgroundTask
        from starlette.middleware import Middleware
        from starlette.middleware.base import BaseHTTPMiddleware
        from starlette.requests import ClientDisconnect, Request
        from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
        from starlette.routing import Route

        done: list[Any] = []

        async def upload(request: Request) -> JSONResponse:
            async with request.form() as form:
                file: Any = form["file"]
                data = await file.read()
                return JSONResponse({"name": file.filename, "size": len(data), "note": form["note"]})

        async def stream(request: Request) -> StreamingResponse:
            async def words() -> Any:
                try:
                    for number in range(int(request.query_params["n"])):
                        yield f"word {number}\n"
                        await asyncio.sleep(0)
                except (asyncio.CancelledError, ClientDisconnect, GeneratorExit):
                    done.append("stopped")
                    raise

            return StreamingResponse(words())

        async def background(request: Request) -> PlainTextResponse:
            async def later(text: str) -> None:
                await asyncio.sleep(0)
                done.append(text)

            return PlainTextResponse("accepted", 202, background=BackgroundTask(later, "sent"))

        async def fail(request: Request) -> PlainTextResponse:
            raise ValueError("no")

        async def add_header(request: Request, call_next: Any) -> Any:
            response = await call_next(request)
            response.headers["x-through"] = "middleware"
            return response

        app = Starlette(
            routes=[
                Route("/upload", upload, methods=["POST"]),
                Route("/stream", stream),
                Route("/background", background),
                Route("/fail", fail),
            ],
            middleware=[Middleware(BaseHTTPMiddleware, dispatch=add_header)],
        )
        app.state.done = done
        return app

    def test_uploads(self, run: Any, serving: Any, app: Any) -> None:
        async def main() -> None:
            data = bytes(range(256)) * 8000
            parts = (
                b'--x\r\nContent-Disposition: form-data; name="note"\r\n\r\nhi\r\n'
                b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
                + data
                + b"\r\n--x--\r\n"
            )
            async with serving(app) as site:
                client = await site.connect()
                client.send(
                    f"POST /upload HTTP/1.1\r\nHost: h\r\nContent-Type: multipart/form-data; boundary=x\r\n"
                    f"Content-Length: {len(parts)}\r\n\r\n"
                )
                client.send(parts)
                status, fields, text = await client.answer()
                assert (status, fields["x-through"]) == (200, "middleware")
                assert text == b'{"name":"a.bin","size":2048000,"note":"hi"}'

        run(main())

    def test_streaming(self, run: Any, serving: Any, app: Any) -> None:
        async def main() -> None:
            async with serving(app) as site:
                client = await site.connect()
                _, fields, text = await client.get("/stream?n=50")
                assert fields["transfer-encoding"] == "chunked"
                assert text.decode().splitlines() == [f"word {number}" for number in range(50)]
                client.send("GET /stream?n=100000000 HTTP/1.1\r\nHost: h\r\n\r\n")
                await client.head()
                client.reset()
                await site.until(lambda: not site.server.running, "end of the stream")
                assert site.messages(logging.ERROR) == []

        run(main())

    def test_background_tasks(self, run: Any, serving: Any, app: Any) -> None:
        async def main() -> None:
            async with serving(app) as site:
                status, _, text = await (await site.connect()).get("/background")
                assert (status, text) == (202, b"accepted")
                await site.until(lambda: app.state.done == ["sent"], "background task")

        run(main())

    def test_an_exception_is_answered_by_the_framework_and_logged(self, run: Any, serving: Any, app: Any) -> None:
        async def main() -> None:
            async with serving(app) as site:
                client = await site.connect()
                status, _, _ = await client.get("/fail")
                assert status == 500
                await site.until(lambda: tracebacks(site) == ["ValueError"], "line in the log")
                assert (await client.get("/missing"))[0] == 404

        run(main())
