"""Process titles: through the server, which knows a way on every system, or where `setproctitle` is installed.

Called by the arbiter and its workers; the service says that there is a server.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["set_title", "show_through", "shown_through"]

_show: Callable[[str], object] | None = None


def show_through(show: Callable[[str], object] | None) -> None:
    """Let this process and its children show their titles by `show`, which puts `gunicorn: ` before them."""
    global _show
    _show = show


def shown_through() -> Callable[[str], object] | None:
    """What :func:`show_through` was given last."""
    return _show


def set_title(proc_name: str, role: str) -> None:
    """Show this process as `gunicorn: ROLE [NAME]` to ps and top, where there is a way."""
    title = f"{role} [{proc_name}]"
    if _show is not None:
        _show(title)
        return
    try:
        from setproctitle import setproctitle  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return
    setproctitle(f"gunicorn: {title}")
