"""The shape of a declared setting: a mapping of plain data, in the sections of this package and in services alike."""

from collections.abc import Callable, Sequence
from typing import Any, TypedDict


class _Required(TypedDict):
    name: str
    section: str
    default: Any
    validator: Callable[[Any], Any] | str  # a function, or the name of one: see validators.by_name
    desc: str  # one to a few lines; the first one is the help of the command line


class Declaration(_Required, total=False):
    """Keys that only some settings have."""

    class_name: str  # of the class in gunicorn.config, where it is not the name in CamelCase
    cli: Sequence[str]  # flags; a setting without them is for configuration files
    action: str  # of argparse: "append", "store_true", "store_const"
    nargs: str
    const: Any
    meta: str  # how the help calls the value
    type: Callable[[str], Any]  # of argparse: from the word on the command line to what the validator takes
    default_factory: Callable[[], Any]  # for a default that depends on the process; ``default`` then says it in words
    env: str  # environment variable that gives the default
    from_env: Callable[[str], Any]  # from its text to what the validator takes
