"""The dirty app that live.mjs calls."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gunicorn.dirty import DirtyApp


class Calls(DirtyApp):
    def add(self, a: int, b: int) -> int:
        return a + b

    def echo(self, value: Any) -> Any:
        return value

    def count(self, up_to: int) -> Iterator[int]:
        yield from range(up_to)

    def fail(self, why: str) -> None:
        raise ValueError(why)
