"""A dirty app for the integration tests; conftest.py copies it into the server's directory."""

import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from gunicorn.dirty import DirtyApp


class Tasks(DirtyApp):
    """Says which processes did the work, and waits on demand for files that the test makes."""

    def init(self) -> None:
        self.base = 40

    def add(self, number: int) -> dict[str, int]:
        return {"result": self.base + number, "pid": os.getpid(), "parent": os.getppid()}

    def count(self, number: int) -> Iterator[int]:
        """The first number at once, the others when the test allows it."""
        yield 0
        wait_for("count.release")
        yield from range(1, number)

    def wait(self) -> str:
        with open("wait.started", "w"):
            pass
        wait_for("wait.release")
        return "waited"

    def modules(self) -> dict[str, Any]:
        return {
            name: getattr(module, "__file__", None)
            for name, module in sys.modules.items()
            if name.partition(".")[0] in ("gunicorn", "gunicornc", "gunicorn_dirty_protocol")
        }


def wait_for(name: str) -> None:
    deadline = time.monotonic() + 60
    while not os.path.exists(name):
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody made the file {name}")
        time.sleep(0.005)
