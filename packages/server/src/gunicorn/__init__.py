"""Gunicorn: a pre-forking WSGI and ASGI application server.

The name ``gunicorn`` is shared: the distributions ``gunicorn-dirty`` and ``gunicorn-control`` install the portions
``gunicorn.dirty`` and ``gunicorn.control``, which also import without this package. Hence the ``extend_path`` line.
"""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)

__version__ = "0.1.0"
version_info = tuple(int(part) for part in __version__.split("."))

SERVER = "gunicorn"
SERVER_SOFTWARE = f"{SERVER}/{__version__}"
