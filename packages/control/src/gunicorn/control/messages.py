"""The two messages of the control protocol, as data; the endpoint and the client both speak through them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gunicorn.control.errors import InvalidMessageError

__all__ = ["Reply", "Request"]


@dataclass(frozen=True)
class Request:
    """``{"id": int, "command": "show workers", "args": []}``."""

    id: int
    command: str
    args: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """The command and its arguments, which may stand in ``command`` or in ``args``, as one list of words."""
        return (*self.command.split(), *self.args)

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, "command": self.command, "args": list(self.args)}

    @classmethod
    def from_json(cls, value: Any) -> Request:
        """Read a request; an argument may be a string or an integer.

        :raises InvalidMessageError: it has not the shape of a request.
        """
        if not isinstance(value, dict):
            raise InvalidMessageError(f"a request is a JSON object, not {_kind(value)}")
        message_id = value.get("id", 0)
        if not _is_int(message_id):
            raise InvalidMessageError(f"'id' is an integer, not {_kind(message_id)}")
        command = value.get("command")
        if not isinstance(command, str):
            raise InvalidMessageError(f"'command' is a string, not {_kind(command)}", message_id)
        args = value.get("args") or []
        if not isinstance(args, list):
            raise InvalidMessageError(f"'args' is a list, not {_kind(args)}", message_id)
        for arg in args:
            if not isinstance(arg, str) and not _is_int(arg):
                raise InvalidMessageError(f"'args' holds strings and integers, not {_kind(arg)}", message_id)
        return cls(message_id, command, tuple(str(arg) for arg in args))


@dataclass(frozen=True)
class Reply:
    """``{"id": int, "status": "ok", "data": {…}}`` or ``{"id": int, "status": "error", "error": "…"}``.

    ``error`` is None when the command succeeded.
    """

    id: int
    data: Mapping[str, Any] | None = None
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        if self.error is not None:
            return {"id": self.id, "status": "error", "error": self.error}
        return {"id": self.id, "status": "ok", "data": dict(self.data or {})}

    @classmethod
    def from_json(cls, value: Any) -> Reply:
        """Read a reply.

        :raises InvalidMessageError: it has not the shape of a reply.
        """
        if not isinstance(value, dict) or not _is_int(value.get("id")):
            raise InvalidMessageError("a reply is a JSON object with an integer 'id'")
        message_id = value["id"]
        status = value.get("status")
        if status == "error":
            return cls(message_id, error=str(value.get("error") or "the server gave no reason"))
        if status != "ok":
            raise InvalidMessageError(f'\'status\' is "ok" or "error", not {status!r}', message_id)
        data = value.get("data")
        if not isinstance(data, dict):
            raise InvalidMessageError(f"'data' is an object, not {_kind(data)}", message_id)
        return cls(message_id, data=data)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    return {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}.get(type(value), "a number")
