"""FastAPI's tutorial in one file: typed parameters, forms and files, dependencies, background tasks, streams.

tests/test_frameworks.py serves it on the asgi worker. See flask_site.py.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import BackgroundTasks, Depends, FastAPI, Form, Request, UploadFile
from fastapi.responses import FileResponse, PlainTextResponse, StreamingResponse
from starlette.middleware.sessions import SessionMiddleware

app = FastAPI()
app.add_middleware(SessionMiddleware, secret_key="only a test's")

tick = asyncio.Semaphore(0)


def session_of(request: Request) -> Iterator[dict[str, Any]]:
    yield request.session


Session = Annotated[dict[str, Any], Depends(session_of)]


@app.get("/", response_class=PlainTextResponse)
def index() -> str:
    return "fastapi"


@app.post("/upload")
async def upload(title: Annotated[str, Form()], file: UploadFile) -> dict[str, Any]:
    data = await file.read()
    return {"title": title, "name": file.filename, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


@app.get("/stream")
async def stream(request: Request, count: int) -> StreamingResponse:
    def pieces() -> Iterator[str]:  # runs in FastAPI's thread pool
        for number in range(count):
            yield f"{request.url.path} {number}\n"

    return StreamingResponse(pieces(), media_type="text/plain")


@app.post("/login")
async def login(name: Annotated[str, Form()], session: Session) -> dict[str, str]:
    session["name"] = name
    return {"name": name}


@app.get("/me")
async def me(session: Session) -> dict[str, Any]:
    return {"name": session.get("name")}


@app.get("/events")
async def events(wait: bool = False) -> StreamingResponse:
    async def each() -> AsyncIterator[str]:
        for number in range(3):
            if number and wait:
                await tick.acquire()
            yield f"id: {number}\ndata: {number * number}\n\n"

    return StreamingResponse(each(), media_type="text/event-stream")


@app.post("/tick", status_code=204)
async def go_on() -> None:
    tick.release()


@app.get("/file")
async def file() -> FileResponse:
    return FileResponse("download.bin")


def finish(word: str) -> None:
    Path(f"later-{word}").write_text("done")


@app.post("/later/{word}")
async def later(word: str, tasks: BackgroundTasks) -> dict[str, str]:
    tasks.add_task(finish, word)
    return {"accepted": word}


@app.get("/later/{word}")
def was_done(word: str) -> dict[str, bool]:
    return {"done": Path(f"later-{word}").exists()}
