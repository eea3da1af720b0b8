"""How the studio is served. `gunicorn` reads this file by itself when it is started in this folder; serve.py names it.

Only the worker class differs between the two variants (gthread for Flask, asgi for Starlette): it is given on the
command line, as is the app.
"""

import os
import sys
import tempfile
from typing import Any

here = os.path.dirname(os.path.abspath(__file__))

chdir = here  # so that heavy.py and the front-ends can be imported
bind = "127.0.0.1:0"  # port 0: the system picks a free one
workers = 2
threads = 4  # of each gthread worker; a story holds a thread while it streams

# The dirty pool: two processes for the heavy work. Pictures lives in both, Storyteller in one (see heavy.py).
dirty_apps = ["heavy:Pictures", "heavy:Storyteller"]
dirty_workers = 2
dirty_threads = 4  # four requests at a time in each of them
dirty_timeout = 60  # seconds

loglevel = "warning"  # so that the address stays in sight; "info" tells of every process that comes and goes

# Where gunicornc looks inside. The master's pid stays the same over reloads, and so does this path.
control_socket = os.path.join(tempfile.gettempdir(), f"studio-{os.getpid()}.ctl")


def when_ready(server: Any) -> None:
    """Say where the page is. The master calls this once it listens."""
    host, port = server.LISTENERS[0].getsockname()[:2]
    look = f"{os.path.join(os.path.dirname(sys.executable), 'gunicornc')} -s {control_socket}"
    print(
        f"\n  The studio is open:  http://{host}:{port}\n"
        f"  Look inside:         {look} show workers\n"
        f"                       {look} show dirty\n"
        "  Close it:            Ctrl-C\n",
        flush=True,
    )
