"""The name under which hooks and type annotations know a request: ``pre_request(worker, req: Request)``."""

from gunicorn.http.events import Request

__all__ = ["Request"]
