"""Litestar's documentation in one file: data by annotations, client-side sessions, streams, SSE, background tasks.

tests/test_frameworks.py serves it on the asgi worker. See flask_site.py.
"""

# No postponed annotations: Litestar reads those of the handlers when they are made.
import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from litestar import Litestar, MediaType, Request, Response, get, post
from litestar.background_tasks import BackgroundTask
from litestar.datastructures import UploadFile
from litestar.enums import RequestEncodingType
from litestar.middleware.session.server_side import ServerSideSessionConfig
from litestar.params import Body
from litestar.response import File, ServerSentEvent, ServerSentEventMessage, Stream

tick = asyncio.Semaphore(0)


@dataclass
class Upload:
    title: str
    file: UploadFile


@dataclass
class Login:
    name: str


@get("/", media_type=MediaType.TEXT)
async def index() -> str:
    return "litestar"


@post("/upload", status_code=200)
async def upload(data: Annotated[Upload, Body(media_type=RequestEncodingType.MULTI_PART)]) -> dict[str, Any]:
    content = await data.file.read()
    return {
        "title": data.title,
        "name": data.file.filename,
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


@get("/stream")
async def stream(request: Request[Any, Any, Any], count: int) -> Stream:
    async def pieces() -> AsyncIterator[str]:
        for number in range(count):
            yield f"{request.url.path} {number}\n"

    return Stream(pieces(), media_type="text/plain")


@post("/login", status_code=200)
async def login(
    request: Request[Any, Any, Any], data: Annotated[Login, Body(media_type=RequestEncodingType.URL_ENCODED)]
) -> dict[str, str]:
    request.set_session({"name": data.name})
    return {"name": data.name}


@get("/me")
async def me(request: Request[Any, Any, Any]) -> dict[str, Any]:
    return {"name": (request.session or {}).get("name")}


@get("/events")
async def events(wait: bool = False) -> ServerSentEvent:
    async def each() -> AsyncIterator[ServerSentEventMessage]:
        for number in range(3):
            if number and wait:
                await tick.acquire()
            yield ServerSentEventMessage(id=number, data=str(number * number), sep="\n")

    return ServerSentEvent(each())


@post("/tick", status_code=204)
async def go_on() -> None:
    tick.release()


@get("/file")
async def file() -> File:
    return File(path=Path("download.bin"), media_type="application/octet-stream")


def finish(word: str) -> None:
    Path(f"later-{word}").write_text("done")


@post("/later/{word:str}", status_code=200)
async def later(word: str) -> Response[dict[str, str]]:
    return Response({"accepted": word}, background=BackgroundTask(finish, word))


@get("/later/{word:str}", sync_to_thread=True)
def was_done(word: str) -> dict[str, bool]:
    return {"done": Path(f"later-{word}").exists()}


app = Litestar(
    route_handlers=[index, upload, stream, login, me, events, go_on, file, later, was_done],
    middleware=[ServerSideSessionConfig().middleware],
)
