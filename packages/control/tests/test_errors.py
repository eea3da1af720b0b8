"""The exception tree is as its docstring draws it, and errors name their reasons."""

import re

import pytest
from gunicorn.control import errors


def drawn() -> dict[str, str]:
    """Each class of the drawing, with the one that it hangs from."""
    above: list[tuple[int, str]] = []
    found = {}
    for indent, name in re.findall(r"^([ │├└─]*)([A-Z]\w+Error)\b", errors.__doc__ or "", re.MULTILINE):
        while above and above[-1][0] >= len(indent):
            above.pop()
        found[name] = above[-1][1] if above else "Exception"
        above.append((len(indent), name))
    return found


def test_the_tree_is_as_it_is_drawn() -> None:
    defined = {
        name: kind.__base__.__name__
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and kind.__base__ is not None
    }
    assert drawn() == defined


def test_a_frame_that_is_too_large_says_both_sizes() -> None:
    with pytest.raises(errors.FrameError, match="20 bytes exceeds the limit of 10 bytes") as caught:
        raise errors.FrameTooLargeError(20, 10)
    assert isinstance(caught.value, errors.FrameTooLargeError)
    assert (caught.value.size, caught.value.limit) == (20, 10)


def test_an_invalid_message_is_answered_with_its_id_or_0() -> None:
    assert errors.InvalidMessageError("no object").message_id == 0
    assert errors.InvalidMessageError("no command", 7).message_id == 7
