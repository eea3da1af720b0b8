"""The WSGI application of the integration tests; conftest.py copies it into the server's directory.

house_asgi.py answers the same paths in the same way.
"""

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

VERSION = "first"  # tests rewrite this line
TASKS = "house_tasks:Tasks"


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path == "/dirty/count":
        return stream(start_response)
    try:
        body = answer(path, environ)
    except Exception as exc:
        status, body = "503 Service Unavailable", f"{type(exc).__name__}: {exc}".encode()
    else:
        status = "200 OK"
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def answer(path: str, environ: dict[str, Any]) -> bytes:
    if path == "/version":
        return VERSION.encode()
    if path == "/echo":
        body: bytes = environ["wsgi.input"].read()
        return body
    if path == "/slow":
        with open("slow.started", "w"):
            pass
        wait_for("slow.release")
        return b"finished"
    if path == "/hang":
        while True:
            time.sleep(0.01)
    if path == "/modules":
        return json.dumps(modules()).encode()
    if path.startswith("/dirty/"):
        from gunicorn.dirty import get_dirty_client

        arguments = [2] if path == "/dirty/add" else []
        return json.dumps(get_dirty_client().execute(TASKS, path.rpartition("/")[2], *arguments)).encode()
    return str(os.getpid()).encode()


def stream(start_response: Any) -> Iterator[bytes]:
    from gunicorn.dirty import get_dirty_client

    start_response("200 OK", [("Content-Type", "text/plain")])
    for number in get_dirty_client().stream(TASKS, "count", 5):
        yield f"{number}\n".encode()


def modules() -> dict[str, Any]:
    """Where the modules that this process has loaded come from."""
    return {
        name: getattr(module, "__file__", None)
        for name, module in sys.modules.items()
        if name.partition(".")[0] in ("gunicorn", "gunicornc", "gunicorn_dirty_protocol")
    }


def wait_for(name: str) -> None:
    deadline = time.monotonic() + 60
    while not os.path.exists(name):
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody made the file {name}")
        time.sleep(0.005)
