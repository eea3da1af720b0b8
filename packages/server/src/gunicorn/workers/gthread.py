"""The ``gthread`` worker: several requests at a time on ``threads`` threads, over one selector driver."""

from __future__ import annotations

from gunicorn.drivers.crew import Crew
from gunicorn.drivers.runner import Runner
from gunicorn.drivers.selector import SelectorDriver
from gunicorn.workers.base import Worker


class ThreadWorker(Worker):
    """Serves WSGI with a crew of threads; the main thread supervises them and receives the signals."""

    def run(self) -> None:
        driver = SelectorDriver(self, Runner(self, multithread=True))
        crew = Crew(driver, self, self.cfg.threads)
        try:
            crew.run()
        finally:
            driver.close()
            crew.close()
