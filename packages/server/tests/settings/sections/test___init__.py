"""All sections together: every setting once, with a class of its own, accepted as its own default."""

from gunicorn.config import Config
from gunicorn.settings.sections import CLASSES, MODULES


def test_each_setting_is_declared_once() -> None:
    names = [declaration["name"] for module in MODULES for declaration in module.SETTINGS]
    assert len(names) == len(set(names)) == len(CLASSES)


def test_flags_are_declared_once() -> None:
    flags = [flag for module in MODULES for declaration in module.SETTINGS for flag in declaration.get("cli", ())]
    assert len(flags) == len(set(flags))


def test_every_value_is_accepted_again() -> None:
    cfg = Config()
    for name, setting in cfg.settings.items():
        value = setting.get()
        if value is not None:
            cfg.set(name, value)
            assert setting.get() == value
