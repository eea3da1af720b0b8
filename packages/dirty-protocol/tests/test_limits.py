from __future__ import annotations

from typing import Any

import pytest
from gunicorn_dirty_protocol import DEFAULT_LIMITS, V1_LIMITS, Limits


@pytest.mark.parametrize("name", ["max_payload", "max_length", "max_items", "max_depth"])
@pytest.mark.parametrize("value", [-1, 2**32])
def test_a_limit_that_the_wire_cannot_express_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        Limits(**{name: value})
    most: dict[str, Any] = {name: 2**32 - 1}
    assert getattr(Limits(**most), name) == 2**32 - 1


def test_only_the_defaults_carry_extensions() -> None:
    assert DEFAULT_LIMITS.extensions
    assert not V1_LIMITS.extensions
    assert Limits(extensions=False) == V1_LIMITS
