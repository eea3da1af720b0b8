"""``python -m gunicorn`` is the command ``gunicorn``."""

import subprocess
import sys

from gunicorn import __version__


def test_it_goes_by_the_name_of_the_command() -> None:
    output = subprocess.run(
        [sys.executable, "-m", "gunicorn", "--version"], check=True, capture_output=True, text=True
    ).stdout
    assert output == f"gunicorn (version {__version__})\n"


def test_importing_it_runs_nothing() -> None:
    subprocess.run([sys.executable, "-c", "import gunicorn.__main__"], check=True, timeout=20)
