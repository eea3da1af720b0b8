"""What both web front-ends share: names, limits, and how the pool's answers look to the browser.

Nothing here knows Flask or Starlette, and nothing computes: an HTTP worker only hands work over and passes answers on.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from gunicorn.dirty.errors import (
    DirtyConnectionError,
    DirtyError,
    DirtyNoWorkersAvailableError,
    DirtyOverloadedError,
    DirtyTimeoutError,
)

PICTURES = "heavy:Pictures"
STORYTELLER = "heavy:Storyteller"
PAGE = Path(__file__).parent / "page"
MAX_UPLOAD = 16 * 1024 * 1024  # bytes
TOO_LARGE = f"This file is larger than {MAX_UPLOAD // 1024 // 1024} MB, the most that is taken here."


def for_browser(developed: dict[str, Any]) -> dict[str, Any]:
    """The answer of Pictures.develop as JSON can carry it: pictures become data: URLs."""
    for size in developed["sizes"]:
        jpeg: bytes = size.pop("jpeg")
        size["bytes"] = len(jpeg)
        size["url"] = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
    return developed


def event(kind: str, data: dict[str, Any]) -> str:
    """One server-sent event (HTML Standard, 9.2.6), for EventSource in the page."""
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"


def explain(error: DirtyError) -> tuple[str, int]:
    """A message for the visitor and the HTTP status that fits."""
    if isinstance(error, DirtyConnectionError):
        return "The dirty pool cannot be reached. Is it running? The server's log tells.", 503
    if isinstance(error, DirtyOverloadedError):
        return "Too many others are waiting for this. Please try again in a moment.", 503
    if isinstance(error, DirtyNoWorkersAvailableError):
        return "No dirty worker can do this: the app did not load. The server's log tells why.", 503
    if isinstance(error, DirtyTimeoutError):
        return "The dirty pool took too long for this and gave up.", 504
    return f"The dirty pool could not do this: {error}", 500
