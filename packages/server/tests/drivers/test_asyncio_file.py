"""``http.response.pathsend``: files by way of the kernel and copied, slow clients and clients that leave."""

import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gunicorn.drivers import asyncio_file
from gunicorn.http.errors import LocalProtocolError

SIZE = 12_000_003  # bytes: more than the sockets of both sides hold


class Files:
    """An application that answers with the file that the path names; ``raised`` is what that has raised."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.headers: Any = []
        self.before: list[dict[str, Any]] = []
        self.raised: list[BaseException] = []
        self.announced: dict[str, Any] = {}
        self.trailers = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.announced = scope["extensions"]
        start = {"type": "http.response.start", "status": 200, "headers": self.headers, "trailers": self.trailers}
        name = scope["path"][1:]
        try:
            if scope["path"] == "/unstarted":
                await send({"type": "http.response.pathsend", "path": str(self.folder / "small")})
            await send(start)
            for message in self.before:
                await send(message)
            paths = {b"as-it-is": name, b"none": None, b"object": self.folder / name}
            path = paths.get(scope["query_string"], str(self.folder / name))
            await send({"type": "http.response.pathsend", "path": path})
            if scope["query_string"] == b"more":
                await send({"type": "http.response.body", "body": b"more"})
        except (OSError, LocalProtocolError) as error:
            self.raised.append(error)
            raise


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("files")
    (made / "small").write_bytes(b"hello, file")
    (made / "empty").write_bytes(b"")
    (made / "large").write_bytes(os.urandom(SIZE))
    os.mkfifo(made / "pipe")
    return made


@pytest.fixture
def app(folder: Path) -> Files:
    return Files(folder)


@pytest.fixture
def descriptors() -> Iterator[None]:
    """No descriptor of a file may be left over."""

    def files() -> list[str]:
        found = []
        for fd in os.listdir("/proc/self/fd"):
            try:
                target = os.readlink(f"/proc/self/fd/{fd}")
            except FileNotFoundError:
                continue
            found += [target] if "/files" in target else []
        return found

    yield
    assert files() == []


pytestmark = pytest.mark.usefixtures("descriptors")

WAYS = pytest.mark.parametrize("way", ["sendfile", "copied", "tls"])


def options(way: str, tls_files: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The server's options and the client's."""
    if way == "tls":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls_files.combined)
        return {"ssl": context}, {"ssl": tls_files.context(False), "server_hostname": "localhost"}
    return {"sendfile": way == "sendfile"}, {}


@WAYS
def test_files_of_all_sizes(run: Any, serving: Any, app: Files, tls_files: Any, way: str) -> None:
    async def main() -> None:
        server, how = options(way, tls_files)
        reported: list[int] = []
        async with serving(app, on_end=lambda exchange: reported.append(exchange.sent), **server) as site:
            client = await site.connect(**how)
            for name in ("small", "empty", "large", "small"):
                status, fields, body = await client.get(f"/{name}")
                assert status == 200
                assert int(fields["content-length"]) == len(body)
                assert body == (app.folder / name).read_bytes()
            assert reported == [11, 0, SIZE, 11]
            assert app.announced["http.response.pathsend"] == {}
            assert site.messages() == []

    run(main())


def test_the_kernel_sends_it_only_where_it_may(
    run: Any, serving: Any, app: Files, tls_files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    real = os.sendfile

    def counted(*args: int) -> int:
        calls.append(1)
        return real(*args)

    monkeypatch.setattr(os, "sendfile", counted)

    async def main() -> None:
        for way in ("sendfile", "copied", "tls"):
            calls.clear()
            server, how = options(way, tls_files)
            async with serving(app, **server) as site:
                await (await site.connect(**how)).get("/small")
                assert bool(calls) == (way == "sendfile")

    run(main())


@WAYS
def test_pipelined_requests(run: Any, serving: Any, app: Files, tls_files: Any, way: str) -> None:
    async def main() -> None:
        server, how = options(way, tls_files)
        async with serving(app, **server) as site:
            client = await site.connect(**how)
            get = "GET /{} HTTP/1.1\r\nHost: h\r\n{}\r\n"
            client.send(get.format("small", "") + get.format("large", "") + get.format("empty", ""))
            client.send(get.format("small", "Connection: close\r\n"))
            for name in ("small", "large", "empty", "small"):
                assert (await client.answer())[2] == (app.folder / name).read_bytes()
            assert await client.ended() == b""

    run(main())


def test_a_body_that_was_not_read_ends_the_connection(run: Any, serving: Any, app: Files) -> None:
    async def main() -> None:
        async with serving(app) as site:
            client = await site.connect()
            client.send("POST /large HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n")
            _, fields, body = await client.answer()
            assert (fields["connection"], len(body)) == ("close", SIZE)
            assert await client.ended() == b""

    run(main())


def test_a_file_comes_after_what_was_sent_before_it(run: Any, serving: Any, app: Files) -> None:
    app.before = [{"type": "http.response.early_hint", "links": [b"</x>; rel=preload"]}]

    async def main() -> None:
        async with serving(app) as site:
            client = await site.connect()
            client.send("GET /small HTTP/1.1\r\nHost: h\r\n\r\n")
            assert (await client.head())[0] == 103
            assert (await client.answer())[2] == b"hello, file"

    run(main())


def test_relative_paths_and_path_objects(run: Any, serving: Any, app: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(app.folder)

    async def main() -> None:
        async with serving(app) as site:
            client = await site.connect()
            assert (await client.get("/small?as-it-is"))[2] == b"hello, file"
            assert (await client.get("/small?object"))[2] == b"hello, file"

    run(main())


def test_head_and_http_1_0(run: Any, serving: Any, app: Files) -> None:
    async def main() -> None:
        async with serving(app) as site:
            client = await site.connect()
            client.send("HEAD /large HTTP/1.1\r\nHost: h\r\n\r\n")
            status, fields, _ = await client.answer(bodiless=True)
            assert (status, fields["content-length"]) == (200, str(SIZE))
            assert (await client.get("/small"))[2] == b"hello, file"
            old = await site.connect()
            old.send("GET /small HTTP/1.0\r\n\r\n")
            assert (await old.answer())[2] == b"hello, file"
            assert await old.ended() == b""

    run(main())


@pytest.mark.parametrize("headers", [[(b"Content-Length", b"11")], [[b"content-length", bytearray(b"11")]]])
def test_the_applications_content_length_stands_once(run: Any, serving: Any, app: Files, headers: Any) -> None:
    app.headers = headers

    async def main() -> None:
        async with serving(app) as site:
            client = await site.connect()
            client.send("GET /small HTTP/1.1\r\nHost: h\r\n\r\n")
            head = await client.reader.readuntil(b"\r\n\r\n")
            assert head.lower().count(b"content-length: 11\r\n") == 1
            assert await client.reader.readexactly(11) == b"hello, file"

    run(main())


@pytest.mark.parametrize(
    ("target", "headers", "error", "text"),
    [
        ("/small", [(b"content-length", b"10")], LocalProtocolError, "the file has 11 bytes"),
        ("/small", [(b"content-length", b"12")], LocalProtocolError, "the file has 11 bytes"),
        ("/small", [(b"x", b"a\r\nb")], LocalProtocolError, "control character"),
        ("/missing", [], FileNotFoundError, "missing"),
        ("/.", [], LocalProtocolError, "not an ordinary file"),
        ("/pipe", [], LocalProtocolError, "not an ordinary file"),
        ("/missing?as-it-is", [], FileNotFoundError, "missing"),
        ("/?none", [], LocalProtocolError, "None, and not text"),
        ("/unstarted", [], LocalProtocolError, "http.response.start has to come first"),
    ],
)
def test_what_cannot_be_sent_is_answered_with_500(
    run: Any, serving: Any, app: Files, target: str, headers: Any, error: type[Exception], text: str
) -> None:
    app.headers = headers

    async def main() -> None:
        async with serving(app) as site:
            client = await site.connect()
            assert (await client.get(target))[0] == 500
            [raised] = app.raised
            assert isinstance(raised, error)
            assert text in str(raised)
            app.headers = []
            assert (await client.get("/small"))[2] == b"hello, file"  # nothing is left on the connection

    run(main())


def test_a_file_does_not_follow_a_part_of_another_body(run: Any, serving: Any, app: Files) -> None:
    app.before = [{"type": "http.response.body", "body": b"part", "more_body": True}]

    async def main() -> None:
        async with serving(app) as site:
            client = await site.connect()
            client.send("GET /small HTTP/1.1\r\nHost: h\r\n\r\n")
            assert not (await client.ended()).endswith(b"0\r\n\r\n")
            assert "a part of another one was sent already" in str(app.raised[0])

    run(main())


def test_a_file_has_no_trailers_and_nothing_follows_it(run: Any, serving: Any, app: Files) -> None:
    async def main() -> None:
        async with serving(app) as site:
            client = await site.connect()
            assert (await client.get("/small?more"))[2] == b"hello, file"
            assert (await client.get("/small"))[2] == b"hello, file"
            app.trailers = True
            assert (await client.get("/small"))[0] == 500
            assert ["already complete" in str(app.raised[0]), "no room" in str(app.raised[1])] == [True, True]

    run(main())


@WAYS
def test_a_slow_client_waits_alone_and_shows_as_one(
    run: Any, serving: Any, app: Files, tls_files: Any, way: str
) -> None:
    async def main() -> None:
        server, how = options(way, tls_files)
        async with serving(app, **server) as site:
            slow = await site.connect(limit=1, **how)
            slow.send("GET /large HTTP/1.1\r\nHost: h\r\n\r\n")
            [protocol] = await connections(site)
            await site.until(lambda: not protocol.writable, "wait for the reader")
            stage, _, _ = protocol.standing(1e9)
            assert stage.name == "READER"
            assert (await (await site.connect(**how)).get("/small"))[2] == b"hello, file"
            slow.reader._limit = 1 << 20  # now it reads
            head, body = (await slow.reader.readuntil(b"\r\n\r\n")), await slow.reader.readexactly(SIZE)
            assert head.startswith(b"HTTP/1.1 200")
            assert body == (app.folder / "large").read_bytes()
            await site.until(lambda: protocol.writable and not site.server.running, "end")

    run(main())


@WAYS
def test_a_client_that_leaves(run: Any, serving: Any, app: Files, tls_files: Any, way: str) -> None:
    async def main() -> None:
        server, how = options(way, tls_files)
        async with serving(app, **server) as site:
            client = await site.connect(limit=1, **how)
            client.send("GET /large HTTP/1.1\r\nHost: h\r\n\r\n")
            [protocol] = await connections(site)
            await site.until(lambda: not protocol.writable, "wait for the reader")
            client.reset()
            await site.until(lambda: not site.server.running, "end of the application")
            assert [type(error).__name__ for error in app.raised] == ["ClientDisconnected"]
            assert site.messages() == []

    run(main())


@pytest.mark.parametrize("way", ["sendfile", "copied"])
def test_a_file_that_becomes_shorter_breaks_the_connection_off(
    run: Any, serving: Any, app: Files, tmp_path: Path, way: str
) -> None:
    shrinking = tmp_path / "shrinking"
    shrinking.write_bytes(bytes(SIZE))
    app.folder = tmp_path

    async def main() -> None:
        async with serving(app, sendfile=way == "sendfile") as site:
            client = await site.connect(limit=1)
            client.send("GET /shrinking HTTP/1.1\r\nHost: h\r\n\r\n")
            [protocol] = await connections(site)
            await site.until(lambda: not protocol.writable, "wait for the reader")
            os.truncate(shrinking, 5)
            client.reader._limit = 1 << 20
            assert len(await client.ended()) < SIZE
            [error] = app.raised
            assert "ended after" in str(error)
            await site.until(lambda: site.messages() == ["Error handling request /shrinking"], "log")

    run(main())


def test_a_response_of_starlette(run: Any, serving: Any, folder: Path) -> None:
    responses = pytest.importorskip("starlette.responses")
    kinds: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def watched(message: Any) -> None:
            kinds.append(message["type"])
            await send(message)

        await responses.FileResponse(folder / "large", media_type="application/x-mine")(scope, receive, watched)

    async def main() -> None:
        async with serving(app) as site:
            status, fields, body = await (await site.connect()).get("/")
            assert (status, fields["content-type"], len(body)) == (200, "application/x-mine", SIZE)
            assert kinds == ["http.response.start", "http.response.pathsend"]

    run(main())


async def connections(site: Any) -> list[Any]:
    await site.until(lambda: site.server.connections, "connection")
    return list(site.server.connections)


def test_what_is_opened_is_closed(folder: Path) -> None:
    with asyncio_file.opened(str(folder / "small")) as (fd, size):
        assert size == 11
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
