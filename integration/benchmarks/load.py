"""HTTP load on one URL from keep-alive connections: by wrk where it is installed, else by a small epoll client of ours.

Called by harness.py in a process of its own, so that it can be pinned to other cores than the server:
`python load.py HOST PORT CONNECTIONS SECONDS` prints `{"requests": …, "seconds": …, "errors": …, "tool": …}`.
The epoll client does some 20,000 to 40,000 requests/s: with it, fast servers wait for the client, so read the CPU time
per request instead of requests/s.
"""

from __future__ import annotations

import json
import re
import select
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field

CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def wrk(host: str, port: int, connections: int, seconds: float) -> dict[str, float | str]:
    """Drive with wrk. Raises RuntimeError when it says nothing that can be read."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", f"http://{host}:{port}/"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m)", output)
    if found is None:
        raise RuntimeError(f"wrk's output is not understood: {output}")
    unit = {"ms": 0.001, "s": 1.0, "m": 60.0}[found[3]]
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    errors = int(wrong[1]) if wrong else 0
    return {"requests": int(found[1]) - errors, "seconds": float(found[2]) * unit, "errors": errors, "tool": "wrk"}


@dataclass
class Client:
    """One connection with one request at a time in flight."""

    sock: socket.socket
    buffer: bytes = b""
    need: int = 0  # bytes of the answer, once its head is known
    closes: bool = field(default=False)


def epoll(host: str, port: int, connections: int, seconds: float) -> dict[str, float | str]:
    """Drive with an epoll loop; a connection that the server closes after its answer is opened anew."""
    request = f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()
    poller = select.epoll()
    clients: dict[int, Client] = {}
    done = errors = 0

    def connect() -> None:
        sock = socket.create_connection((host, port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        clients[sock.fileno()] = Client(sock)
        poller.register(sock.fileno(), select.EPOLLIN)
        sock.sendall(request)

    def disconnect(client: Client) -> None:
        del clients[client.sock.fileno()]
        poller.unregister(client.sock.fileno())
        client.sock.close()

    for _ in range(connections):
        connect()
    began = time.perf_counter()
    end = began + seconds
    while time.perf_counter() < end:
        for fd, _ in poller.poll(1.0):
            client = clients[fd]
            try:
                data = client.sock.recv(65536)
            except ConnectionError:
                data = b""
            if not data:
                errors += 1
                disconnect(client)
                connect()
                continue
            client.buffer += data
            if not client.need:
                read_head(client)
            if client.need and len(client.buffer) >= client.need:
                good = client.buffer.startswith(b"HTTP/1.1 200")
                done, errors = done + good, errors + (not good)
                client.buffer, client.need = b"", 0
                if client.closes:
                    disconnect(client)
                    connect()
                else:
                    client.sock.sendall(request)
    took = time.perf_counter() - began
    for client in list(clients.values()):
        disconnect(client)
    poller.close()
    return {"requests": done, "seconds": took, "errors": errors, "tool": "epoll"}


def read_head(client: Client) -> None:
    """Learn from the head of an answer, once it is whole, where the answer ends. Answers have a Content-Length here."""
    head, separator, _ = client.buffer.partition(b"\r\n\r\n")
    if separator:
        length = CONTENT_LENGTH.search(head)
        if length is None:
            raise RuntimeError(f"an answer without Content-Length: {head!r}")
        client.need = len(head) + 4 + int(length[1])
        client.closes = b"\r\nconnection: close" in head.lower()


if __name__ == "__main__":
    host, port, connections, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    drive = wrk if shutil.which("wrk") else epoll
    print(json.dumps(drive(host, port, connections, seconds)))
