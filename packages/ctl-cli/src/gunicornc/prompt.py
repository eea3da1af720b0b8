"""The interactive prompt: commands line by line, completed from the registry, until ``exit`` or the input's end."""

from __future__ import annotations

import sys
from collections.abc import Callable

from gunicorn.control.errors import ClientError, ConnectionDeniedError, NothingListensError
from gunicorn.control.registry import Registry

from gunicornc.session import Session

__all__ = ["Completer", "run"]

_LEAVE = ("exit", "quit")


class Completer:
    """Completes the word at the cursor, in the way that ``readline.set_completer`` wants.

    :param line: gives the text before the word that is being completed.
    """

    def __init__(self, registry: Registry, line: Callable[[], str]) -> None:
        self._registry = registry
        self._line = line

    def __call__(self, text: str, state: int) -> str | None:
        before = self._line().split()
        words = self._registry.completions(before) + ([] if before else list(_LEAVE))
        matches = [f"{word} " for word in words if word.startswith(text)]
        return matches[state] if state < len(matches) else None


def run(session: Session, registry: Registry, read: Callable[[str], str] = input) -> int:
    """Read and run commands; returns the exit code. An error of the server is shown, and the prompt goes on."""
    _complete_from(registry)
    print(f"gunicornc at {session.client.path}; 'help' lists the commands, 'exit' leaves")
    while True:
        try:
            words = read("gunicorn> ").split()
        except EOFError:
            print()
            return 0
        except KeyboardInterrupt:  # as in a shell: drops the line
            print()
            continue
        if not words:
            continue
        if words[0] in _LEAVE:
            return 0
        try:
            print(session.run(words))
        except (NothingListensError, ConnectionDeniedError) as exc:
            print(f"gunicornc: {exc}", file=sys.stderr)
            return 3
        except ClientError as exc:
            print(f"error: {exc}", file=sys.stderr)
        except KeyboardInterrupt:
            print("\ninterrupted; the command may have taken effect", file=sys.stderr)


def _complete_from(registry: Registry) -> None:
    """Set up completion and line editing, where Python has them."""
    try:
        import readline
    except ImportError:
        return
    readline.set_completer(Completer(registry, lambda: readline.get_line_buffer()[: readline.get_begidx()]))
    readline.set_completer_delims(" \t")
    # Python may be linked with libedit, which has another syntax for this.
    libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if libedit else "tab: complete")
