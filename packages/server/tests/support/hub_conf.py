"""A configuration that tells whether gevent's hub exists when a worker drops its privileges."""

from typing import Any

from gunicorn import util


def post_fork(server: Any, worker: Any) -> None:
    def look(*args: Any, **kwargs: Any) -> None:
        from gevent._hub_local import get_hub_if_exists

        server.log.info("a hub before the user changes: %s", get_hub_if_exists() is not None)

    util.set_owner_process = look
