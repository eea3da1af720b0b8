"""Settings that say where the configuration and the application are."""

from gunicorn.settings.declaration import Declaration

SETTINGS: tuple[Declaration, ...] = (
    {
        "name": "config",
        "class_name": "ConfigFile",  # Config is the class of all settings
        "section": "Config File",
        "cli": ("-c", "--config"),
        "meta": "CONFIG",
        "validator": "string",
        "default": "./gunicorn.conf.py",
        "desc": """\
            The configuration file: PATH, file:PATH or python:MODULE.

            A file of Python whose names are settings. ./gunicorn.conf.py is read when no other is named.
            """,
    },
    {
        "name": "wsgi_app",
        "section": "Config File",
        "meta": "STRING",
        "validator": "string",
        "default": None,
        "desc": """\
            The application, as module:name or module:factory(arguments).

            The command line's argument wins over it.
            """,
    },
)
