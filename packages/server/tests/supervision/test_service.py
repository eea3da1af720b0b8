"""Discovery of services by entry point, and their order."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from gunicorn.errors import ConfigError
from gunicorn.supervision.service import discover, in_start_order

GROUP = "gunicorn.test.services"


def install(directory: Path, monkeypatch: pytest.MonkeyPatch, entries: str, module: str = "") -> None:
    """A distribution in ``directory`` with entry points, on the path of this test."""
    info = directory / "some_services-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-services\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{entries}\n")
    (directory / "some_services.py").write_text(module)
    monkeypatch.syspath_prepend(directory)
    monkeypatch.delitem(sys.modules, "some_services", raising=False)


def test_each_entry_point_is_called_and_comes_in_start_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = "".join(f"class {name.title()}:\n    name = {name!r}\n" for name in ("control", "dirty", "extra"))
    entries = "\n".join(f"{name} = some_services:{name.title()}" for name in ("extra", "control", "dirty"))
    install(tmp_path, monkeypatch, entries, module)
    assert [service.name for service in discover(GROUP)] == ["dirty", "control", "extra"]


def test_no_entry_points_are_no_services() -> None:
    assert discover("gunicorn.test.nothing") == []


def test_a_service_that_cannot_be_loaded_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "broken = some_services:Missing")
    with pytest.raises(ConfigError, match=r"'broken' is installed \(some_services:Missing\) but cannot be loaded"):
        discover(GROUP)


def test_unknown_services_follow_by_name() -> None:
    services = [SimpleNamespace(name=name) for name in ("zeta", "control", "alpha", "dirty")]
    assert [service.name for service in in_start_order(services)] == ["dirty", "control", "alpha", "zeta"]
