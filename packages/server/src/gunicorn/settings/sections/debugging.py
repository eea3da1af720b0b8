"""Settings that show or check the configuration instead of serving."""

from gunicorn.settings.declaration import Declaration

SETTINGS: tuple[Declaration, ...] = (
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
