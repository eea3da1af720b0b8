"""What the tutorials of the frameworks do, over real servers: each site of apps/frameworks on the workers it is for.

All sites answer the same requests; one server per site and worker serves all tests of it.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import urllib.parse
from collections.abc import Callable, Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any, NamedTuple

import pytest

SITES = Path(__file__).parents[1] / "apps" / "frameworks"
WSGI_WORKERS: dict[str, tuple[str, ...]] = {
    "sync": ("-k", "sync"),
    "gthread": ("-k", "gthread", "--threads", "4"),
    "gevent": ("-k", "gevent"),
}
ASGI_WORKERS: dict[str, tuple[str, ...]] = {"asgi": ("-k", "asgi")}
DOWNLOAD = os.urandom(300_000)


class Kind(NamedTuple):
    name: str
    app: str
    workers: dict[str, tuple[str, ...]]
    background: bool = True  # whether it has a way to work on after the response


KINDS = [
    Kind("flask", "flask_site:app", WSGI_WORKERS),
    Kind("django", "django_site:wsgi", WSGI_WORKERS, background=False),
    Kind("django", "django_site:asgi", ASGI_WORKERS, background=False),
    Kind("starlette", "starlette_site:app", ASGI_WORKERS),
    Kind("fastapi", "fastapi_site:app", ASGI_WORKERS),
    Kind("litestar", "litestar_site:app", ASGI_WORKERS),
    Kind("quart", "quart_site:app", ASGI_WORKERS),
]
PLACES = [
    pytest.param((kind, worker), id=f"{kind.app.replace(':', '-')}-{worker}")
    for kind in KINDS
    for worker in kind.workers
]


class Browser:
    """A client that keeps its connection and its cookies, and speaks multipart."""

    def __init__(self, server: Any) -> None:
        self.connection: http.client.HTTPConnection = server.connect()
        self.cookies: SimpleCookie = SimpleCookie()

    def open(
        self, path: str, method: str = "GET", body: bytes | None = None, kind: str = ""
    ) -> http.client.HTTPResponse:
        """Send a request; the head of its response."""
        headers = {"Content-Type": kind} if kind else {}
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={morsel.value}" for name, morsel in self.cookies.items())
        if "csrftoken" in self.cookies:  # Django's
            headers["X-CSRFToken"] = self.cookies["csrftoken"].value
        self.connection.request(method, path, body, headers)
        response = self.connection.getresponse()
        for value in response.headers.get_all("Set-Cookie") or ():
            self.cookies.load(value)
        return response

    def get(self, path: str) -> bytes:
        response = self.open(path)
        body = response.read()
        assert response.status == 200, (response.status, body)
        return body

    def json(self, path: str) -> Any:
        return json.loads(self.get(path))

    def post(self, path: str, body: bytes = b"", kind: str = "application/x-www-form-urlencoded") -> Any:
        response = self.open(path, "POST", body, kind)
        text = response.read()
        assert response.status in (200, 204), (response.status, text)
        return json.loads(text) if text else None

    def upload(self, title: str, name: str, data: bytes) -> Any:
        boundary = "a-boundary-that-is-in-no-file"
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="title"\r\n\r\n{title}\r\n'.encode(),
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'.encode(),
            b"Content-Type: application/octet-stream\r\n\r\n" + data + f"\r\n--{boundary}--\r\n".encode(),
        ]
        return self.post("/upload", b"".join(parts), f"multipart/form-data; boundary={boundary}")


class Site(NamedTuple):
    kind: Kind
    worker: str
    server: Any


@pytest.fixture(scope="module", params=PLACES)
def site(request: pytest.FixtureRequest, serve_module: Callable[..., Any]) -> Iterator[Site]:
    kind, worker = request.param
    # The warnings that Python shows by default: what a framework deprecates in itself is not ours.
    server = serve_module(*kind.workers[worker], "--pythonpath", str(SITES), kind.app, PYTHONWARNINGS="")
    (server.directory / "download.bin").write_bytes(DOWNLOAD)
    server.ready()
    yield Site(kind, worker, server)
    server.finish()


@pytest.fixture
def browser(site: Site) -> Iterator[Browser]:
    found = Browser(site.server)
    found.get("/")
    yield found
    found.connection.close()


def events_of(body: bytes) -> list[tuple[str, str]]:
    """(id, data) of each server-sent event (WHATWG HTML, 9.2.6)."""
    found = []
    for block in body.decode().replace("\r\n", "\n").strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        found.append((fields["id"], fields["data"]))
    return found


def test_the_site_is_there(site: Site, browser: Browser) -> None:
    assert browser.get("/").decode() == site.kind.name
    response = browser.open("/no/such/page")
    response.read()
    assert response.status == 404


@pytest.mark.parametrize("size", [0, 10_000, 3_000_000])
def test_uploads(browser: Browser, size: int) -> None:
    data = os.urandom(size)
    found = browser.upload("a title \u00e9", "some file.bin", data)
    expected = {"title": "a title \u00e9", "name": "some file.bin", "size": size}
    assert found == {**expected, "sha256": hashlib.sha256(data).hexdigest()}


def test_streaming(browser: Browser) -> None:
    response = browser.open("/stream?count=500")
    assert response.getheader("Transfer-Encoding") == "chunked"
    assert response.read().decode() == "".join(f"/stream {number}\n" for number in range(500))
    assert browser.get("/stream?count=1") == b"/stream 0\n"  # on the same connection


def test_sessions(site: Site, browser: Browser) -> None:
    assert browser.json("/me") == {"name": None}
    assert browser.post("/login", urllib.parse.urlencode({"name": "Ann & Bob"}).encode()) == {"name": "Ann & Bob"}
    assert browser.json("/me") == {"name": "Ann & Bob"}
    stranger = Browser(site.server)
    assert stranger.json("/me") == {"name": None}
    stranger.connection.close()


def test_server_sent_events(site: Site, browser: Browser) -> None:
    response = browser.open("/events")
    assert (response.getheader("Content-Type") or "").startswith("text/event-stream")
    assert events_of(response.read()) == [("0", "0"), ("1", "1"), ("2", "4")]


def test_each_event_arrives_when_it_is_sent(site: Site, browser: Browser) -> None:
    """The second event is sent after the client has got the first one and has said so, on another connection."""
    if site.worker == "sync":
        pytest.skip("one request at a time: nobody could say so")
    other = Browser(site.server)
    response = browser.open("/events?wait=1")
    for number in range(3):
        if number:
            other.post("/tick")
        block = b""
        while not block.replace(b"\r\n", b"\n").endswith(b"\n\n"):
            block += response.readline()
        assert events_of(block) == [(str(number), str(number * number))]
    assert response.read().strip() == b""
    other.connection.close()


def test_files(browser: Browser) -> None:
    response = browser.open("/file")
    assert response.getheader("Content-Type") == "application/octet-stream"
    assert response.read() == DOWNLOAD
    head = browser.open("/file", "HEAD")
    assert head.read() == b""
    assert head.status in (200, 405)  # Litestar has no HEAD unless a handler says so
    assert browser.get("/file") == DOWNLOAD


def test_work_after_the_response(site: Site, browser: Browser, eventually: Callable[..., Any]) -> None:
    if not site.kind.background:
        pytest.skip("Django has none without a broker")
    assert browser.json("/later/word") == {"done": False}
    assert browser.post("/later/word") == {"accepted": "word"}
    eventually(lambda: browser.json("/later/word")["done"], "the work after the response")
    (site.server.directory / "later-word").unlink()
