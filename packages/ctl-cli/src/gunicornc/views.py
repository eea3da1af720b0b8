"""What each command's data looks like to people. Pure; called by ``cli.py`` and ``prompt.py``.

A command without a view here, of a newer server perhaps, is shown by its data's shape. Raw values are for ``-j``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gunicornc.tables import Column, duration, fields, plain, printable, table

__all__ = ["render"]

Data = Mapping[str, Any]

_DURATIONS = {"uptime", "last_heartbeat", "busy_for"}
_MODES = {"umask", "control_socket_mode"}


def _busy(seconds: Any) -> str:
    return duration(seconds or None)


def _busy_slots(slots: Any) -> str:
    """How many of a dirty worker's slots are busy: ``1/4``."""
    if not isinstance(slots, list):
        return plain(slots)
    return f"{sum(bool(slot.get('busy')) for slot in slots)}/{len(slots)}"


def _running(slots: Any) -> str:
    """What a dirty worker's slots run, by the id for ``dirty cancel``, and for how long: ``#17 m:A.resize 2.3s``."""
    busy = [slot for slot in slots or [] if slot.get("busy")]
    return plain(
        [
            f"#{slot.get('call', '?')} {slot.get('app')}.{slot.get('action')} {duration(slot.get('seconds'))}"
            for slot in busy
        ]
    )


def _within(share: float) -> Callable[[Any], str]:
    """How a histogram (upper bounds of its buckets in seconds, to counts) tells the time that this share of the calls
    did not exceed: ``25ms`` or, in the bucket without a bound, ``over 60s``."""

    def text(buckets: Any) -> str:
        if not isinstance(buckets, Mapping) or not sum(buckets.values()):
            return plain(None)
        wanted, previous = share * sum(buckets.values()), 0.0
        for bound, count in sorted((float(bound), count) for bound, count in buckets.items()):
            wanted -= count
            if wanted <= 0 and bound != math.inf:
                return _short(bound)
            previous = previous if bound == math.inf else bound
        return f"over {_short(previous)}"

    return text


def _short(seconds: float) -> str:
    return f"{seconds:g}s" if seconds >= 1 else f"{seconds * 1000:g}ms"


def _mode(value: Any) -> str:
    """File permissions, as people write them."""
    return f"{value:#05o}" if isinstance(value, int) else plain(value)


_WORKERS = (
    Column("pid", "PID"),
    Column("slot", "SLOT"),
    Column("age", "AGE"),
    Column("state", "STATE"),
    Column("booted", "BOOTED"),
    Column("uptime", "UP", duration),
    Column("last_heartbeat", "HEARTBEAT", duration),
    Column("requests", "REQUESTS"),
    Column("errors", "ERRORS"),
    Column("connections", "CONNS"),
    Column("busy_for", "BUSY", _busy),
    Column("current", "CURRENT"),
)
_DIRTY_WORKERS = (
    Column("pid", "PID"),
    Column("age", "AGE"),
    Column("state", "STATE"),
    Column("booted", "BOOTED"),
    Column("last_heartbeat", "HEARTBEAT", duration),
    Column("calls", "CALLS"),
    Column("slots", "BUSY", _busy_slots),
    Column("apps", "APPS"),
    Column("slots", "RUNNING", _running),
)
_APPS = (
    Column("import_path", "APP"),
    Column("current_workers", "WORKERS"),
    Column("worker_count", "LIMIT"),
    Column("queued", "QUEUED"),
    Column("calls", "CALLS"),
    Column("errors", "ERRORS"),
    Column("timeouts", "TIMEOUTS"),
    Column("refused", "REFUSED"),
    Column("latency", "HALF WITHIN", _within(0.5)),
    Column("latency", "99% WITHIN", _within(0.99)),
)
_WAITING = (
    Column("call", "ID"),
    Column("app", "APP"),
    Column("action", "ACTION"),
    Column("priority", "PRIORITY"),
    Column("seconds", "WAITS", duration),
    Column("remaining", "TIME LEFT", duration),
    Column("caller_pid", "CALLER"),
)
_SEATS = (
    Column("number", "WORKER"),
    Column("failures", "FAILED STARTS"),
    Column("given_up", "GIVEN UP"),
    Column("error", "ERROR"),
)
# Shown by tables of their own, or said twice.
_NOT_OF_THE_POOL = ("workers", "worker_count", "enabled", "arbiter_pid", "apps", "seats", "waiting")
_LISTENERS = (
    Column("url", "URL"),
    Column("address", "ADDRESS"),
    Column("type", "TYPE"),
    Column("family", "FAMILY"),
    Column("fd", "FD"),
)


def render(command: str, data: Data, width: int | None = None) -> str:
    """Return the data of ``command`` (its name, without arguments) as text, without a newline at the end.

    :param width: characters in a line of the terminal, or None where lines may have any length.
    """
    return "\n".join(_VIEWS.get(command, _general)(data, width))


def _workers(data: Data, width: int | None) -> list[str]:
    return _listed(data["workers"], _WORKERS, "worker", width)


def _listeners(data: Data, width: int | None) -> list[str]:
    return _listed(data["listeners"], _LISTENERS, "listener", width)


def _all(data: Data, width: int | None) -> list[str]:
    master = data["arbiter"]
    lines = [f"master {plain(master['pid'])}, up {duration(master.get('uptime'))}"]
    for listener in data.get("listeners", []):
        lines.append(f"listening at {plain(listener.get('url') or listener.get('address'))}")
    lines += ["", *_listed(data["web_workers"], _WORKERS, "HTTP worker", width), ""]
    arbiter = data["dirty_arbiter"]
    if arbiter is None:
        return [*lines, "no dirty pool"]
    lines.append(f"dirty arbiter {plain(arbiter['pid'])}, {plain(arbiter.get('state'))}")
    if "error" in arbiter:
        return [*lines, plain(arbiter["error"])]
    return [*lines, *_listed(data["dirty_workers"], _DIRTY_WORKERS, "dirty worker", width)]


def _dirty(data: Data, width: int | None) -> list[str]:
    if data.get("enabled") is False:
        return ["no dirty pool (one starts with: gunicorn --dirty-app module:Class --dirty-workers N …)"]
    shown = {key: value for key, value in data.items() if key not in _NOT_OF_THE_POOL}
    apps = data.get("apps", [])
    if all(isinstance(app, dict) for app in apps):
        lines = [*_general(shown, width), "", *_listed(apps, _APPS, "app", width)]
    else:  # an arbiter that only names them
        lines = _general({**shown, "apps": apps}, width)
    lines += ["", *_listed(data["workers"], _DIRTY_WORKERS, "dirty worker", width)]
    waiting = data.get("waiting", [])
    if waiting:
        more = int(data.get("queued", 0)) - len(waiting)
        lines += ["", *_listed(waiting, _WAITING, "waiting call", width), *([f"and {more} more"] if more > 0 else [])]
    troubled = [seat for seat in data.get("seats", []) if seat.get("failures") or seat.get("given_up")]
    return [*lines, "", *table(troubled, _SEATS, width)] if troubled else lines


def _stacks(data: Data, width: int | None) -> list[str]:
    """A traceback says most at the ends of its lines, so they are never cut."""
    lines = [f"dirty worker {plain(data['pid'])}"]
    for thread, stack in data["stacks"].items():
        lines += ["", plain(thread), *map(printable, str(stack).splitlines())]
    return lines


def _help(data: Data, width: int | None) -> list[str]:
    return fields([(plain(usage), plain(text)) for usage, text in data["commands"].items()], width)


def _general(data: Data, width: int | None) -> list[str]:
    """Fields first; then each list of objects as a table, each object as a paragraph."""
    singles: list[tuple[str, str]] = []
    parts: list[str] = []
    for key, value in data.items():
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            columns = [
                Column(name, plain(name).upper(), _text(name)) for name in dict.fromkeys(k for v in value for k in v)
            ]
            parts += ["", f"{plain(key)}:", *table(value, columns, width)]
        elif isinstance(value, dict) and any(isinstance(item, (dict, list)) for item in value.values()):
            parts += ["", f"{plain(key)}:", *(f"  {line}" for line in _general(value, width))]
        else:
            singles.append((plain(key), _text(key)(value)))
    lines = fields(singles, width) + parts
    return lines[1:] if lines and not lines[0] else lines


def _listed(rows: Sequence[Data], columns: Sequence[Column], noun: str, width: int | None) -> list[str]:
    count = f"{len(rows) or 'no'} {noun}{'' if len(rows) == 1 else 's'}"
    return [*table(rows, columns, width), count] if rows else [count]


def _text(key: str) -> Callable[[Any], str]:
    if key in _MODES:
        return _mode
    return duration if key in _DURATIONS else plain


_VIEWS: dict[str, Callable[[Data, int | None], list[str]]] = {
    "show all": _all,
    "show workers": _workers,
    "show dirty": _dirty,
    "show listeners": _listeners,
    "dirty stacks": _stacks,
    "help": _help,
}
