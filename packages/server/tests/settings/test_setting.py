"""Setting and its declaration by subclassing or as data."""

import argparse
from collections.abc import Iterator
from typing import Any

import pytest
from gunicorn import config
from gunicorn.errors import ConfigError
from gunicorn.settings.setting import KNOWN_SETTINGS, Setting, class_from, make_settings


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    before = list(KNOWN_SETTINGS)
    yield
    KNOWN_SETTINGS[:] = before


def test_a_subclass_is_known_to_the_next_config() -> None:
    class Colour(config.Setting):
        name = "colour"
        section = "Colours"
        cli = ["--colour"]
        validator = config.validate_string
        default = "grey"
        desc = """\
            The colour.

            It may be any.
            """

    assert KNOWN_SETTINGS[-1] is Colour
    cfg = config.Config()
    assert cfg.colour == "grey"
    assert Colour.short == "The colour."
    assert Colour.desc == "The colour.\n\nIt may be any."
    assert cfg.parser().parse_args(["--colour", "red"]).colour == "red"
    cfg.set("colour", " blue ")
    assert cfg.colour == "blue"


def test_a_hook_can_be_declared_in_the_class_body() -> None:
    class OnPaint(config.Setting):
        name = "on_paint"
        section = "Colours"
        validator = config.validate_callable(1)
        type = callable
        desc = "Called with the colour."

        def on_paint(colour: Any) -> Any:  # noqa: N805
            return colour

        default = staticmethod(on_paint)

    assert config.Config().on_paint("red") == "red"


def test_a_later_declaration_of_a_name_wins() -> None:
    class Workers(config.Setting):
        name = "workers"
        section = "Worker Processes"
        validator = config.validate_pos_int
        default = 17
        desc = "More."

    assert config.Config().workers == 17
    assert make_settings()["workers"].get() == 17
    assert "workers" not in make_settings(ignore=["workers"])


def test_set_validates_and_tells() -> None:
    seen: list[Any] = []
    setting = config.make_settings()["workers"]
    setting.changed = lambda name, value: seen.append((name, value))
    setting.set("3")
    assert setting.get() == setting.value == 3
    assert seen == [("workers", 3)]
    with pytest.raises(ValueError, match="must not be negative"):
        setting.set(-1)
    assert setting.copy().get() == 3


def test_a_setting_without_a_validator_cannot_be_set() -> None:
    class Bare(config.Setting):
        name = "bare"
        desc = "Nothing."

    with pytest.raises(TypeError, match="'bare' has no validator"):
        Bare().set(1)


def test_the_environment_gives_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "6")
    assert config.Config().workers == 6
    monkeypatch.setenv("WEB_CONCURRENCY", "")
    assert config.Config().workers == 1
    monkeypatch.setenv("WEB_CONCURRENCY", "lots")
    with pytest.raises(ConfigError, match="WEB_CONCURRENCY='lots' cannot set 'workers'"):
        config.Config()


def test_flags_of_each_kind() -> None:
    def parse(declaration: dict[str, Any], *words: str) -> Any:
        parser = argparse.ArgumentParser()
        base = {
            "name": "x",
            "section": "S",
            "cli": ["--x"],
            "default": None,
            "validator": "string",
            "desc": "50% of x.",
        }
        class_from({**base, **declaration}, register=False)().add_option(parser)
        assert "50% of x." in parser.format_help()
        return parser.parse_args(words).x

    assert parse({}) is None
    assert parse({}, "--x", "1") == "1"
    assert parse({"type": int}, "--x", "1") == 1
    assert parse({"action": "append"}, "--x", "1", "--x", "2") == ["1", "2"]
    assert parse({"action": "store_true", "validator": "bool"}, "--x") is True
    assert parse({"action": "store_const", "const": "never"}, "--x") == "never"
    assert parse({"nargs": "?", "const": "auto"}, "--x") == "auto"
    with pytest.raises(AssertionError):
        parse({"cli": None})


def test_declared_classes_have_camel_case_names_and_can_stay_unregistered() -> None:
    declaration = {"name": "on_my_way", "section": "S", "default": 1, "validator": "pos_int", "desc": "D."}
    before = len(KNOWN_SETTINGS)
    cls = class_from(declaration, register=False)
    assert cls.__name__ == "OnMyWay"
    assert len(KNOWN_SETTINGS) == before
    assert issubclass(cls, Setting)
    assert class_from({**declaration, "class_name": "Other"}).__name__ == "Other"
    assert len(KNOWN_SETTINGS) == before + 1


def test_a_wrong_declaration_says_what_is_wrong() -> None:
    with pytest.raises(ConfigError, match="'x' is wrong: 'validator'"):
        class_from({"name": "x"})
    with pytest.raises(ConfigError, match="'x' is wrong: 'nothing' is unknown"):
        class_from({"name": "x", "validator": "nothing"})


def test_settings_sort_by_section_and_declaration() -> None:
    names = [setting.name for setting in sorted(make_settings().values()) if setting.section == "Worker Processes"]
    assert names[:3] == ["workers", "worker_class", "threads"]
    assert "value" in repr(make_settings()["workers"])
