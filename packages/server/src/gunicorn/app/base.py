"""BaseApplication and Application: what an embedder subclasses to run this server inside a program of its own.

    class Standalone(BaseApplication):
        def load_config(self): self.cfg.set("workers", 2)
        def load(self): return my_wsgi_callable
    Standalone().run()

Application adds the command line and configuration files; ``app.wsgiapp`` is the ``gunicorn`` command itself.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from gunicorn import config, sock, util
from gunicorn.errors import AppImportError, ConfigError
from gunicorn.settings import sources
from gunicorn.settings.config import CMD_ARGS_VARIABLE
from gunicorn.supervision.service import Service, discover


class BaseApplication:
    """A configuration, and something to serve with it."""

    cfg: config.Config

    def __init__(self, usage: str | None = None, prog: str | None = None) -> None:
        util.open_standard_descriptors()
        self.usage = usage
        self.prog = prog
        self.callable: Any = None
        self.logger: Any = None
        self._services: list[Service] | None = None
        self.do_load_config()

    # For subclasses ------------------------------------------------------------------------------------------------

    def load_config(self) -> None:
        """Fill ``self.cfg``, which holds the defaults."""
        raise NotImplementedError(f"{type(self).__name__} must define load_config()")

    def load(self) -> Any:
        """Return the application. Called in each worker, or once in the master with ``preload_app``."""
        raise NotImplementedError(f"{type(self).__name__} must define load()")

    def init(
        self, parser: argparse.ArgumentParser, opts: argparse.Namespace, args: list[str]
    ) -> Mapping[str, Any] | None:
        """Look at the command line; the settings that are returned are overridden by all other sources."""
        return None

    # For the master ------------------------------------------------------------------------------------------------

    def do_load_config(self) -> None:
        """Load the configuration for the first time; an error is printed, and ends the process with status 1."""
        try:
            self.load_default_config()
            self.load_config()
        except Exception as exc:
            if not isinstance(exc, ConfigError):
                traceback.print_exc()
            print(f"\nError: {exc}", file=sys.stderr, flush=True)
            sys.exit(1)

    def load_default_config(self) -> None:
        """A fresh Config with the defaults, and with the settings of the installed services."""
        if self._services is None:
            self._services = discover()
        self.cfg = config.Config(self.usage, prog=self.prog, services=self._services)

    def reload(self) -> None:
        """Load the configuration again; when that fails, the one that is in use stays.

        :raises ConfigError: with the reason.
        """
        old = self.cfg
        try:
            self.load_default_config()
            self.load_config()
        except (Exception, SystemExit) as exc:  # SystemExit: argparse has printed its own error
            self.cfg = old
            if isinstance(exc, ConfigError):
                raise
            raise ConfigError(f"the configuration cannot be loaded: {type(exc).__name__}: {exc}") from exc

    def wsgi(self) -> Any:
        """The application, loaded when it is asked for the first time."""
        if self.callable is None:
            self.callable = self.load()
        return self.callable

    def run(self) -> None:
        """Serve; does not return."""
        from gunicorn.arbiter import Arbiter

        try:
            Arbiter(self).run()
        except (RuntimeError, ConfigError, AppImportError) as exc:
            print(f"\nError: {exc}\n", file=sys.stderr, flush=True)
            sys.exit(1)


class Application(BaseApplication):
    """An application with a command line, GUNICORN_CMD_ARGS and a configuration file."""

    def chdir(self) -> None:
        """Go to the directory of the setting ``chdir``, and let modules be imported from there."""
        os.chdir(self.cfg.chdir)
        if self.cfg.chdir not in sys.path:
            sys.path.insert(0, self.cfg.chdir)

    def load_config(self) -> None:
        parser = self.cfg.parser()
        opts = parser.parse_args(self.command_line())
        from_init = self.init(parser, opts, opts.args)
        env_opts = self._parse_environment(parser)

        self.chdir()
        if from_init:
            sources.apply(self.cfg, from_init, "the application's init()")
        location = opts.config or env_opts.config or config.get_default_config_file()
        if location:
            sources.apply_config_file(self.cfg, location)
        sources.apply(self.cfg, sources.arguments(env_opts), "GUNICORN_CMD_ARGS")
        sources.apply(self.cfg, sources.arguments(opts), "command line")
        self.chdir()

    def _parse_environment(self, parser: argparse.ArgumentParser) -> argparse.Namespace:
        """What GUNICORN_CMD_ARGS says; errors name it.

        :raises ConfigError: when it is not a command line.
        """
        try:
            words = self.cfg.get_cmd_args_from_env()
        except ValueError as exc:
            text = os.environ.get(CMD_ARGS_VARIABLE)
            raise ConfigError(f"{CMD_ARGS_VARIABLE}={text!r} cannot be split into words: {exc}") from exc
        error = parser.error
        parser.error = lambda message: error(f"{CMD_ARGS_VARIABLE}: {message}")  # type: ignore[method-assign]
        try:
            return parser.parse_args(words)
        finally:
            parser.error = error  # type: ignore[method-assign]

    def command_line(self) -> Sequence[str]:
        """The words that the command line parser gets."""
        return sys.argv[1:]

    def run(self) -> None:
        """Serve, or only check and print what the settings ask for; does not return."""
        for path in reversed((self.cfg.pythonpath or "").split(",")):
            if path.strip():
                absolute = os.path.abspath(path.strip())
                if absolute not in sys.path:
                    sys.path.insert(0, absolute)
        if self.cfg.print_config:
            print(self.cfg)
        if self.cfg.print_config or self.cfg.check_config:
            self._check()
        if self.cfg.daemon and "GUNICORN_FD" not in os.environ:  # a new master after USR2 is a daemon already
            util.daemonize(self.cfg.enable_stdio_inheritance)
        super().run()

    def _check(self) -> None:
        """Try what a start would do but listen: the settings' meaning, their classes and files, the application; exit
        with 0 or 1.
        """
        try:
            self.cfg.worker_class  # noqa: B018 - reading it imports it
            self.cfg.address  # noqa: B018 - and this parses it
            os.environ.update(self.cfg.env)
            logger_class = self.cfg.logger_class
            if not self.cfg.capture_output:  # which would take the words that follow
                logger_class(self.cfg)
            if self.cfg.is_ssl:
                sock.ssl_context(self.cfg)
            self.load()
        except Exception as exc:
            if not isinstance(exc, (ConfigError, AppImportError, RuntimeError)):
                traceback.print_exc()
            print(f"\nError while loading the application: {exc}", file=sys.stderr, flush=True)
            sys.exit(1)
        sys.exit(0)
