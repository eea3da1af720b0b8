"""The settings mechanism: declarations as data, the Setting and Config classes, and the sources that fill them.

    sections/*.py   the declarations, one module per section, plain data
    declaration.py  what a declaration looks like; the same shape that services contribute
    validators.py   functions from what a user wrote to the value
    setting.py      Setting (third parties subclass it) and KNOWN_SETTINGS
    config.py       Config: all settings and what is derived from them
    sources.py      configuration file, GUNICORN_CMD_ARGS and command line, in their order
    absent.py       names that people know and that this installation does not have, and what to do about it

``gunicorn.config`` is the door that everybody else imports.
"""
