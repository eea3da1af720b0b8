"""The texts made from the registry, and that the README has the current table."""

from pathlib import Path

from gunicorn.control.commands import REGISTRY
from gunicorn.control.reference import markdown_table, summary


def test_every_command_is_in_the_summary() -> None:
    lines = summary().splitlines()
    assert len(lines) == len(list(REGISTRY))
    assert "  worker add [N]             Start N more HTTP workers" in lines


def test_the_readme_has_the_table() -> None:
    readme = Path(__file__).parent.parent / "README.md"
    table = markdown_table()
    assert "| `shutdown [graceful\\|quick]` |" in table
    assert table in readme.read_text(), "put the output of: python -m gunicorn.control.reference into the README"
