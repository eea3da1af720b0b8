"""Settings of the process: directory, environment, privileges, daemon, pid file."""

import os

from gunicorn import util
from gunicorn.settings import validators
from gunicorn.settings.declaration import Declaration

SECTION = "Server Mechanics"

SETTINGS: tuple[Declaration, ...] = (
    {
        "name": "chdir",
        "section": SECTION,
        "cli": ("--chdir",),
        "validator": validators.validate_chdir,
        "default": ".",
        "default_factory": util.getcwd,
        "desc": "The directory to change to before the application is loaded.",
    },
    {
        "name": "daemon",
        "section": SECTION,
        "cli": ("-D", "--daemon"),
        "action": "store_true",
        "validator": "bool",
        "default": False,
        "desc": "Run in the background, away from the terminal.",
    },
    {
        "name": "raw_env",
        "section": SECTION,
        "cli": ("-e", "--env"),
        "action": "append",
        "meta": "ENV",
        "validator": "list_string",
        "default": [],
        "desc": "An environment variable for the application, as NAME=value. May be given more than once.",
    },
    {
        "name": "pidfile",
        "section": SECTION,
        "cli": ("-p", "--pid"),
        "meta": "FILE",
        "validator": "string",
        "default": None,
        "desc": "A file for the master's process id.",
    },
    {
        "name": "user",
        "section": SECTION,
        "cli": ("-u", "--user"),
        "meta": "USER",
        "validator": "user",
        "default": "the current user",
        "default_factory": os.geteuid,
        "desc": "The user, by name or number, as whom workers run.",
    },
    {
        "name": "group",
        "section": SECTION,
        "cli": ("-g", "--group"),
        "meta": "GROUP",
        "validator": "group",
        "default": "the current group",
        "default_factory": os.getegid,
        "desc": "The group, by name or number, as which workers run.",
    },
    {
        "name": "umask",
        "section": SECTION,
        "cli": ("-m", "--umask"),
        "meta": "INT",
        "validator": "pos_int",
        "type": validators.auto_int,
        "default": 0,
        "desc": "The mask of permissions for the unix sockets that the server makes; 0022 is octal.",
    },
    {
        "name": "initgroups",
        "section": SECTION,
        "cli": ("--initgroups",),
        "action": "store_true",
        "validator": "bool",
        "default": False,
        "desc": "Give workers all the groups of their user, besides the setting group.",
    },
    {
        "name": "pythonpath",
        "section": SECTION,
        "cli": ("--pythonpath",),
        "meta": "STRING",
        "validator": "string",
        "default": None,
        "desc": "Directories, separated by commas, to put at the start of the Python path.",
    },
    {
        "name": "tmp_upload_dir",
        "section": SECTION,
        "meta": "DIR",
        "validator": "string",
        "default": None,
        "desc": """\
            The directory of the temporary files for large request bodies; by default the system's.

            Only sync workers need them: they collect a body before they call the application, up to 8 MiB in memory.
            """,
    },
    {
        "name": "tmp_upload_limit",
        "section": SECTION,
        "meta": "BYTES",
        "validator": "pos_int",
        "type": int,
        "default": 1 << 30,
        "desc": """\
            Bytes of request bodies that a sync worker may have in temporary files at a time; 0 for no limit.

            A request whose body is larger is answered 413, one that finds no room beside the others 503.
            """,
    },
    {
        "name": "sendfile",
        "section": SECTION,
        "cli": ("--no-sendfile",),
        "action": "store_const",
        "const": False,
        "validator": "bool",
        "default": None,
        "env": "SENDFILE",
        "from_env": str,
        "desc": """\
            Whether files of wsgi.file_wrapper and ASGI's pathsend go by sendfile(2): yes, unless it is false.

            The environment variable SENDFILE gives the default. Connections under TLS never use it.
            """,
    },
)
