"""Applications that report what they saw of a request, the same from WSGI as from ASGI; for tests/test_corpus.py.

The report is JSON in the header X-Report, since a HEAD request gets no body. Text in it is latin-1: a character for a
byte. Names of fields are those of CGI, the only ones that WSGI has.
"""

import json
from typing import Any
from urllib.parse import unquote_to_bytes


def wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    body = environ["wsgi.input"].read()
    script_name, path = environ["SCRIPT_NAME"], environ["PATH_INFO"]
    if script_name and environ["RAW_URI"].startswith(script_name + "/"):
        path = script_name + path
    fields = {key[5:]: value for key, value in environ.items() if key.startswith("HTTP_")}
    fields |= {key: environ[key] for key in ("CONTENT_TYPE", "CONTENT_LENGTH") if key in environ}
    report = {
        "method": environ["REQUEST_METHOD"],
        "version": environ["SERVER_PROTOCOL"].removeprefix("HTTP/"),
        "path": path,
        "query": environ["QUERY_STRING"],
        "fields": fields,
        "body": body.decode("latin-1"),
        "scheme": environ["wsgi.url_scheme"],
        "script_name": script_name,
    }
    start_response("200 OK", [("X-Report", json.dumps(report)), ("Content-Length", "0")])
    return [b""]


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        more = message["more_body"]
    raw = unquote_to_bytes(scope["raw_path"])
    assert scope["path"] == raw.decode("utf-8", "replace")
    fields: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").upper().replace("-", "_"), value.decode("latin-1")
        glue = "; " if key == "COOKIE" else ","
        fields[key] = fields[key] + glue + text if key in fields else text
    report = {
        "method": scope["method"],
        "version": scope["http_version"],
        "path": raw.decode("latin-1"),
        "query": scope["query_string"].decode("latin-1"),
        "fields": fields,
        "body": body.decode("latin-1"),
        "scheme": scope["scheme"],
        "script_name": scope["root_path"],
    }
    headers = [(b"x-report", json.dumps(report).encode()), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
