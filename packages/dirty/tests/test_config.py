"""The configuration of a pool, from the server's and over the side channel."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.dirty.config import AppSpec, PoolConfig
from gunicorn.dirty.errors import DirtyAppError
from gunicorn.dirty.settings import SETTINGS


def make_cfg(**values: Any) -> Any:
    return SimpleNamespace(**{setting["name"]: setting["default"] for setting in SETTINGS}, proc_name="p").__class__(
        **{**{setting["name"]: setting["default"] for setting in SETTINGS}, "proc_name": "p", **values}
    )


def test_from_the_servers_configuration() -> None:
    def hook(arbiter: Any) -> None:
        pass

    cfg = make_cfg(
        dirty_apps=["m:A", "m:B:2"], dirty_workers=3, dirty_threads=4, dirty_timeout=0, on_dirty_starting=hook
    )
    config = PoolConfig.from_cfg(cfg, log="log")
    assert config.apps == (AppSpec("m:A"), AppSpec("m:B", 2))
    assert (config.workers, config.threads, config.timeout) == (3, 4, 0)
    assert (config.cfg, config.log, config.on_starting) == (cfg, "log", hook)


def test_what_can_be_reloaded_travels_as_json() -> None:
    old = PoolConfig(apps=(AppSpec("m:A"),), workers=1, proc_name="kept")
    new = PoolConfig(apps=(AppSpec("m:B", 2),), workers=5, threads=2, timeout=1, cancel_grace=0.5, queue_size=9)
    merged = old.with_data(json.loads(json.dumps(new.to_data())))
    assert merged.to_data() == new.to_data()
    assert merged.proc_name == new.proc_name


@pytest.mark.parametrize("values", [{"workers": 0}, {"threads": 0}, {"apps": (AppSpec("m:A"), AppSpec("m:A", 1))}])
def test_impossible_pools_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(DirtyAppError):
        PoolConfig(**{"apps": (AppSpec("m:A"),), **values})
