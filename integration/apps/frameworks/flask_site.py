"""Flask's quickstart in one file: uploads, streaming, sessions, server-sent events, files, work after the response.

tests/test_frameworks.py serves it on the WSGI workers. All sites of this folder answer the same requests.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flask import Flask, Response, jsonify, request, send_file, session, stream_with_context

app = Flask(__name__)
app.secret_key = "only a test's"

tick = threading.Semaphore(0)


@app.get("/")
def index() -> str:
    return "flask"


@app.post("/upload")
def upload() -> Response:
    file = request.files["file"]
    data = file.read()
    return jsonify(
        title=request.form["title"], name=file.filename, size=len(data), sha256=hashlib.sha256(data).hexdigest()
    )


@app.get("/stream")
def stream() -> Response:
    count = int(request.args["count"])

    def pieces() -> Iterator[str]:
        for number in range(count):
            yield f"{request.path} {number}\n"

    return Response(stream_with_context(pieces()), mimetype="text/plain")


@app.post("/login")
def login() -> Response:
    session["name"] = request.form["name"]
    return jsonify(name=session["name"])


@app.get("/me")
def me() -> Response:
    return jsonify(name=session.get("name"))


@app.get("/events")
def events() -> Response:
    """Three events; from the second on each waits for a POST to /tick, where the client asks for that."""
    waits = "wait" in request.args

    def each() -> Iterator[str]:
        for number in range(3):
            if number and waits:
                tick.acquire(timeout=30)
            yield f"id: {number}\ndata: {number * number}\n\n"

    return Response(each(), mimetype="text/event-stream")


@app.post("/tick")
def go_on() -> tuple[str, int]:
    tick.release()
    return "", 204


@app.get("/file")
def file() -> Any:
    return send_file(Path("download.bin").absolute(), mimetype="application/octet-stream")


@app.post("/later/<word>")
def later(word: str) -> Response:
    response = jsonify(accepted=word)
    response.call_on_close(lambda: Path(f"later-{word}").write_text("done"))
    return response


@app.get("/later/<word>")
def was_done(word: str) -> Response:
    return jsonify(done=Path(f"later-{word}").exists())
