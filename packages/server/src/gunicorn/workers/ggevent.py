"""The ``gevent`` worker: a greenlet per connection, for applications that wait on the network in blocking style.

The standard library is patched in the worker process, right after the fork and before anything else happens there, so
that the application and all that it imports find the cooperative versions. The master is never patched: it forks,
and its loop must not depend on a hub that its children would share.

With ``preload_app`` the application is imported by the master, hence before the patch: names that it has taken out of
modules (``from socket import socket``) stay the blocking ones. A warning says so. Who wants both patches at the top of
``gunicorn.conf.py``: ``from gevent import monkey; monkey.patch_all()``.
"""

from __future__ import annotations

from typing import Any

try:
    import gevent
    from gevent import monkey
except ImportError as error:
    raise ImportError(
        f"the gevent worker needs gevent, which cannot be imported ({error}): "
        'pip install "gunicorn-server[gevent]", or use the worker gthread'
    ) from error

from gunicorn.drivers.greenlet import GreenletDriver, GreenletRunner
from gunicorn.workers.base import Worker


class GeventWorker(Worker):
    """Serves WSGI on greenlets."""

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Called by the master at its start: say what will not work as meant."""
        if cfg.preload_app and not monkey.is_module_patched("socket"):
            log.warning(
                "preload_app imports the application before the gevent worker can patch the standard library; begin"
                " gunicorn.conf.py with 'from gevent import monkey; monkey.patch_all()', or do without preload_app"
            )

    def init_process(self) -> None:
        self.patch()
        super().init_process()

    def patch(self) -> None:
        """Make the standard library cooperative; subclasses extend it for their database drivers."""
        monkey.patch_all()
        gevent.reinit()  # a hub that the master had belongs to the master

    def run(self) -> None:
        driver = GreenletDriver(self, GreenletRunner(self))
        try:
            driver.run()
        finally:
            driver.close()
