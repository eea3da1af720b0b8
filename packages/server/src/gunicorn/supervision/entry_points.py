"""The entry points of installed distributions; ``supervision.service`` finds the services by them.

``importlib.metadata`` reads them too, but it loads email, zipfile and csv: 4 MB in the master, and so in each worker.
So the files of distributions in folders are read here, and only for archives on ``sys.path`` it is asked.

Source: the packaging specifications, "Entry points specification" and "Recording installed projects".
"""

import os
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

FOLDERS = (".dist-info", ".egg-info")
FILE = "entry_points.txt"


def entry_points(group: str) -> Iterator[tuple[str, str]]:
    """Name and value (``module:attribute``) of each entry point in *group*, in the order of ``sys.path``."""
    if any(map(os.path.isfile, sys.path)):
        from importlib import metadata

        yield from ((entry.name, entry.value) for entry in metadata.entry_points(group=group))
        return
    for folder in sys.path:
        try:
            names = sorted(os.listdir(folder or "."))
        except OSError:
            continue
        for name in names:
            if name.endswith(FOLDERS):
                try:
                    with open(os.path.join(folder, name, FILE), encoding="utf-8") as file:
                        text = file.read()
                except (OSError, UnicodeDecodeError):
                    continue
                if group in text:
                    yield from _in_group(text, group)


def _in_group(text: str, group: str) -> Iterator[tuple[str, str]]:
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            section = line[1:].partition("]")[0].strip()
        elif section == group and "=" in line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            yield name.strip(), value.strip()


def load(value: str) -> Any:
    """What the value of an entry point names; raises whatever its import does, and AttributeError."""
    module, _, attributes = value.partition("[")[0].partition(":")  # without extras
    found = import_module(module.strip())
    for attribute in filter(None, attributes.strip().split(".")):
        found = getattr(found, attribute)
    return found
