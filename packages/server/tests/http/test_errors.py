"""The exception tree is as its docstring draws it: who hangs where, with which status, citing which clause."""

import re

import pytest
from gunicorn.http import errors

LINE = re.compile(r"^([ │├└─]*)([A-Z]\w+)(?: +(\d{3}))?(?: +(RFC \d+ section [\d.]+))?", re.MULTILINE)


def refusals() -> list[type[errors.RemoteProtocolError]]:
    found = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    return [kind for kind in found if issubclass(kind, errors.RemoteProtocolError)]


def drawn() -> dict[str, tuple[str, str | None, str | None]]:
    """Each class of the drawing: what it hangs from, its status and clause where they are given."""
    above: list[tuple[int, str]] = []
    found = {}
    tree = (errors.__doc__ or "").split("\n\n")[1]
    for indent, name, status, clause in LINE.findall(tree):
        while above and above[-1][0] >= len(indent):
            above.pop()
        found[name] = (above[-1][1] if above else "Exception", status or None, clause or None)
        above.append((len(indent), name))
    return found


def test_the_tree_is_as_it_is_drawn() -> None:
    defined = {
        name: kind.__base__.__name__
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and kind.__base__ is not None
    }
    assert {name: base for name, (base, _, _) in drawn().items()} == defined


@pytest.mark.parametrize("kind", refusals())
def test_a_refusal_has_its_status_and_cites_its_clause(kind: type[errors.RemoteProtocolError]) -> None:
    _, status, clause = drawn()[kind.__name__]
    if status is not None:
        assert kind.status == int(status)
    if clause is not None:
        assert kind.clause.startswith(clause)
    assert str(kind("'x' was read")) == f"'x' was read ({kind.clause})"
    assert str(kind("'x' was read", "RFC 9110 section 5.3")) == "'x' was read (RFC 9110 section 5.3)"
