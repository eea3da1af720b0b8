"""The studio as a Flask app: `gunicorn --worker-class gthread flask_app:app`. starlette_app.py is its async twin."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, request, send_file
from gunicorn.dirty import get_dirty_client
from gunicorn.dirty.errors import DirtyError
from shared import MAX_UPLOAD, PAGE, PICTURES, STORYTELLER, TOO_LARGE, event, explain, for_browser
from werkzeug.exceptions import RequestEntityTooLarge

app = Flask(__name__, static_folder=PAGE, static_url_path="/page")
app.config["MAX_CONTENT_LENGTH"] = MAX_UPLOAD


@app.get("/")
def index() -> Response:
    return send_file(PAGE / "index.html")


@app.get("/processes")
def processes() -> dict[str, Any]:
    """Who is here: this HTTP worker, and the dirty worker that answers for each app."""
    pool = get_dirty_client()
    return {
        "front": "Flask · gthread",
        "http": os.getpid(),
        "max_upload": MAX_UPLOAD,
        "pictures": pool.execute(PICTURES, "who"),
        "story": pool.execute(STORYTELLER, "who"),
    }


@app.get("/sample.jpg")
def sample() -> Response:
    return Response(get_dirty_client().execute(PICTURES, "sample"), mimetype="image/jpeg")


@app.post("/picture")
def picture() -> tuple[dict[str, Any], int]:
    """The body is the picture's file. It travels to the pool as it is: nobody decodes it in this process."""
    answer = get_dirty_client().execute(PICTURES, "develop", request.get_data())
    if "refused" in answer:
        return {"error": answer["refused"]}, 422
    return {"http": os.getpid(), **for_browser(answer)}, 200


@app.get("/story")
def story() -> Response:
    """A word per event. When the visitor leaves, the server closes `events`, and with it the stream and its action."""
    opening = request.args.get("opening", "").strip()

    def events() -> Iterator[str]:
        try:
            with get_dirty_client().stream(STORYTELLER, "tell", opening) as chunks:
                for chunk in chunks:
                    yield event("refused" if "refused" in chunk else "word", {"http": os.getpid(), **chunk})
            yield event("end", {})
        except DirtyError as error:
            yield event("refused", {"refused": explain(error)[0]})  # the status has long been sent

    return Response(events(), mimetype="text/event-stream", headers={"Cache-Control": "no-store"})


@app.errorhandler(DirtyError)
def pool_trouble(error: DirtyError) -> tuple[dict[str, str], int]:
    app.logger.error("dirty pool: %s", error)
    message, status = explain(error)
    return {"error": message}, status


@app.errorhandler(RequestEntityTooLarge)
def too_large(_error: RequestEntityTooLarge) -> tuple[dict[str, str], int]:
    return {"error": TOO_LARGE}, 413
