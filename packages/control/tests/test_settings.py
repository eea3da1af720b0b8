"""The settings as declared: names, flags, defaults; modes as people write them."""

from typing import Any

import pytest
from gunicorn.control.settings import SETTINGS, validate_mode


def test_names_flags_and_defaults() -> None:
    assert [(setting["name"], setting["cli"], setting["default"]) for setting in SETTINGS] == [
        ("control_socket", ["--control-socket"], "gunicorn.ctl"),
        ("control_socket_mode", ["--control-socket-mode"], "0o600"),
        ("control_socket_disable", ["--no-control-socket"], False),
    ]
    assert {setting["section"] for setting in SETTINGS} == {"Control"}
    assert all(setting["desc"] for setting in SETTINGS)


@pytest.mark.parametrize(("value", "mode"), [("600", 0o600), ("0600", 0o600), ("0o660", 0o660), (0o666, 0o666)])
def test_modes(value: Any, mode: int) -> None:
    assert validate_mode(value) == mode


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("rw", "'rw' is no mode; write the permissions in octal, such as 0o600"),
        ("", "'' is no mode"),
        (600, "is 0o1130, not within .* did you mean 0o600"),
        (-1, "not within"),
        (0o400, "keeps its owner out"),
    ],
)
def test_modes_that_cannot_be_meant(value: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        validate_mode(value)


@pytest.mark.parametrize("value", [True, 1.5, None])
def test_modes_of_other_types(value: Any) -> None:
    with pytest.raises(TypeError, match="is a number such as 0o600"):
        validate_mode(value)
