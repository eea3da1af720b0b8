"""Serve the studio: `python serve.py flask` or `python serve.py starlette`, on a free port unless --port says which.

It becomes the `gunicorn` command that it prints, so what you see is the real server with a real configuration file.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
VARIANTS = {
    "flask": ["--worker-class", "gthread", "flask_app:app"],
    "starlette": ["--worker-class", "asgi", "starlette_app:app"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve the studio, a page whose heavy work runs in a dirty pool.")
    parser.add_argument("variant", choices=VARIANTS, help="the web framework")
    parser.add_argument("--port", type=int, default=0, help="default: any free port")
    options = parser.parse_args()

    arguments = ["--config", "gunicorn.conf.py", "--bind", f"127.0.0.1:{options.port}", *VARIANTS[options.variant]]
    print(f"$ cd {shlex.quote(HERE)} && gunicorn {shlex.join(arguments)}", flush=True)
    os.chdir(HERE)
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", *arguments])  # this process goes on as gunicorn


if __name__ == "__main__":
    main()
