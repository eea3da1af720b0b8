"""The studio as a Starlette app: `gunicorn --worker-class asgi starlette_app:app`. flask_app.py is its sync twin."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator

from gunicorn.dirty import get_dirty_client_async
from gunicorn.dirty.errors import DirtyError
from shared import MAX_UPLOAD, PAGE, PICTURES, STORYTELLER, TOO_LARGE, event, explain, for_browser
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles


async def index(_request: Request) -> Response:
    return FileResponse(PAGE / "index.html")


async def processes(_request: Request) -> Response:
    """Who is here: this HTTP worker, and the dirty worker that answers for each app."""
    pool = await get_dirty_client_async()
    return JSONResponse(
        {
            "front": "Starlette · asgi",
            "http": os.getpid(),
            "max_upload": MAX_UPLOAD,
            "pictures": await pool.execute_async(PICTURES, "who"),
            "story": await pool.execute_async(STORYTELLER, "who"),
        }
    )


async def sample(_request: Request) -> Response:
    pool = await get_dirty_client_async()
    return Response(await pool.execute_async(PICTURES, "sample"), media_type="image/jpeg")


async def picture(request: Request) -> Response:
    """The body is the picture's file. It travels to the pool as it is: nobody decodes it in this process."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_UPLOAD:
            return JSONResponse({"error": TOO_LARGE}, 413)
    pool = await get_dirty_client_async()
    answer = await pool.execute_async(PICTURES, "develop", bytes(body))
    if "refused" in answer:
        return JSONResponse({"error": answer["refused"]}, 422)
    return JSONResponse({"http": os.getpid(), **for_browser(answer)})


async def story(request: Request) -> Response:
    """A word per event. When the visitor leaves, `events` is cancelled, and with it the stream and its action."""
    opening = request.query_params.get("opening", "").strip()

    async def events() -> AsyncIterator[str]:
        try:
            pool = await get_dirty_client_async()
            async for chunk in pool.stream_async(STORYTELLER, "tell", opening):
                yield event("refused" if "refused" in chunk else "word", {"http": os.getpid(), **chunk})
            yield event("end", {})
        except DirtyError as error:
            yield event("refused", {"refused": explain(error)[0]})  # the status has long been sent

    return StreamingResponse(events(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def pool_trouble(_request: Request, error: Exception) -> Response:
    assert isinstance(error, DirtyError)
    logging.getLogger(__name__).error("dirty pool: %s", error)
    message, status = explain(error)
    return JSONResponse({"error": message}, status)


app = Starlette(
    routes=[
        Route("/", index),
        Route("/processes", processes),
        Route("/sample.jpg", sample),
        Route("/picture", picture, methods=["POST"]),
        Route("/story", story),
        Mount("/page", StaticFiles(directory=PAGE)),
    ],
    exception_handlers={DirtyError: pool_trouble},
)
