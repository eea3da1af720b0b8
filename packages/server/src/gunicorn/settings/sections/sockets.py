"""Settings of the listening sockets; ``gunicorn.sock`` honours them."""

from gunicorn.settings.declaration import Declaration

SETTINGS: tuple[Declaration, ...] = (
    {
        "name": "bind",
        "section": "Server Socket",
        "cli": ("-b", "--bind"),
        "action": "append",
        "meta": "ADDRESS",
        "validator": "list_string",
        "default": ["127.0.0.1:8000"],
        "env": "PORT",
        "from_env": lambda port: [f"0.0.0.0:{port.strip()}"],
        "desc": """\
            The address to listen on: HOST, HOST:PORT, [V6]:PORT, unix:PATH or fd://NUMBER. May be given more than once.

            When the environment variable PORT is set, the default is 0.0.0.0:$PORT.
            """,
    },
    {
        "name": "backlog",
        "section": "Server Socket",
        "cli": ("--backlog",),
        "meta": "INT",
        "validator": "pos_int",
        "type": int,
        "default": 2048,
        "desc": """\
            How many connections may wait to be accepted.

            Passed to listen(2); the kernel has an upper limit of its own (net.core.somaxconn on Linux).
            """,
    },
    {
        "name": "reuse_port",
        "section": "Server Mechanics",
        "cli": ("--reuse-port",),
        "action": "store_true",
        "validator": "bool",
        "default": False,
        "desc": "Set SO_REUSEPORT on the listening sockets, so that several instances can bind the same port.",
    },
)
