"""The registry: from words to calls, and the errors that lead back to the right words."""

from typing import Any

import pytest
from gunicorn.control.errors import BadArgumentsError, UnknownCommandError
from gunicorn.control.registry import Access, Argument, Registry


@pytest.fixture
def registry() -> Registry:
    registry = Registry()

    def handler(introspection: Any, **arguments: Any) -> dict[str, Any]:
        return arguments

    registry.command("show workers", "the workers", Access.READ)(handler)
    registry.command("show stats", "the counters", Access.READ)(handler)
    registry.command("worker add", "more", Access.WRITE, Argument("n", "how many", default=1))(handler)
    registry.command("worker kill", "one less", Access.WRITE, Argument("pid", "which one"))(handler)
    mode = Argument("mode", "how", default="graceful", choices=("graceful", "quick"))
    registry.command("shutdown", "stop", Access.WRITE, mode)(handler)
    registry.command("call", "one", Access.READ, Argument("id", "which one", digits=12))(handler)
    return registry


@pytest.mark.parametrize(
    ("words", "name", "arguments"),
    [
        ("show workers", "show workers", {}),
        ("worker add", "worker add", {"n": 1}),
        ("worker add 12", "worker add", {"n": 12}),
        ("worker kill 4194304", "worker kill", {"pid": 4194304}),
        ("shutdown", "shutdown", {"mode": "graceful"}),
        ("shutdown quick", "shutdown", {"mode": "quick"}),
        ("call 999999999999", "call", {"id": 999999999999}),
    ],
)
def test_words_become_calls(registry: Registry, words: str, name: str, arguments: dict[str, Any]) -> None:
    call = registry.resolve(words.split())
    assert (call.command.name, call.arguments) == (name, arguments)
    assert call.command is registry[name]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("", "the command is empty; 'help' lists the commands"),
        ("show", "'show' wants a second word: show workers, show stats"),
        ("show wrkers", "unknown command 'show wrkers'; did you mean 'show workers'? 'help' lists the commands"),
        ("shwo stats", "unknown command 'shwo stats'; did you mean 'show stats'? 'help' lists the commands"),
        ("wroker add 3", "unknown command 'wroker add 3'; did you mean 'worker add'? 'help' lists the commands"),
        ("shutdwon quick", "unknown command 'shutdwon quick'; did you mean 'shutdown'? 'help' lists the commands"),
        ("worker xyz", "unknown command 'worker xyz'; 'worker' goes with: worker add, worker kill"),
        ("fnord", "unknown command 'fnord'; 'help' lists the commands"),
    ],
)
def test_unknown_commands_name_the_way_out(registry: Registry, words: str, text: str) -> None:
    with pytest.raises(UnknownCommandError) as caught:
        registry.resolve(words.split())
    assert str(caught.value) == text


def test_a_long_unknown_command_is_cut_in_its_error(registry: Registry) -> None:
    with pytest.raises(UnknownCommandError) as caught:
        registry.resolve(["x" * 60000])
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("show workers now", "unexpected argument 'now'; usage: show workers"),
        ("worker add 1 2", "unexpected argument '2'; usage: worker add [N]"),
        ("worker add two", "N must be a positive integer, not 'two'; usage: worker add [N]"),
        ("worker add 0", "N must be a positive integer, not '0'; usage: worker add [N]"),
        ("worker add -1", "N must be a positive integer, not '-1'; usage: worker add [N]"),
        ("worker add 1_0", "N must be a positive integer, not '1_0'; usage: worker add [N]"),
        ("worker add ٣", "N must be a positive integer, not '٣'; usage: worker add [N]"),
        ("worker add 99999999999", "N must be a positive integer, not '99999999999'; usage: worker add [N]"),
        ("call 1234567890123", "ID must be a positive integer, not '1234567890123'; usage: call ID"),
        ("worker kill", "PID (which one) is missing; usage: worker kill PID"),
        ("shutdown soon", "graceful|quick must be graceful or quick, not 'soon'; usage: shutdown [graceful|quick]"),
    ],
)
def test_bad_arguments_name_the_usage(registry: Registry, words: str, text: str) -> None:
    with pytest.raises(BadArgumentsError) as caught:
        registry.resolve(words.split())
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("before", "words"),
    [
        ("", ["show", "worker", "shutdown", "call"]),
        ("show", ["workers", "stats"]),
        ("worker", ["add", "kill"]),
        ("worker add", []),
        ("shutdown", ["graceful", "quick"]),
        ("shutdown quick", []),
        ("fnord", []),
    ],
)
def test_completions(registry: Registry, before: str, words: list[str]) -> None:
    assert registry.completions(before.split()) == words


def test_a_name_is_declared_once(registry: Registry) -> None:
    with pytest.raises(ValueError, match="'shutdown' is declared twice"):
        registry.command("shutdown", "again", Access.WRITE)(lambda introspection: {})


def test_usage_and_order(registry: Registry) -> None:
    usages = [command.usage for command in registry]
    assert usages == [
        *("show workers", "show stats", "worker add [N]", "worker kill PID"),
        *("shutdown [graceful|quick]", "call ID"),
    ]
