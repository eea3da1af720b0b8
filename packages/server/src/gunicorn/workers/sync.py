"""The ``sync`` worker: one request at a time, killed by the master when one takes longer than ``timeout``.

Reading never blocks it: slow clients and idle keep-alive connections wait in the selector driver.
"""

from __future__ import annotations

from gunicorn.drivers.runner import Runner
from gunicorn.drivers.selector import SelectorDriver
from gunicorn.workers.base import Worker


class SyncWorker(Worker):
    """Serves WSGI with the main thread alone."""

    def run(self) -> None:
        driver = SelectorDriver(self, Runner(self, multithread=False))
        driver.on_wakeup(self.wakeup_fd, self.drain_wakeup)
        if self.parent_fd >= 0:
            driver.on_wakeup(self.parent_fd, driver.drain)
        try:
            driver.run()
        finally:
            driver.close()
