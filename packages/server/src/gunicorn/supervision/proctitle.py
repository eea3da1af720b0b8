"""Process titles: what ``ps`` shows for the master and its children.

Through the package setproctitle where it is installed. Without it, on Linux, by writing over the memory of the command
line, which is what setproctitle does too, but within the length of the original command line, since the environment
follows it.
"""

import os
from functools import cache


def set_title(title: str) -> bool:
    """Show ``gunicorn: title``; false where the system offers no way."""
    text = f"gunicorn: {title}"
    try:
        from setproctitle import setproctitle  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return _overwrite_command_line(text)
    setproctitle(text)
    return True


def _overwrite_command_line(text: str) -> bool:
    area = _command_line_area()
    if area is None:
        return False
    import ctypes

    start, size = area
    # Padded with NUL, and at least one of them: otherwise the kernel reads on into the environment.
    ctypes.memmove(start, os.fsencode(text)[: size - 1].ljust(size, b"\0"), size)
    return True


@cache
def _command_line_area() -> tuple[int, int] | None:
    """(address, size) of this process's command line (proc(5): arg_start, arg_end of /proc/self/stat), if it can be
    trusted.

    Cached over forks: a child has the same memory at the same place.
    """
    try:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        start, end = int(fields[45]), int(fields[46])  # fields 48 and 49, counted from the one after the name
        with open("/proc/self/cmdline", "rb") as file:
            command_line = file.read()
        import ctypes
    except (OSError, ValueError, IndexError, ImportError):
        return None
    if start == 0 or end - start < 2 or len(command_line) != end - start:
        return None
    if ctypes.string_at(start, end - start) != command_line:
        return None
    return start, end - start
