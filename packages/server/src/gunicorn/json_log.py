"""JSONFormatter: records of the error log and of the access log as JSON objects, one a line.

``glogging.Logger`` uses it with the setting ``log_json``; logging configurations may name it as a formatter's class.
``access_log`` writes the same access objects without a record.
"""

import datetime
import json
import logging
from collections.abc import Mapping
from typing import Any

from gunicorn.access_format import JSON_FIELDS, json_target
from gunicorn.atoms import ResponseAtoms

# What every LogRecord has; anything else came by ``extra``.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JSONFormatter(logging.Formatter):
    """
    A record of the error log: ``time`` (ISO 8601, UTC, milliseconds), ``level``, ``logger``, ``pid``, ``message``,
    with an exception ``exception`` (its traceback), with ``stack_info`` ``stack``, and what was given as ``extra``.

    A response of the access log: ``time``, ``level``, ``logger``, ``pid`` and the keys of
    ``access_format.JSON_FIELDS``, then ``fields``. What is not known is null.
    """

    def __init__(
        self,
        fmt: str | None = None,
        datefmt: str | None = None,
        style: Any = "%",
        fields: Mapping[str, str] | None = None,
    ) -> None:
        """The first three are logging's, and mean nothing here. :param fields: more keys for responses: key to atom."""
        super().__init__()
        self.fields = {**JSON_FIELDS, **(fields or {})}

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.datetime.fromtimestamp(record.created, datetime.timezone.utc)
        entry: dict[str, Any] = {
            "time": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
        }
        atoms: Any = record.args
        if isinstance(atoms, ResponseAtoms):
            entry.update(target_of(atoms))
            entry.update((key, _value(name, atoms.raw(name))) for key, name in self.fields.items())
        elif isinstance(atoms, Mapping) and "s" in atoms and "m" in atoms:  # a subclass of Logger has made them
            entry.update(target_of(atoms))
            entry.update((key, _value(name, atoms[name])) for key, name in self.fields.items())
        else:
            entry["message"] = record.getMessage()
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            entry["stack"] = record.stack_info
        entry.update((key, value) for key, value in vars(record).items() if key not in _STANDARD and key not in entry)
        return json.dumps(entry, default=str)


def target_of(atoms: Any) -> dict[str, Any]:
    """The keys of ``json_target``, for any atoms."""
    target = getattr(getattr(atoms, "req", None), "target", None)
    if target is not None:
        return json_target(target)
    get = atoms.raw if isinstance(atoms, ResponseAtoms) else atoms.__getitem__
    return {"method": get("m"), "path": get("U"), "query": get("q"), "protocol": get("H")}


def _value(name: str, value: Any) -> Any:
    """An atom as a JSON object has it."""
    if name == "s":
        return int(value) if str(value).isdigit() else None
    if name in ("B", "T", "M", "D"):
        return value or 0
    return None if value in ("-", "", None) else str(value)
