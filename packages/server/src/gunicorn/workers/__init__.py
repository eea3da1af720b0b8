"""The kinds of workers: the registry of their short names. ``gunicorn.util.load_class`` resolves names through it."""

# short name -> the class, imported when it is used and not before
SUPPORTED_WORKERS = {
    "sync": "gunicorn.workers.sync.SyncWorker",
    "gthread": "gunicorn.workers.gthread.ThreadWorker",
    "gevent": "gunicorn.workers.ggevent.GeventWorker",
    "asgi": "gunicorn.workers.gasgi.ASGIWorker",
}

# short name -> what to use instead
REMOVED_WORKERS = {
    "eventlet": "use gevent, which runs the same kind of code, or gthread",
    "tornado": "use asgi for an ASGI application, gthread for a WSGI application, or run Tornado's own server",
}


def resolve_worker_name(name: str) -> str:
    """The dotted path of a worker class for a short name; a dotted path is returned as it is.

    :raises ImportError: for a name that is neither; it says which names there are.
    """
    if name in SUPPORTED_WORKERS:
        return SUPPORTED_WORKERS[name]
    if name in REMOVED_WORKERS:
        raise ImportError(f"there is no {name} worker: {REMOVED_WORKERS[name]}")
    if "." not in name and ":" not in name:
        raise ImportError(
            f"there is no worker {name!r}; use one of {', '.join(SUPPORTED_WORKERS)}, or package.module.Class"
        )
    return name
