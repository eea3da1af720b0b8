"""Settings for development, and those that show or check the configuration instead of serving."""

from gunicorn.settings import validators
from gunicorn.settings.declaration import Declaration

SETTINGS: tuple[Declaration, ...] = (
    {
        "name": "reload",
        "section": "Debugging",
        "cli": ("--reload",),
        "action": "store_true",
        "validator": "bool",
        "default": False,
        "desc": """\
            Replace workers when the application's code changes. For development.

            While the application cannot be loaded, workers answer with the error. With preload_app it has no effect,
            since the master keeps the code that it has loaded.
            """,
    },
    {
        "name": "reload_engine",
        "section": "Debugging",
        "cli": ("--reload-engine",),
        "meta": "STRING",
        "validator": validators.validate_reload_engine,
        "default": "auto",
        "desc": "How reload notices changes: inotify, poll, or auto (inotify where it works).",
    },
    {
        "name": "reload_extra_files",
        "section": "Debugging",
        "cli": ("--reload-extra-file",),
        "action": "append",
        "meta": "FILES",
        "validator": "list_string",
        "default": [],
        "desc": "A file or pattern, such as templates/**/*.html, that reload watches too. May be given more than once.",
    },
    {
        "name": "check_config",
        "section": "Debugging",
        "cli": ("--check-config",),
        "action": "store_true",
        "validator": "bool",
        "default": False,
        "desc": "Check the configuration, load the application, and exit: 0 when both are right, 1 otherwise.",
    },
    {
        "name": "print_config",
        "section": "Debugging",
        "cli": ("--print-config",),
        "action": "store_true",
        "validator": "bool",
        "default": False,
        "desc": "Print all settings with their values; then do what --check-config does.",
    },
)
