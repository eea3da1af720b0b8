"""The ASGI application of the integration tests; conftest.py copies it into the server's directory.

house_wsgi.py answers the same paths in the same way.
"""

import asyncio
import json
import os
import sys
import time
from typing import Any

VERSION = "first"  # tests rewrite this line
TASKS = "house_tasks:Tasks"


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        return await live(receive, send)
    if scope["path"] == "/dirty/count":
        return await stream(send)
    try:
        body = await answer(scope["path"], receive)
    except Exception as exc:
        status, body = 503, f"{type(exc).__name__}: {exc}".encode()
    else:
        status = 200
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
    return None


async def live(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    if "gunicorn.dirty.client" in sys.modules:
        from gunicorn.dirty import get_dirty_client_async

        await (await get_dirty_client_async()).close_async()
    await send({"type": "lifespan.shutdown.complete"})


async def answer(path: str, receive: Any) -> bytes:
    if path == "/version":
        return VERSION.encode()
    if path == "/echo":
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message.get("more_body", False)
        return body
    if path == "/slow":
        with open("slow.started", "w"):  # noqa: ASYNC230 - a test's mark, made at once
            pass
        await wait_for("slow.release")
        return b"finished"
    if path == "/hang":
        while True:
            time.sleep(0.01)  # noqa: ASYNC251 - it blocks the loop: that is the fault
    if path == "/modules":
        return json.dumps(modules()).encode()
    if path.startswith("/dirty/"):
        from gunicorn.dirty import get_dirty_client_async

        client = await get_dirty_client_async()
        arguments = [2] if path == "/dirty/add" else []
        return json.dumps(await client.execute_async(TASKS, path.rpartition("/")[2], *arguments)).encode()
    return str(os.getpid()).encode()


async def stream(send: Any) -> None:
    from gunicorn.dirty import get_dirty_client_async

    client = await get_dirty_client_async()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    async for number in client.stream_async(TASKS, "count", 5):
        await send({"type": "http.response.body", "body": b"%d\n" % number, "more_body": True})
    await send({"type": "http.response.body"})


def modules() -> dict[str, Any]:
    """Where the modules that this process has loaded come from."""
    return {
        name: getattr(module, "__file__", None)
        for name, module in sys.modules.items()
        if name.partition(".")[0] in ("gunicorn", "gunicornc", "gunicorn_dirty_protocol")
    }


async def wait_for(name: str) -> None:
    deadline = time.monotonic() + 60
    while not os.path.exists(name):  # noqa: ASYNC240 - the same
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody made the file {name}")
        await asyncio.sleep(0.005)
