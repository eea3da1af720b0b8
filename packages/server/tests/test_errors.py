"""The exceptions: what they carry, and what catches them."""

from gunicorn.errors import AppImportError, ConfigError, HaltServer, SettingError
from gunicorn.settings.absent import UnknownSetting


def test_halting_is_caught_by_nobody_who_catches_exceptions() -> None:
    halt = HaltServer("no reason", 5)
    assert not isinstance(halt, Exception)
    assert (halt.reason, halt.exit_status) == ("no reason", 5)
    assert str(halt) == "<HaltServer 'no reason' 5>"
    assert HaltServer("x").exit_status == 1


def test_the_tree() -> None:
    assert issubclass(SettingError, ConfigError)
    assert issubclass(UnknownSetting, SettingError)
    assert issubclass(UnknownSetting, AttributeError)
    assert not issubclass(AppImportError, ConfigError)
    error = SettingError("workers", "too many")
    assert (error.setting, str(error)) == ("workers", "too many")
