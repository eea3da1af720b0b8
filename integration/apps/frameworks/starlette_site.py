"""Starlette's documentation in one file: forms, sessions, streams, files, background tasks, lifespan state.

tests/test_frameworks.py serves it on the asgi worker. See flask_site.py.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypedDict

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.datastructures import UploadFile
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route


class State(TypedDict):
    tick: asyncio.Semaphore
    name: str


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[State]:
    yield {"tick": asyncio.Semaphore(0), "name": "starlette"}


async def index(request: Request) -> Response:
    return PlainTextResponse(request.state.name)


async def upload(request: Request) -> Response:
    async with request.form() as form:
        file = form["file"]
        assert isinstance(file, UploadFile)
        data = await file.read()
        return JSONResponse(
            {
                "title": form["title"],
                "name": file.filename,
                "size": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
            }
        )


async def stream(request: Request) -> Response:
    async def pieces() -> AsyncIterator[str]:
        for number in range(int(request.query_params["count"])):
            yield f"{request.url.path} {number}\n"

    return StreamingResponse(pieces(), media_type="text/plain")


async def login(request: Request) -> Response:
    async with request.form() as form:
        request.session["name"] = form["name"]
    return JSONResponse({"name": request.session["name"]})


async def me(request: Request) -> Response:
    return JSONResponse({"name": request.session.get("name")})


async def events(request: Request) -> Response:
    waits = "wait" in request.query_params

    async def each() -> AsyncIterator[str]:
        for number in range(3):
            if number and waits:
                await request.state.tick.acquire()
            yield f"id: {number}\ndata: {number * number}\n\n"

    return StreamingResponse(each(), media_type="text/event-stream")


async def go_on(request: Request) -> Response:
    request.state.tick.release()
    return Response(status_code=204)


async def file(request: Request) -> Response:
    return FileResponse("download.bin")


def finish(word: str) -> None:
    Path(f"later-{word}").write_text("done")


async def later(request: Request) -> Response:
    word = request.path_params["word"]
    return JSONResponse({"accepted": word}, background=BackgroundTask(finish, word))


def was_done(request: Request) -> Response:
    return JSONResponse({"done": Path(f"later-{request.path_params['word']}").exists()})


app = Starlette(
    routes=[
        Route("/", index),
        Route("/upload", upload, methods=["POST"]),
        Route("/stream", stream),
        Route("/login", login, methods=["POST"]),
        Route("/me", me),
        Route("/events", events),
        Route("/tick", go_on, methods=["POST"]),
        Route("/file", file),
        Route("/later/{word}", later, methods=["POST"]),
        Route("/later/{word}", was_done),
    ],
    middleware=[Middleware(SessionMiddleware, secret_key="only a test's")],
    lifespan=lifespan,
)
