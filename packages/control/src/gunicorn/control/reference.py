"""The commands as texts for people, made from the registry: for ``gunicornc --help`` and for the table in the README.

``python -m gunicorn.control.reference`` prints the table; a test holds the README to it.
"""

from collections.abc import Iterable

from gunicorn.control.commands import REGISTRY
from gunicorn.control.registry import Command

__all__ = ["markdown_table", "summary"]


def summary(commands: Iterable[Command] = REGISTRY) -> str:
    """Return one line per command: how it is written, and what it does."""
    listed = [(command.usage, command.help) for command in commands]
    width = max(len(usage) for usage, _ in listed)
    return "\n".join(f"  {usage:<{width}}  {help}" for usage, help in listed)


def markdown_table(commands: Iterable[Command] = REGISTRY) -> str:
    """Return the reference as a table in Markdown."""
    lines = ["| command | what it does | who may |", "|---|---|---|"]
    who = {"reads": "whoever may connect", "writes": "the server's user, root"}
    for command in commands:
        usage = command.usage.replace("|", "\\|")
        lines.append(f"| `{usage}` | {command.help} | {who[command.access.value]} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown_table())
