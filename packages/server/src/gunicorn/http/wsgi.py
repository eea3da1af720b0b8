"""The names under which hooks and embedders know a WSGI response: ``post_request(worker, req, environ, resp)``."""

from gunicorn.wsgi.file import FileWrapper
from gunicorn.wsgi.response import Response

__all__ = ["FileWrapper", "Response"]
