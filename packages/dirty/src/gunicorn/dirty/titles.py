"""Process titles, where `setproctitle` is installed. Called by the arbiter and its workers."""

from __future__ import annotations

__all__ = ["set_title"]


def set_title(proc_name: str, role: str) -> None:
    """Show this process as `gunicorn: ROLE [NAME]` to ps and top; does nothing without `setproctitle`."""
    try:
        from setproctitle import setproctitle  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return
    setproctitle(f"gunicorn: {role} [{proc_name}]")
