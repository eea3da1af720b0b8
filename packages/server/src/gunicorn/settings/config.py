"""Config: every setting by name, fast to read, with what is derived from them. One instance per (re)load.

Read everywhere as ``cfg.workers``: values lie in the instance's ``__dict__``, so that a read is one dictionary look-up;
they get there whenever a Setting is set, whoever does it. Written by ``gunicorn.settings.sources`` and by embedders
(``cfg.set``).
"""

import argparse
import ipaddress
import os
import shlex
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gunicorn import __version__, util
from gunicorn.errors import ConfigError
from gunicorn.settings import absent
from gunicorn.settings.setting import Setting, class_from, make_settings

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
CMD_ARGS_VARIABLE = "GUNICORN_CMD_ARGS"


class Config:
    """All settings of one instance of the server."""

    settings: dict[str, Setting]

    def __init__(self, usage: str | None = None, prog: str | None = None, services: Iterable[Any] = ()) -> None:
        """
        :param usage: how the help describes the command line; :param prog: the name of the program there.
        :param services: the services (``gunicorn.supervision.service``) whose settings are added, and that the master
            starts.
        :raises ConfigError: when a service declares a setting wrongly or one that exists, or an environment variable
            that
            gives a default cannot be read.
        """
        values = self.__dict__
        values["usage"] = usage
        values["prog"] = prog or "gunicorn"
        values["services"] = tuple(services)
        values["settings"] = make_settings()
        values["_networks"] = {}
        for service in self.services:
            for declaration in service.settings:
                setting = class_from(declaration, register=False)()
                if setting.name in self.settings:
                    raise ConfigError(
                        f"the service {service.name!r} declares the setting {setting.name!r}, which exists"
                    )
                self.settings[setting.name] = setting
        for name, setting in self.settings.items():
            setting.changed = values.__setitem__
            values[name] = setting.get()

    # Values --------------------------------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        """Only for names that are not in ``__dict__``: there is no such setting.

        :raises UnknownSetting: an AttributeError; for known names it says what to install or that it is not there yet.
        """
        if name.startswith("__"):
            raise AttributeError(name)
        raise absent.unknown(name, self.__dict__.get("settings", ()))

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.settings:
            raise AttributeError(f"use cfg.set({name!r}, value), which validates the value")
        super().__setattr__(name, value)

    def set(self, name: str, value: Any) -> None:
        """Validate and store one setting.

        :raises UnknownSetting: an AttributeError, when there is no such setting here.
        :raises TypeError, ValueError: when the setting refuses the value.
        """
        if name not in self.settings:
            raise absent.unknown(name, self.settings)
        self.settings[name].set(value)

    def __str__(self) -> str:
        """All settings, one a line, sorted, as ``--print-config`` shows them."""
        width = max(map(len, self.settings))
        return "\n".join(f"{name:{width}} = {_readable(self.settings[name].value)}" for name in sorted(self.settings))

    # To another interpreter ----------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """For ``pickle``, by which a dirty worker that is a fresh interpreter gets it. Values go one by one, since some
        cannot (the hooks of a configuration file); the copy has the defaults of those."""
        return {
            "usage": self.usage,
            "prog": self.prog,
            "services": [type(service) for service in self.services],
            "values": {name: data for name in self.settings if (data := _pickled(self.__dict__[name])) is not None},
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        import pickle

        from gunicorn.settings import sections  # noqa: F401 - declares the settings, in an interpreter that is new

        self.__init__(state["usage"], state["prog"], [cls() for cls in state["services"]])  # type: ignore[misc]
        for name, data in state["values"].items():
            try:
                value = pickle.loads(data)  # noqa: S301 - what our own process wrote
            except Exception:
                continue  # of a module that is not to be found here
            if name in self.settings:
                self.settings[name].value = value  # was validated where it comes from
            self.__dict__[name] = value

    # The command line ----------------------------------------------------------------------------------------------

    def parser(self) -> argparse.ArgumentParser:
        """A parser for the command line and for GUNICORN_CMD_ARGS. A flag that was not given is None in its result."""
        parser = argparse.ArgumentParser(prog=self.prog, usage=self.usage)
        parser.add_argument(
            "-v",
            "--version",
            action="version",
            default=argparse.SUPPRESS,
            version=f"%(prog)s (version {__version__})",
            help="show program's version number and exit",
        )
        parser.add_argument("args", nargs="*", help=argparse.SUPPRESS)
        groups: dict[str, Any] = {}
        for setting in sorted(self.settings.values()):
            if setting.cli:
                if setting.section not in groups:
                    groups[setting.section] = parser.add_argument_group(setting.section)
                setting.add_option(groups[setting.section])
        absent.add_options(parser, self.settings)
        return parser

    def get_cmd_args_from_env(self) -> list[str]:
        """The words of GUNICORN_CMD_ARGS, split as a shell splits them."""
        return shlex.split(os.environ.get(CMD_ARGS_VARIABLE, ""))

    # Derived -------------------------------------------------------------------------------------------------------

    @property
    def worker_class_str(self) -> str:
        """The name of the worker class, as users wrote it; ``sync`` with more than one thread is ``gthread``."""
        uri = self.settings["worker_class"].get()
        if isinstance(uri, type):
            return uri.__name__
        return "gthread" if uri == "sync" and self.threads > 1 else str(uri)

    @property
    def worker_class(self) -> Any:
        """The worker class itself. Importing it may import a library that it needs.

        :raises ConfigError: when there is none of that name.
        """
        uri = self.settings["worker_class"].get()
        try:
            cls: Any = util.load_class(uri if isinstance(uri, type) else self.worker_class_str, section="worker")
        except ImportError as exc:
            raise ConfigError(f"worker_class {uri!r} cannot be used: {exc}") from exc
        if hasattr(cls, "setup"):
            cls.setup()
        return cls

    @property
    def logger_class(self) -> Any:
        """The logger class; with ``statsd_host`` and none set, the one that also counts.

        :raises ConfigError: when there is none of that name.
        """
        setting = self.settings["logger_class"]
        uri = setting.get()
        if uri == setting.default and self.settings["statsd_host"].get():
            uri = "gunicorn.instrument.statsd.Statsd"
        try:
            return util.load_class(uri, default="gunicorn.glogging.Logger", section="logger")
        except ImportError as exc:
            raise ConfigError(f"logger_class {uri!r} cannot be used: {exc}") from exc

    @property
    def address(self) -> "list[tuple[str, int] | str | int]":
        """What ``bind`` means, each as ``util.parse_address`` returns it.

        :raises ConfigError: for one that cannot be read.
        """
        try:
            return [util.parse_address(address) for address in self.settings["bind"].get()]
        except ValueError as exc:
            raise ConfigError(f"bind: {exc}") from exc

    @property
    def uid(self) -> int:
        return int(self.settings["user"].get())

    @property
    def gid(self) -> int:
        return int(self.settings["group"].get())

    @property
    def proc_name(self) -> str:
        """What process titles carry in brackets: ``proc_name``, or the application's name."""
        return str(self.settings["proc_name"].get() or self.settings["default_proc_name"].get())

    def own_hook(self, name: str) -> Callable[..., Any] | None:
        """The hook that the user set; None for the default, which does nothing worth a call per request."""
        hook: Callable[..., Any] = self.settings[name].get()
        return None if hook is self.settings[name].default else hook

    @property
    def env(self) -> dict[str, str]:
        """``raw_env`` as a mapping.

        :raises ConfigError: for an entry that is not NAME=value.
        """
        result = {}
        for entry in self.settings["raw_env"].get():
            name, equals, value = entry.partition("=")
            if not equals or not name:
                raise ConfigError(f"raw_env (--env) {entry!r} is not NAME=value")
            result[name] = value
        return result

    @property
    def is_ssl(self) -> bool:
        """Whether connections are encrypted by the server."""
        return bool(self.certfile or self.keyfile)

    @property
    def ssl_options(self) -> dict[str, Any]:
        """The settings of the section SSL, by name."""
        return {name: setting.get() for name, setting in self.settings.items() if setting.section == "SSL"}

    def forwarded_allow_networks(self) -> "tuple[Network, ...]":
        """``forwarded_allow_ips`` parsed, without ``*``; parsed once per value."""
        return self._parsed_networks("forwarded_allow_ips")

    def proxy_allow_networks(self) -> "tuple[Network, ...]":
        """``proxy_allow_ips`` parsed, without ``*``; parsed once per value."""
        return self._parsed_networks("proxy_allow_ips")

    def _parsed_networks(self, name: str) -> "tuple[Network, ...]":
        texts = tuple(getattr(self, name))
        cached = self._networks.get(name)
        if cached is None or cached[0] != texts:
            networks = tuple(ipaddress.ip_network(text) for text in texts if text != "*")
            cached = self._networks[name] = (texts, networks)
        return cached[1]  # type: ignore[no-any-return]


def _pickled(value: Any) -> bytes | None:
    import pickle  # which no server needs that has no such workers

    try:
        return pickle.dumps(value)
    except Exception:
        return None


def _readable(value: Any) -> str:
    """A value as a line of ``--print-config``: functions and classes by name, the rest as it prints."""
    if callable(value):
        return f"<{value.__module__}.{getattr(value, '__qualname__', type(value).__name__)}()>"
    return str(value)


def get_default_config_file() -> str | None:
    """``./gunicorn.conf.py`` as an absolute path, when there is one."""
    path = os.path.join(os.path.abspath(os.getcwd()), "gunicorn.conf.py")
    return path if os.path.exists(path) else None


__all__: Sequence[str] = ("CMD_ARGS_VARIABLE", "Config", "get_default_config_file")
