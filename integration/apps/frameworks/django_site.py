"""A Django project in one file, with sessions and CSRF protection, as a WSGI and as an ASGI application.

tests/test_frameworks.py serves `wsgi` on the WSGI workers and `asgi` on the asgi worker. See flask_site.py.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.handlers.asgi import ASGIRequest
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.template import engines
from django.urls import path
from django.views.decorators.csrf import csrf_exempt, ensure_csrf_cookie
from django.views.decorators.http import require_GET, require_POST

settings.configure(
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="only a test's",
    ROOT_URLCONF=__name__,
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
    ],
    INSTALLED_APPS=["django.contrib.sessions"],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
    FILE_UPLOAD_MAX_MEMORY_SIZE=65536,
    USE_TZ=True,
)
django.setup()

tick = threading.Semaphore(0)


@ensure_csrf_cookie
def index(request: Any) -> HttpResponse:
    template = engines["django"].from_string("{{ name|lower }}")
    return HttpResponse(template.render({"name": "DJANGO"}, request))


@require_POST
def upload(request: Any) -> HttpResponse:
    file = request.FILES["file"]
    digest = hashlib.sha256()
    for chunk in file.chunks():
        digest.update(chunk)
    return JsonResponse(
        {"title": request.POST["title"], "name": file.name, "size": file.size, "sha256": digest.hexdigest()}
    )


def _answer(request: Any, parts: Iterator[str], kind: str) -> HttpResponse:
    """A streamed response; under ASGI Django wants an asynchronous iterator."""

    async def asynchronous() -> AsyncIterator[str]:
        while True:
            part = await asyncio.to_thread(next, parts, None)
            if part is None:
                return
            yield part

    content = asynchronous() if isinstance(request, ASGIRequest) else parts
    return StreamingHttpResponse(content, content_type=kind)


@require_GET
def stream(request: Any) -> HttpResponse:
    count = int(request.GET["count"])
    return _answer(request, (f"{request.path} {number}\n" for number in range(count)), "text/plain")


def login(request: Any) -> HttpResponse:
    request.session["name"] = request.POST["name"]
    return JsonResponse({"name": request.session["name"]})


def me(request: Any) -> HttpResponse:
    return JsonResponse({"name": request.session.get("name")})


def events(request: Any) -> HttpResponse:
    waits = "wait" in request.GET

    def each() -> Iterator[str]:
        for number in range(3):
            if number and waits:
                tick.acquire(timeout=30)
            yield f"id: {number}\ndata: {number * number}\n\n"

    return _answer(request, each(), "text/event-stream")


@csrf_exempt
def go_on(request: Any) -> HttpResponse:
    tick.release()
    return HttpResponse(status=204)


def file(request: Any) -> HttpResponse:
    opened = Path("download.bin").open("rb")  # noqa: SIM115 - the response closes it
    if not isinstance(request, ASGIRequest):
        return FileResponse(opened)
    return _answer_bytes(opened)


def _answer_bytes(opened: Any) -> HttpResponse:
    async def blocks() -> AsyncIterator[bytes]:
        with opened:
            while block := await asyncio.to_thread(opened.read, 65536):
                yield block

    return StreamingHttpResponse(blocks(), content_type="application/octet-stream")


urlpatterns = [
    path("", index),
    path("upload", upload),
    path("stream", stream),
    path("login", login),
    path("me", me),
    path("events", events),
    path("tick", go_on),
    path("file", file),
]

wsgi = get_wsgi_application()
asgi = get_asgi_application()
