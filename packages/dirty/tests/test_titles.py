"""Process titles, with and without setproctitle."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from gunicorn.dirty.titles import set_title, show_through


def test_the_title_names_role_and_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    titles: list[str] = []
    fake = ModuleType("setproctitle")
    fake.setproctitle = titles.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "setproctitle", fake)
    set_title("shop", "dirty-worker")
    assert titles == ["gunicorn: dirty-worker [shop]"]


def test_without_the_library_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "setproctitle", None)
    set_title("shop", "dirty-worker")


def test_the_server_shows_titles_where_there_is_one() -> None:
    titles: list[str] = []
    show_through(titles.append)
    try:
        set_title("shop", "dirty-worker")
    finally:
        show_through(None)
    assert titles == ["dirty-worker [shop]"]
