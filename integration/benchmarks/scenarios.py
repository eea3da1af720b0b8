"""What http.py asks of the servers: seven scenarios, each a handful of raw HTTP requests and the answer that is right.

The load generators read the requests from a file: a line with the length in bytes, then the request, and so on.
"""

from __future__ import annotations

import http.client
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

VARIANTS = 4096  # different requests of a crowd of browsers
UPLOAD = 4 * 1024 * 1024


@dataclass(frozen=True)
class Scenario:
    """One kind of request.

    :ivar name: for the command line and the files
    :ivar title: for the tables
    :ivar connections: how many keep-alive connections the load uses
    :ivar requests: makes the raw requests
    :ivar length: bytes of the answer's body
    :ivar several: whether there is more than one of them
    """

    name: str
    title: str
    connections: int
    requests: Callable[[], list[bytes]]
    length: int
    several: bool = False

    def write(self, folder: Path) -> Path:
        """Write the requests to a file in `folder`."""
        path = folder / f"{self.name}.requests"
        with path.open("wb") as file:
            for request in self.requests():
                file.write(b"%d\n%b" % (len(request), request))
        return path

    def check(self, host: str, port: int) -> None:
        """Send the first request some times, to warm up. Raises RuntimeError for a wrong answer, and OSError."""
        request = self.requests()[0]
        times = 3 if len(request) > 1024 * 1024 or self.length > 1024 * 1024 else 50
        head, _, body = request.partition(b"\r\n\r\n")
        line, *fields = head.decode().split("\r\n")
        method, target, _ = line.split(" ")
        headers = dict(field.split(": ", 1) for field in fields)
        connection = http.client.HTTPConnection(host, port, timeout=60)
        try:
            for _ in range(times):
                connection.request(method, target, body or None, headers)
                answer = connection.getresponse()
                received = answer.read()
                if answer.status != 200 or len(received) != self.length:
                    raise RuntimeError(f"{self.name}: {answer.status} {received[:200]!r} of {len(received)} bytes")
        except http.client.HTTPException as error:
            raise RuntimeError(f"{self.name}: {error!r}") from error
        finally:
            connection.close()


def simple(method: str, path: str, body: bytes = b"") -> list[bytes]:
    """One request as a small client sends it."""
    fields = f"Host: 127.0.0.1\r\nContent-Length: {len(body)}\r\n" if body else "Host: 127.0.0.1\r\n"
    return [f"{method} {path} HTTP/1.1\r\n{fields}\r\n".encode() + body]


AGENTS = [
    ("Windows NT 10.0; Win64; x64", "Windows"),
    ("Macintosh; Intel Mac OS X 10_15_7", "macOS"),
    ("X11; Linux x86_64", "Linux"),
    ("X11; CrOS x86_64 14541.0.0", "Chrome OS"),
]
LANGUAGES = ["en-US,en;q=0.9", "de-DE,de;q=0.9,en;q=0.8", "fr-FR,fr;q=0.9,en;q=0.8", "ja,en-US;q=0.9,en;q=0.8"]


def browsers(count: int) -> list[bytes]:
    """Navigations in a shop by many people: 14 fields, of which path, Referer and Cookie differ every time."""
    dice = random.Random(14)
    sessions = [f"{dice.getrandbits(128):032x}" for _ in range(VARIANTS // 4)]

    def navigation() -> bytes:
        system, platform = dice.choice(AGENTS)
        agent = f"Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
        cookie = f"session={dice.choice(sessions)}; seen={dice.randrange(10**9)}; theme=dark; _ga=GA1.1.{dice.random()}"
        fields: dict[str, Any] = {
            "Host": "shop.example.com",
            "Sec-Ch-Ua": '"Not/A)Brand";v="8", "Chromium";v="126", "Google Chrome";v="126"',
            "Sec-Ch-Ua-Mobile": "?0",
            "Sec-Ch-Ua-Platform": f'"{platform}"',
            "Upgrade-Insecure-Requests": "1",
            "User-Agent": agent,
            "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
            "Sec-Fetch-Site": "same-origin",
            "Sec-Fetch-Mode": "navigate",
            "Sec-Fetch-Dest": "document",
            "Referer": f"https://shop.example.com/item/{dice.randrange(20_000)}?page={dice.randrange(40)}",
            "Accept-Encoding": "gzip, deflate, br, zstd",
            "Accept-Language": dice.choice(LANGUAGES),
            "Cookie": cookie,
        }
        line = f"GET /item/{dice.randrange(20_000)}?from=search&position={dice.randrange(60)} HTTP/1.1\r\n"
        return (line + "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + "\r\n").encode()

    return [navigation() for _ in range(count)]


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("hello", "13-byte reply", 32, partial(simple, "GET", "/"), 13),
        Scenario("page", "10 KiB reply", 32, partial(simple, "GET", "/page"), 10 * 1024),
        Scenario("echo", "1 KiB POST echo", 32, partial(simple, "POST", "/echo", secrets.token_bytes(1024)), 1024),
        Scenario("reload", "14 headers, one browser", 32, partial(browsers, 1), 13),
        Scenario("browser", "14 headers, a crowd of browsers", 32, partial(browsers, VARIANTS), 13, several=True),
        Scenario("upload", "4 MiB upload", 8, partial(simple, "POST", "/upload", bytes(UPLOAD)), len(str(UPLOAD))),
        Scenario("stream", "100 blocks of 64 KiB streamed", 8, partial(simple, "GET", "/stream"), 100 * 64 * 1024),
    )
}
