"""Pidfile: the file with the master's process id.

The arbiter writes it, moves it on an upgrade, and removes its own only.
"""

import os
import tempfile

from gunicorn import util


class Pidfile:
    """A pid file at a path; ``pid`` is what was written to it."""

    def __init__(self, fname: str) -> None:
        self.fname = fname
        self.pid: int | None = None

    def create(self, pid: int) -> None:
        """Write ``pid``, whole or not at all.

        :raises RuntimeError: when the file holds the id of another living process, or cannot be written.
        """
        other = self.validate()
        if other is not None and other != pid:
            raise RuntimeError(
                f"the pid file {self.fname!r} says that process {other} is running already; stop that one first"
            )
        directory = os.path.dirname(self.fname) or "."
        try:
            fd, temporary = tempfile.mkstemp(dir=directory)
            with open(fd, "w") as file:
                file.write(f"{pid}\n")
            os.chmod(temporary, 0o644)  # others read it
            os.rename(temporary, self.fname)
        except OSError as exc:
            raise RuntimeError(f"the pid file {self.fname!r} cannot be written: {exc.strerror}") from exc
        self.pid = pid

    def rename(self, path: str) -> None:
        """Write the same pid to the new path, and then leave the old one: at no time is there none.

        :raises RuntimeError: as ``create``; then nothing has changed.
        """
        pid = self.pid
        if pid is not None:
            Pidfile(path).create(pid)
            self.unlink()
        self.fname, self.pid = path, pid

    def unlink(self) -> None:
        """Remove the file, if it still is ours."""
        if self.pid is not None and self._read() == self.pid:
            util.unlink(self.fname)
        self.pid = None

    def validate(self) -> int | None:
        """The id in the file when a process of that id lives, else None."""
        pid = self._read()
        if pid is None or pid <= 0:
            return None
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass  # it lives, as somebody else's
        return pid

    def _read(self) -> int | None:
        try:
            with open(self.fname) as file:
                return int(file.read().strip() or 0)
        except (OSError, ValueError):
            return None
