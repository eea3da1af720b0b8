"""The contributed settings: shape, defaults and validation."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from gunicorn.dirty.settings import SETTINGS

BY_NAME = {setting["name"]: setting for setting in SETTINGS}


def test_names_flags_and_defaults() -> None:
    table = {name: (s.get("cli"), s["default"]) for name, s in BY_NAME.items() if not callable(s["default"])}
    assert table == {
        "dirty_apps": (["--dirty-app"], []),
        "dirty_workers": (["--dirty-workers"], 0),
        "dirty_timeout": (["--dirty-timeout"], 300),
        "dirty_threads": (["--dirty-threads"], 1),
        "dirty_graceful_timeout": (["--dirty-graceful-timeout"], 30),
        "dirty_cancel_grace": (["--dirty-cancel-grace"], 5.0),
        "dirty_queue_size": (["--dirty-queue-size"], 0),
        "dirty_shared_memory": (["--dirty-shared-memory"], 64 * 1024 * 1024),
        "dirty_start_method": (["--dirty-start-method"], "fork"),
        "dirty_stash_file": (["--dirty-stash-file"], None),
        "dirty_stash_interval": (["--dirty-stash-interval"], 30.0),
    }


@pytest.mark.parametrize(
    ("name", "count"),
    [("on_dirty_starting", 1), ("dirty_post_fork", 2), ("dirty_worker_init", 1), ("dirty_worker_exit", 2)],
)
def test_hooks_take_what_they_are_given(name: str, count: int) -> None:
    assert BY_NAME[name]["validator"] == f"callable:{count}"
    default = BY_NAME[name]["default"]
    assert len(inspect.signature(default).parameters) == count
    assert default(*range(count)) is None


def test_each_says_what_it_does() -> None:
    for setting in SETTINGS:
        assert setting["section"] in ("Dirty Arbiters", "Dirty Arbiter Hooks")
        assert len(setting["desc"]) > 30


def test_apps() -> None:
    validate = BY_NAME["dirty_apps"]["validator"]
    assert validate(None) == []
    assert validate("m:A") == ["m:A"]
    assert validate([" m:A ", "", "m:B:2"]) == ["m:A", "m:B:2"]
    for wrong in (["m"], ["m:A:0"], ["m:A", "m:A:2"]):
        with pytest.raises(ValueError, match="dirty app"):
            validate(wrong)
    for wrong_type in (5, [5], {"m:A": 1}):
        with pytest.raises(TypeError, match="must be a list"):
            validate(wrong_type)


@pytest.mark.parametrize(
    ("name", "value"), [("dirty_threads", 0), ("dirty_cancel_grace", -1), ("dirty_cancel_grace", "inf")]
)
def test_numbers_out_of_range(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=str(value)):
        BY_NAME[name]["validator"](value)


def test_numbers() -> None:
    assert BY_NAME["dirty_threads"]["validator"]("4") == 4
    assert BY_NAME["dirty_cancel_grace"]["validator"]("0.5") == 0.5
