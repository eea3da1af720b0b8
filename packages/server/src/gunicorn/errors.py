"""Exceptions of the master and of the configuration; imported by applications, hooks and every layer of the server.

BaseException
└── HaltServer          end the master: its reason is logged, its status becomes the exit status
Exception
├── AppImportError      the application cannot be imported or is none
└── ConfigError         a configuration file, a flag or a setting is wrong
    └── SettingError    one setting of it: carries the name of the setting
"""


class HaltServer(BaseException):
    """Raised in the master to stop serving. A BaseException, so that no ``except Exception`` keeps the master alive."""

    def __init__(self, reason: str, exit_status: int = 1) -> None:
        super().__init__(reason, exit_status)
        self.reason = reason
        self.exit_status = exit_status

    def __str__(self) -> str:
        return f"<HaltServer {self.reason!r} {self.exit_status}>"


class AppImportError(Exception):
    """The application named by ``module:app`` cannot be loaded; the message says which part failed and why."""


class ConfigError(Exception):
    """The configuration cannot be used; the message names the input, the reason and the way out."""


class SettingError(ConfigError):
    """One setting is wrong, unknown, or belongs to a distribution that is not installed."""

    def __init__(self, setting: str, message: str) -> None:
        super().__init__(message)
        self.setting = setting
