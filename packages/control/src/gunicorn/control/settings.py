"""The settings that this package adds to the server's, as data (the server makes command line options of them)."""

from collections.abc import Mapping, Sequence
from typing import Any

from gunicorn.control.address import DEFAULT_NAME

__all__ = ["SETTINGS", "validate_mode"]


def _parse_mode(text: str) -> int:
    """Read file permissions as people write them: ``600``, ``0600`` and ``0o600`` are the same."""
    try:
        return int(text.removeprefix("0o"), 8)
    except ValueError:
        raise ValueError(f"{text!r} is no mode; write the permissions in octal, such as 0o600") from None


def validate_mode(value: Any) -> int:
    """Return the permissions as an integer; text is read as octal.

    :raises TypeError: neither an integer nor text.
    :raises ValueError: beyond 0o777, or without write permission for the owner, who could then not connect.
    """
    if isinstance(value, str):
        value = _parse_mode(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"control_socket_mode is a number such as 0o600, not {value!r}")
    if not 0 <= value <= 0o777:
        raise ValueError(
            f"control_socket_mode {value} is {value:#o}, not within 0o000 to 0o777; did you mean 0o{value}?"
        )
    if not value & 0o200:
        raise ValueError(f"control_socket_mode {value:#o} keeps its owner out; it needs at least 0o200")
    return value


SETTINGS: Sequence[Mapping[str, Any]] = (
    {
        "name": "control_socket",
        "section": "Control",
        "cli": ["--control-socket"],
        "meta": "PATH",
        "default": DEFAULT_NAME,
        "validator": "string",
        "desc": (
            "Path of the unix socket through which gunicornc looks inside and steers this server.\n"
            "The default means gunicorn.ctl in a directory private to the user ($XDG_RUNTIME_DIR, else ~/.gunicorn);\n"
            "further servers of the same user get gunicorn-PID.ctl there. Any other relative path is relative to the\n"
            "server's working directory."
        ),
    },
    {
        "name": "control_socket_mode",
        "section": "Control",
        "cli": ["--control-socket-mode"],
        "meta": "INT",
        "default": "0o600",
        "validator": validate_mode,
        "desc": (
            "Permissions of the control socket's file, in octal.\n"
            "Whoever may connect can look; only the server's own user and root can change anything."
        ),
    },
    {
        "name": "control_socket_disable",
        "section": "Control",
        "cli": ["--no-control-socket"],
        "action": "store_true",
        "default": False,
        "validator": "bool",
        "desc": "Open no control socket.",
    },
)
