"""The prompt: commands line by line, errors that do not end it, completion from the registry."""

from collections.abc import Callable
from typing import Any

import pytest
from gunicorn.control.client import ControlClient
from gunicorn.control.commands import REGISTRY
from gunicornc.prompt import Completer, run
from gunicornc.session import Session


def typed(*lines: str | type[BaseException]) -> Callable[[str], str]:
    """A reader that gives these lines, or raises."""
    rest = list(lines)

    def read(prompt: str) -> str:
        line = rest.pop(0) if rest else EOFError
        if isinstance(line, str):
            return line
        raise line

    return read


def converse(path: str, *lines: str | type[BaseException]) -> int:
    with ControlClient(path) as client:
        return run(Session(client, as_json=False, width=None), REGISTRY, typed(*lines))


def test_commands_until_the_end_of_the_input(server: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert converse(server.path, "show workers", "", "  ", "worker kill 12", "nonsense", KeyboardInterrupt, "help") == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"gunicornc at {server.path}; 'help' lists the commands, 'exit' leaves\nPID ")
    assert "show listeners" in captured.out
    assert captured.err == "error: unknown command 'nonsense'; 'help' lists the commands\n"
    assert server.introspection.done == [("kill_worker", 12)]


@pytest.mark.parametrize("word", ["exit", "quit"])
def test_leaving(server: Any, word: str) -> None:
    assert converse(server.path, word, "reload") == 0
    assert server.introspection.done == []


def test_without_a_server(directory: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert converse(f"{directory}/none", "help", "help") == 3
    assert "nothing listens" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("before", "text", "matches"),
    [
        ("", "s", ["show ", "shutdown "]),
        ("", "ex", ["exit "]),
        ("show ", "s", ["stats "]),
        ("shutdown ", "", ["graceful ", "quick "]),
        ("fnord ", "", []),
    ],
)
def test_completion(before: str, text: str, matches: list[str]) -> None:
    complete = Completer(REGISTRY, lambda: before)
    found: list[str] = []
    while (match := complete(text, len(found))) is not None:
        found.append(match)
    assert found == matches
