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
)
