"""Quart's tutorials in one file: uploads, streamed bodies, sessions, server-sent events, background tasks.

tests/test_frameworks.py serves it on the asgi worker. See flask_site.py.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from quart import Quart, Response, jsonify, make_response, request, send_file, session

app = Quart(__name__)
app.secret_key = "only a test's"

tick = asyncio.Semaphore(0)
DOWNLOAD = Path("download.bin").absolute()


@app.get("/")
async def index() -> str:
    return "quart"


@app.post("/upload")
async def upload() -> Any:
    file = (await request.files)["file"]
    data = file.read()
    form = await request.form
    return jsonify(title=form["title"], name=file.filename, size=len(data), sha256=hashlib.sha256(data).hexdigest())


@app.get("/stream")
async def stream() -> Any:
    count, path = int(request.args["count"]), request.path

    async def pieces() -> AsyncIterator[str]:
        for number in range(count):
            yield f"{path} {number}\n"

    return pieces(), 200, {"Content-Type": "text/plain"}


@app.post("/login")
async def login() -> Any:
    session["name"] = (await request.form)["name"]
    return jsonify(name=session["name"])


@app.get("/me")
async def me() -> Any:
    return jsonify(name=session.get("name"))


@app.get("/events")
async def events() -> Any:
    waits = "wait" in request.args

    async def each() -> AsyncIterator[bytes]:
        for number in range(3):
            if number and waits:
                await tick.acquire()
            yield f"id: {number}\ndata: {number * number}\n\n".encode()

    response = await make_response(each(), {"Content-Type": "text/event-stream"})
    assert isinstance(response, Response)
    response.timeout = None
    return response


@app.post("/tick")
async def go_on() -> tuple[str, int]:
    tick.release()
    return "", 204


@app.get("/file")
async def file() -> Any:
    return await send_file(DOWNLOAD, mimetype="application/octet-stream")


def finish(word: str) -> None:
    Path(f"later-{word}").write_text("done")


@app.post("/later/<word>")
async def later(word: str) -> Any:
    app.add_background_task(finish, word)
    return jsonify(accepted=word)


@app.get("/later/<word>")
def was_done(word: str) -> Any:  # runs in a thread
    return jsonify(done=Path(f"later-{word}").exists())
