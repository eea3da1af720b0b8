"""Settings of the names that processes carry."""

from gunicorn.settings.declaration import Declaration

SETTINGS: tuple[Declaration, ...] = (
    {
        "name": "proc_name",
        "section": "Process Naming",
        "cli": ("-n", "--name"),
        "meta": "STRING",
        "validator": "string",
        "default": None,
        "desc": """\
            The name of this instance in process titles and logs.

            Titles are set through the package setproctitle where it is installed, and on Linux without it.
            """,
    },
    {
        "name": "default_proc_name",
        "section": "Process Naming",
        "validator": "string",
        "default": "gunicorn",
        "desc": "The name when proc_name is not set; the application's name is put here.",
    },
)
