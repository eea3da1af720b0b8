"""Commands as data: what a command is, and how words become a call of one.

``commands.py`` fills a registry; the server's endpoint runs calls from it, and help, completion and the reference in
the documentation are read from it (``reference.py``).
"""

from __future__ import annotations

import difflib
import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gunicorn.control.errors import BadArgumentsError, CommandError, UnknownCommandError
from gunicorn_dirty_protocol import Manage, Status

__all__ = ["QUESTION_ID", "Access", "Argument", "AskPool", "Call", "Command", "Outcome", "Registry"]

QUESTION_ID = 1
"""Request id of every question to the dirty arbiter."""


class Access(enum.Enum):
    """What a command does to the server, hence who may give it."""

    READ = "reads"
    WRITE = "writes"


@dataclass(frozen=True)
class AskPool:
    """What a handler returns that needs an answer of the dirty arbiter first.

    The endpoint sends ``question`` to the unix socket at ``socket_path`` (without blocking) and calls ``finish`` with
    the arbiter's result, or ``failed`` where there is none. Both return the command's data or raise a ``CommandError``.
    """

    socket_path: str
    question: Status | Manage
    """Its request id is ``QUESTION_ID``: each question has a connection of its own."""
    finish: Callable[[Any], dict[str, Any]]
    failed: Callable[[CommandError], dict[str, Any]]


Outcome = dict[str, Any] | AskPool
Handler = Callable[..., Outcome]


@dataclass(frozen=True)
class Argument:
    """One positional argument: a positive integer, or one of ``choices``. Without ``default`` it is required."""

    name: str
    help: str
    default: int | str | None = None
    choices: tuple[str, ...] = ()
    digits: int = 10
    """How many an integer may have; ten are enough for every pid and count."""

    @property
    def usage(self) -> str:
        text = "|".join(self.choices) or self.name.upper()
        return text if self.default is None else f"[{text}]"

    def parse(self, word: str) -> int | str:
        """Return the value of ``word``; ValueError says what is wanted instead."""
        if self.choices:
            if word not in self.choices:
                raise ValueError(f"must be {' or '.join(self.choices)}")
            return word
        # int() would also take "1_0", "+1" and digits of other scripts.
        if not (word.isascii() and word.isdigit() and len(word) <= self.digits and int(word) > 0):
            raise ValueError("must be a positive integer")
        return int(word)


@dataclass(frozen=True)
class Command:
    """One command. ``handler`` is called with the introspection and, by name, the values of ``arguments``."""

    name: str
    help: str
    access: Access
    handler: Handler = field(repr=False)
    arguments: tuple[Argument, ...] = ()

    @property
    def usage(self) -> str:
        """As written by a person: ``worker add [N]``."""
        return " ".join([self.name, *(argument.usage for argument in self.arguments)])

    def parse(self, words: Sequence[str]) -> dict[str, int | str]:
        """Return the arguments by name.

        :raises BadArgumentsError: a word too many, one too few, or one that is no such value.
        """
        if len(words) > len(self.arguments):
            raise BadArgumentsError(f"unexpected argument {words[len(self.arguments)]!r}; usage: {self.usage}")
        values: dict[str, int | str] = {}
        for index, argument in enumerate(self.arguments):
            if index < len(words):
                try:
                    values[argument.name] = argument.parse(words[index])
                except ValueError as exc:
                    text = f"{argument.usage.strip('[]')} {exc}, not {words[index]!r}; usage: {self.usage}"
                    raise BadArgumentsError(text) from exc
            elif argument.default is None:
                raise BadArgumentsError(f"{argument.usage} ({argument.help}) is missing; usage: {self.usage}")
            else:
                values[argument.name] = argument.default
        return values


@dataclass(frozen=True)
class Call:
    """A command together with the values of its arguments."""

    command: Command
    arguments: Mapping[str, int | str]


class Registry:
    """The commands by name, in the order of their declaration."""

    def __init__(self) -> None:
        self._commands: dict[str, Command] = {}

    def __iter__(self) -> Iterator[Command]:
        return iter(self._commands.values())

    def __getitem__(self, name: str) -> Command:
        return self._commands[name]

    def command(self, name: str, help: str, access: Access, *arguments: Argument) -> Callable[[Handler], Handler]:
        """Declare the decorated function as the handler of a new command."""

        def declare(handler: Handler) -> Handler:
            if name in self._commands:
                raise ValueError(f"the command {name!r} is declared twice")
            self._commands[name] = Command(name, help, access, handler, arguments)
            return handler

        return declare

    def resolve(self, words: Sequence[str]) -> Call:
        """Return the call that ``words`` mean: the longest command name that they begin with, and its arguments.

        :raises UnknownCommandError: they begin with no command; the text names the nearest.
        :raises BadArgumentsError: the command does not take these arguments.
        """
        for length in range(len(words), 0, -1):
            command = self._commands.get(" ".join(words[:length]))
            if command is not None:
                return Call(command, command.parse(words[length:]))
        raise UnknownCommandError(self._unknown(words))

    def _unknown(self, words: Sequence[str]) -> str:
        if not words:
            return "the command is empty; 'help' lists the commands"
        family = [name for name in self._commands if name.split()[0] == words[0]]
        if len(words) == 1 and family:
            return f"{words[0]!r} wants a second word: {', '.join(family)}"
        text = " ".join(words)
        shown = text if len(text) <= 64 else f"{text[:61]}..."
        if family:
            near = difflib.get_close_matches(words[1][:64], [name.split()[-1] for name in family], 1)
            if not near:
                return f"unknown command {shown!r}; {words[0]!r} goes with: {', '.join(family)}"
            near = [f"{words[0]} {near[0]}"]
        else:
            # The first words only: arguments would make a misspelt command look like none.
            near = difflib.get_close_matches(" ".join(words[:2])[:64], self._commands, 1)
            near = near or difflib.get_close_matches(words[0][:64], self._commands, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return f"unknown command {shown!r}; {hint}'help' lists the commands"

    def completions(self, before: Sequence[str]) -> list[str]:
        """Return the words that may stand after the words ``before``, in order."""
        found: list[str] = []
        depth = len(before)
        for command in self:
            name = command.name.split()
            if name[:depth] == list(before) and len(name) > depth:
                found.append(name[depth])
            elif name == list(before[: len(name)]) and depth - len(name) < len(command.arguments):
                found.extend(command.arguments[depth - len(name)].choices)
        return list(dict.fromkeys(found))
