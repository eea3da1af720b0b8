"""Tables and lists of fields as text, for people. Pure; called by ``views.py``.

Whatever comes from the server is shown with its control characters escaped: a request's path may be on display, and
must not steer the operator's terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Column", "duration", "fields", "plain", "printable", "table"]

_GAP = "  "


def plain(value: Any) -> str:
    """Return a value in one line: nothing as a dash, yes and no, lists by commas."""
    if value is None or value == "" or value == [] or value == {}:
        return "-"
    if value is True or value is False:
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{printable(str(key))}={plain(item)}" for key, item in value.items())
    return printable(str(value))


def printable(text: str) -> str:
    """Return ``text`` with everything escaped that does not print (newlines and terminal escapes among it)."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def duration(seconds: Any) -> str:
    """Return a number of seconds as people say it: ``0.3s``, ``42s``, ``5m 07s``, ``3h 20m``, ``12d 4h``."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        return plain(seconds)
    if seconds < 10:
        return f"{seconds:.1f}s"
    total = int(seconds)
    if total < 60:
        return f"{total}s"
    minutes, rest = divmod(total, 60)
    if minutes < 60:
        return f"{minutes}m {rest:02}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}h {minutes:02}m"
    days, hours = divmod(hours, 24)
    return f"{days}d {hours}h"


@dataclass(frozen=True)
class Column:
    """A column: the key of its value in each row, its heading, and how a value becomes text."""

    key: str
    heading: str
    text: Callable[[Any], str] = plain


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], width: int | None = None) -> list[str]:
    """Return the lines of a table, the heading first. Columns of which no row has the key are left out; numbers stand
    to the right.

    :param width: characters of the widest line, or None; longer lines are cut, ending in an ellipsis.
    """
    columns = [column for column in columns if any(column.key in row for row in rows)]
    cells = [[column.text(row.get(column.key)) for column in columns] for row in rows]
    right = [
        all(isinstance(row.get(column.key), (int, float)) and not isinstance(row[column.key], bool) for row in rows)
        for column in columns
    ]
    headings = [column.heading for column in columns]
    widths = [max(len(line[index]) for line in [headings, *cells]) for index in range(len(columns))]
    lines = []
    for line in [headings, *cells]:
        padded = [
            cell.rjust(size) if to_the_right else cell.ljust(size)
            for cell, size, to_the_right in zip(line, widths, right, strict=True)
        ]
        lines.append(_cut(_GAP.join(padded).rstrip(), width))
    return lines


def fields(values: Sequence[tuple[str, str]], width: int | None = None) -> list[str]:
    """Return one line per name and text, the texts below each other."""
    size = max((len(name) for name, _ in values), default=0)
    return [_cut(f"{name:<{size}}{_GAP}{text}".rstrip(), width) for name, text in values]


def _cut(line: str, width: int | None) -> str:
    return line if width is None or len(line) <= width else f"{line[: width - 1]}…"
