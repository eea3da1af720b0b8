"""The ``gevent`` worker: a greenlet per connection, for applications that wait on the network in blocking style.

The standard library is patched in the worker process, right after the fork and before anything else happens there, so
that the application and all that it imports find the cooperative versions. The master is never patched: it forks,
and its loop must not depend on a hub that its children would share.

What was imported earlier, by a configuration file or, with ``preload_app``, by the application, may have taken names
out of modules (``from ssl import SSLContext``): those stay the blocking ones, and some fail when both kinds meet. The
master warns, and names them. Who wants such imports puts the patch before them, at the top of ``gunicorn.conf.py``:
``from gevent import monkey; monkey.patch_all()``.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

try:
    import gevent
    from gevent import monkey
except ImportError as error:
    raise ImportError(
        f"the gevent worker needs gevent, which cannot be imported ({error}): "
        'pip install "gunicorn-server[gevent]", or use the worker gthread'
    ) from error

from gunicorn.drivers.greenlet import GreenletDriver
from gunicorn.drivers.runner import GreenletRunner
from gunicorn.workers.base import Worker

REMEDY: Final = "begin gunicorn.conf.py with 'from gevent import monkey; monkey.patch_all()'"

# Names that modules like to take out of others, and that block, or break, when they were taken before the patch.
TAKEN: Final = {
    "select": ("poll", "select"),
    "socket": ("create_connection", "getaddrinfo", "socket"),
    "ssl": ("SSLContext", "SSLSocket", "create_default_context"),
    "threading": ("Condition", "Event", "Lock", "RLock", "Semaphore", "Thread", "local"),
    "time": ("sleep",),
}


def unpatched_names() -> list[str]:
    """``module.name`` of everything that modules, but for Python's own and ours, have of the standard library's
    blocking functions and classes.
    """
    blocking: dict[int, object] = {}
    for source, names in TAKEN.items():
        if source in sys.modules and not monkey.is_module_patched(source):
            values = [getattr(sys.modules[source], name, None) for name in names]
            blocking |= {id(value): value for value in values if value is not None}
    own = sys.stdlib_module_names | {"__mp_main__", "gevent", "gunicorn"}
    found = []
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] not in own:
            found += [f"{name}.{attribute}" for attribute, value in vars(module).items() if id(value) in blocking]
    return sorted(found)


class GeventWorker(Worker):
    """Serves WSGI on greenlets."""

    _quit: Callable[[], Any] | None = None  # makes the driver end at once, while it runs; for a signal handler

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Called by the master at its start: say what will not work as meant."""
        if cfg.preload_app and not monkey.is_module_patched("socket"):
            log.warning(
                "preload_app imports the application before the gevent worker can patch the standard library; %s, or do"
                " without preload_app",
                REMEDY,
            )
        names = unpatched_names()
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            log.warning(
                "Imported before the gevent worker can patch the standard library, so they will block all requests of a"
                " worker, or fail: %s%s; %s",
                ", ".join(names[:5]),
                more,
                REMEDY,
            )

    def init_process(self) -> None:
        self.patch()
        gevent.get_hub()  # imports a lot, which the user that the worker is about to become may not be allowed to read
        super().init_process()

    def patch(self) -> None:
        """Make the standard library cooperative; subclasses extend it for their database drivers."""
        with warnings.catch_warnings():
            # That ssl was imported; check_config() has said what of it matters.
            warnings.simplefilter("ignore", monkey.MonkeyPatchWarning)
            monkey.patch_all()
        gevent.reinit()  # a hub that the master had belongs to the master

    def run(self) -> None:
        driver = GreenletDriver(self, GreenletRunner(self))
        self._quit = driver.quit
        try:
            driver.run()
        finally:
            self._quit = None
            self.quit_heard()
            driver.close()

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """INT or QUIT: end now, through the hub if the driver runs."""
        if self._quit is None:
            super().handle_quit(sig, frame)
        else:
            self.quit_through(self._quit)
