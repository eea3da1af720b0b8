"""Runs the gunicorn command with the services that the environment variable TEST_SERVICES names, and no installed ones.

So that tests of the server alone neither need nor meet the other distributions. ``module:Class`` names, separated by
commas.
"""

import os

import gunicorn.app.base as base
from gunicorn import util
from gunicorn.app.wsgiapp import run
from gunicorn.supervision.service import in_start_order


def _services() -> object:
    names = [name for name in os.environ.get("TEST_SERVICES", "").split(",") if name]
    return in_start_order([util.load_class(name, section="service")() for name in names])


base.discover = _services  # type: ignore[assignment,attr-defined]

if __name__ == "__main__":
    run(prog="gunicorn")
