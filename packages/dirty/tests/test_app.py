"""Specs, loading, and the dispatch of the base class."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from gunicorn.dirty import DirtyApp
from gunicorn.dirty.app import (
    get_app_workers_attribute,
    load_dirty_app,
    load_dirty_app_class,
    load_dirty_apps,
    parse_dirty_app_spec,
    workers_attribute,
)
from gunicorn.dirty.errors import DirtyAppError, DirtyAppNotFoundError


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make a module importable for one test: `module("name", source)`."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made: list[str] = []

    def make(name: str, source: str) -> str:
        (tmp_path / f"{name}.py").write_text(source)
        made.append(name)
        return name

    yield make
    for name in made:
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("spec", "parsed"),
    [
        ("m:A", ("m:A", None)),
        ("a.b.c:A", ("a.b.c:A", None)),
        ("m:A:3", ("m:A", 3)),
        (" m : A : 2 ", ("m:A", 2)),
        ("m:Outer.Inner", ("m:Outer.Inner", None)),
    ],
)
def test_specs(spec: str, parsed: tuple[str, int | None]) -> None:
    assert parse_dirty_app_spec(spec) == parsed


@pytest.mark.parametrize("spec", ["", "m", ":A", "m:", "m:A:", "m:A:0", "m:A:-1", "m:A:x", "m:A:1:2", "m-n:A", "m:A:٣"])
def test_malformed_specs_are_named(spec: str) -> None:
    with pytest.raises(DirtyAppError) as caught:
        parse_dirty_app_spec(spec)
    assert repr(spec) in str(caught.value)


def test_loading(module: Any) -> None:
    name = module("loads", "from gunicorn.dirty import DirtyApp\nclass A(DirtyApp):\n    class B(DirtyApp): pass\n")
    assert type(load_dirty_app(f"{name}:A")).__name__ == "A"
    assert sorted(load_dirty_apps([f"{name}:A", f"{name}:A.B"])) == [f"{name}:A", f"{name}:A.B"]


def test_a_class_of_another_kind_will_do_if_its_instances_can_be_called(module: Any) -> None:
    name = module("other", "class A:\n    def __call__(self, action): return action\nclass B: pass\nc = 1\n")
    assert load_dirty_app(f"{name}:A")("x") == "x"
    with pytest.raises(DirtyAppError, match="no __call__"):
        load_dirty_app(f"{name}:B")
    with pytest.raises(DirtyAppError, match="must be a class"):
        load_dirty_app(f"{name}:c")


def test_what_is_missing_is_named(module: Any) -> None:
    with pytest.raises(DirtyAppNotFoundError, match="no module named 'nowhere_at_all'"):
        load_dirty_app_class("nowhere_at_all.x:A")
    name = module("lacks", "import nowhere_at_all\n")
    with pytest.raises(DirtyAppError, match="cannot be loaded") as caught:
        load_dirty_app_class(f"{name}:A")
    assert not isinstance(caught.value, DirtyAppNotFoundError)
    name = module("empty", "")
    with pytest.raises(DirtyAppNotFoundError, match="module empty has no A"):
        load_dirty_app_class(f"{name}:A")


def test_what_an_import_or_a_constructor_raises_comes_with_its_traceback(module: Any) -> None:
    name = module("fails", "1 / 0\n")
    with pytest.raises(DirtyAppError, match="ZeroDivisionError") as caught:
        load_dirty_app(f"{name}:A")
    assert "fails.py" in (caught.value.traceback or "")
    name = module("refuses", "class A:\n    def __init__(self): 1 / 0\n    def __call__(self, action): pass\n")
    with pytest.raises(DirtyAppError, match="ZeroDivisionError"):
        load_dirty_app(f"{name}:A")


def test_the_workers_attribute(module: Any) -> None:
    name = module("counted", "from gunicorn.dirty import DirtyApp\nclass A(DirtyApp): workers = 2\nclass B(A): pass\n")
    assert workers_attribute(f"{name}:B") == 2
    name = module("miscounted", "from gunicorn.dirty import DirtyApp\nclass A(DirtyApp): workers = 0\n")
    with pytest.raises(DirtyAppError, match="workers is 0"):
        workers_attribute(f"{name}:A")


def test_the_workers_attribute_is_learnt_without_importing_here(module: Any, capfd: pytest.CaptureFixture[str]) -> None:
    source = "print('noise')\nfrom gunicorn.dirty import DirtyApp\nclass A(DirtyApp): workers = 3\n"
    name = module("elsewhere", source)
    assert get_app_workers_attribute(f"{name}:A") == 3
    assert name not in sys.modules
    assert capfd.readouterr().out == ""
    with pytest.raises(DirtyAppNotFoundError):
        get_app_workers_attribute(f"{name}:Z")
    name = module("exits", "import os; os._exit(9)")
    with pytest.raises(DirtyAppError, match="code 9"):
        get_app_workers_attribute(f"{name}:A")


class App(DirtyApp):
    value = 5

    def double(self, number: int, *, plus: int = 0) -> int:
        return 2 * number + plus

    def _secret(self) -> None:
        raise AssertionError


def test_dispatch() -> None:
    app = App()
    assert app("double", 2, plus=1) == 5
    for action in ("_secret", "init", "close", "value", "missing", "__init__", ""):
        with pytest.raises(DirtyAppError, match="has no action"):
            app(action)
    assert app.workers is None
    assert os.getpid()
