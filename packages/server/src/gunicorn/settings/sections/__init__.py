"""The declarations of the server's own settings. Importing this package registers them all, in the order of the help.

Each module holds ``SETTINGS``, plain data in the shape of ``gunicorn.settings.declaration``.
"""

from gunicorn.settings.sections import (
    configuration,
    debugging,
    hooks,
    http,
    logs,
    mechanics,
    naming,
    sockets,
    ssl,
    workers,
)
from gunicorn.settings.setting import Setting, class_from

MODULES = (configuration, sockets, workers, http, mechanics, debugging, logs, naming, ssl, hooks)

# One Setting subclass per declaration, by its CamelCase name.
CLASSES: dict[str, type[Setting]] = {
    cls.__name__: cls for cls in (class_from(declaration) for module in MODULES for declaration in module.SETTINGS)
}
