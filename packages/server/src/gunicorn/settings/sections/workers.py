"""Settings of the worker processes: how many, of which kind, and for how long."""

from gunicorn.settings import validators
from gunicorn.settings.declaration import Declaration

SECTION = "Worker Processes"

SETTINGS: tuple[Declaration, ...] = (
    {
        "name": "workers",
        "section": SECTION,
        "cli": ("-w", "--workers"),
        "meta": "INT",
        "validator": "pos_int",
        "type": int,
        "default": 1,
        "env": "WEB_CONCURRENCY",
        "from_env": int,
        "desc": """\
            The number of worker processes.

            A good start is one to two for each core. The environment variable WEB_CONCURRENCY gives the default.
            """,
    },
    {
        "name": "worker_class",
        "section": SECTION,
        "cli": ("-k", "--worker-class"),
        "meta": "STRING",
        "validator": "class",
        "default": "sync",
        "desc": """\
            The kind of workers: sync, gthread, gevent, asgi, or a class as package.module.Class.

            sync runs one request at a time; gthread runs them on a pool of threads, and is chosen by itself for sync
            with more than one thread; gevent runs each on a greenlet; asgi serves ASGI applications on an event loop.
            """,
    },
    {
        "name": "threads",
        "section": SECTION,
        "cli": ("--threads",),
        "meta": "INT",
        "validator": "pos_int",
        "type": int,
        "default": 1,
        "desc": "The number of threads of each worker of the kind gthread.",
    },
    {
        "name": "worker_connections",
        "section": SECTION,
        "cli": ("--worker-connections",),
        "meta": "INT",
        "validator": "pos_int",
        "type": int,
        "default": 1000,
        "desc": "How many connections a worker with concurrency (gthread, gevent, asgi) holds open at most.",
    },
    {
        "name": "max_requests",
        "section": SECTION,
        "cli": ("--max-requests",),
        "meta": "INT",
        "validator": "pos_int",
        "type": int,
        "default": 0,
        "desc": """\
            How many requests a worker answers before it is replaced; 0 for no limit.

            A way to live with applications that leak memory. The replacement is started when a twentieth is left, and
            takes over as soon as it serves, so that nobody waits.
            """,
    },
    {
        "name": "max_requests_jitter",
        "section": SECTION,
        "cli": ("--max-requests-jitter",),
        "meta": "INT",
        "validator": "pos_int",
        "type": int,
        "default": 0,
        "desc": """\
            A random number up to this is added to max_requests in each worker.

            So that they are not all replaced at once.
            """,
    },
    {
        "name": "timeout",
        "section": SECTION,
        "cli": ("-t", "--timeout"),
        "meta": "INT",
        "validator": "pos_int",
        "type": int,
        "default": 30,
        "desc": """\
            Seconds after which a worker that gives no sign of life is killed and replaced; 0 for never.

            A sync worker gives none while it runs a request, so for it this is how long a request may take. The others
            are replaced, when their other requests are done, for a request whose response has not begun by then.
            """,
    },
    {
        "name": "graceful_timeout",
        "section": SECTION,
        "cli": ("--graceful-timeout",),
        "meta": "INT",
        "validator": "pos_int",
        "type": int,
        "default": 30,
        "desc": """\
            Seconds that workers have to finish their requests when they are asked to stop.

            Those still alive afterwards are killed.
            """,
    },
    {
        "name": "keepalive",
        "section": SECTION,
        "cli": ("--keep-alive",),
        "meta": "INT",
        "validator": "pos_int",
        "type": int,
        "default": 2,
        "desc": "Seconds to wait for the next request on a connection; 0 closes it after each.",
    },
    {
        "name": "health_path",
        "section": SECTION,
        "cli": ("--health-path",),
        "meta": "PATH",
        "validator": validators.validate_path,
        "default": None,
        "desc": """\
            A path, such as /healthz, that workers answer themselves: 200 ok, or 503 draining when about to end.

            It is answered while all threads of a gthread worker are busy, and between the requests of a sync worker.
            """,
    },
    {
        "name": "asgi_loop",
        "section": SECTION,
        "cli": ("--asgi-loop",),
        "meta": "STRING",
        "validator": validators.validate_asgi_loop,
        "default": "auto",
        "desc": "The event loop of asgi workers: asyncio, uvloop, or auto (uvloop where it is installed).",
    },
    {
        "name": "asgi_lifespan",
        "section": SECTION,
        "cli": ("--asgi-lifespan",),
        "meta": "STRING",
        "validator": validators.validate_asgi_lifespan,
        "default": "auto",
        "desc": "Whether asgi workers send the lifespan events: on, off, or auto (when the application knows them).",
    },
    {
        "name": "asgi_disconnect_grace_period",
        "section": SECTION,
        "cli": ("--asgi-disconnect-grace-period",),
        "meta": "INT",
        "validator": "pos_int",
        "type": int,
        "default": 3,
        "desc": "Seconds between telling an ASGI application that its client has gone and cancelling it.",
    },
    {
        "name": "worker_tmp_dir",
        "section": "Server Mechanics",
        "cli": ("--worker-tmp-dir",),
        "meta": "DIR",
        "validator": "string",
        "default": None,
        "desc": """\
            Accepted and without effect: workers give their signs of life in shared memory, not in files.
            """,
    },
    {
        "name": "preload_app",
        "section": "Server Mechanics",
        "cli": ("--preload",),
        "action": "store_true",
        "validator": "bool",
        "default": False,
        "desc": """\
            Load the application in the master, before workers are forked.

            It saves memory and time, and a reload (HUP) then does not load the application's code again.
            """,
    },
)
