"""Runs a gevent worker without a master: ``greenlet_site.py '{"policy": …, "settings": …, "tick": …, …}'``.

Prints ``port N``, and logs to standard error. In a process of its own, since gevent patches the standard library.
"""

import json
import logging
import os
import socket
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from gunicorn import sock
from gunicorn.config import Config
from gunicorn.drivers import admission, greenlet
from gunicorn.glogging import Logger
from gunicorn.http.policy import Policy
from gunicorn.util import import_app
from gunicorn.workers.ggevent import GeventWorker


class App:
    """What the master hands to a worker to load."""

    worker: Any

    def wsgi(self) -> Any:
        app = import_app(json.loads(sys.argv[1])["app"])
        sys.modules["wsgi_apps"].slot = self.worker.scoreboard  # type: ignore[attr-defined]
        return app


def main() -> None:
    options = json.loads(sys.argv[1])
    cfg = Config()
    for name, value in {"loglevel": "debug", "user": os.getuid(), "group": os.getgid(), **options["settings"]}.items():
        cfg.set(name, value)
    policy = Policy.from_config(cfg)
    for name, value in options["policy"].items():
        setattr(policy, name, value)
    setattr(greenlet, "TICK", options["tick"])  # noqa: B010 - it is final for everyone else
    if options["patience"]:
        setattr(admission, "PATIENCE", (options["patience"],) * len(admission.PATIENCE))  # noqa: B010
    setattr(Policy, "from_config", lambda cfg: policy)  # noqa: B010
    if cfg.is_ssl:
        sock.ssl_context(cfg)  # as the master does, before anything is patched
    log = Logger(cfg)
    assert log.error_log.isEnabledFor(logging.DEBUG)
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        worker = GeventWorker(1, os.getppid(), [listener], App(), 15, cfg, log)
        print("port", listener.getsockname()[1], flush=True)
        worker.app.worker = worker
        worker.parent_fd = options["parent_fd"]
        worker.init_process()


if __name__ == "__main__":
    main()
