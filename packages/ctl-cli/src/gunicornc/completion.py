"""The shell's completion, made from the registry: what ``gunicornc --completion bash`` prints."""

from collections.abc import Iterator

from gunicorn.control.registry import Registry

__all__ = ["bash"]


def bash(registry: Registry) -> str:
    """Return a script for bash (and zsh with bashcompinit), to be read with ``eval``."""
    cases = "\n".join(
        f'    "{" ".join(before)}") words="{" ".join(words)}" ;;' for before, words in _tree(registry, [])
    )
    return f"""\
_gunicornc() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" before="" word skip="" words=""
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    if [ -n "$skip" ]; then skip=""; continue; fi
    case "$word" in
    -s|--socket|--timeout|-c|--command|--completion) skip=1 ;;
    -*) ;;
    *) before="${{before:+$before }}$word" ;;
    esac
  done
  if [ -n "$skip" ]; then COMPREPLY=($(compgen -f -- "$current")); return; fi
  case "$before" in
{cases}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -F _gunicornc gunicornc"""


def _tree(registry: Registry, before: list[str]) -> Iterator[tuple[list[str], list[str]]]:
    words = registry.completions(before)
    if words:
        yield before, words
        for word in words:
            yield from _tree(registry, [*before, word])
