"""The ``gunicorn`` command: serve the application that the command line or ``wsgi_app`` names."""

import argparse
from typing import Any

from gunicorn import util
from gunicorn.app.base import Application
from gunicorn.errors import ConfigError


class WSGIApplication(Application):
    """Serves ``module:app``, WSGI or ASGI as the worker class has it."""

    app_uri: str | None = None

    def init(self, parser: argparse.ArgumentParser, opts: argparse.Namespace, args: list[str]) -> None:
        """The first word of the command line that is no flag names the application."""
        self.app_uri = args[0] if args else None
        if len(args) > 1:
            parser.error(f"one application is served, but {len(args)} are named: {' '.join(args)}")

    def load_config(self) -> None:
        super().load_config()
        if self.app_uri is None:
            self.app_uri = self.cfg.wsgi_app
        if self.app_uri is None:
            raise ConfigError(
                "no application is named; write 'gunicorn MODULE:APP', or set wsgi_app in the configuration file"
            )
        if self.cfg.default_proc_name == "gunicorn":
            self.cfg.set("default_proc_name", self.app_uri)

    def load(self) -> Any:
        assert self.app_uri is not None
        return util.import_app(self.app_uri)


def run(prog: str | None = None) -> None:
    """The entry point of the command ``gunicorn``; does not return."""
    WSGIApplication("%(prog)s [OPTIONS] [APP_MODULE]", prog=prog).run()
