"""One server to talk to and one way to show what it says; shared by single commands and by the prompt."""

from __future__ import annotations

import json
from collections.abc import Sequence

from gunicorn.control.client import ControlClient
from gunicorn.control.commands import REGISTRY
from gunicorn.control.errors import BadArgumentsError, UnknownCommandError

from gunicornc.views import render

__all__ = ["Session"]


class Session:
    """Runs commands through ``client`` and returns their text.

    :param as_json: data as JSON instead of tables.
    :param width: characters in a line of the terminal, or None.
    """

    def __init__(self, client: ControlClient, as_json: bool, width: int | None) -> None:
        self.client = client
        self.as_json = as_json
        self.width = width

    def run(self, words: Sequence[str]) -> str:
        """Give a command and return what to print.

        The server judges the words, not this program's own registry: it may be of another version, with other commands.

        :raises ClientError: see ``ControlClient.call``.
        """
        command = " ".join(words)
        data = self.client.call(command)
        if self.as_json:
            return json.dumps(data, indent=2)
        return render(_name(command), data, self.width)


def _name(command: str) -> str:
    try:
        return REGISTRY.resolve(command.split()).command.name
    except (UnknownCommandError, BadArgumentsError):  # the server knew it: shown by its shape
        return ""
