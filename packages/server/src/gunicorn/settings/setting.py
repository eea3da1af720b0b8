"""Setting, the class that third parties subclass, and KNOWN_SETTINGS, the list that their subclasses append to.

Subclassing is declaring: ``class Colour(Setting): name = "colour"; cli = ["--colour"]; validator = validate_string; …``
is enough for the command line, the environment and configuration files to know it, if it happens before the Config is
built.
"""

import argparse
import copy
import os
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from gunicorn.errors import ConfigError
from gunicorn.settings import validators

KNOWN_SETTINGS: "list[type[Setting]]" = []


class SettingMeta(type):
    """Appends subclasses of Setting to KNOWN_SETTINGS, dedents their text, and keeps functions from being bound."""

    def __new__(
        mcs, name: str, bases: tuple[type, ...], attrs: dict[str, Any], register: bool = True, **kwargs: Any
    ) -> "SettingMeta":
        for key in ("validator", "type", "default", "default_factory", "from_env"):
            value = attrs.get(key)
            if callable(value) and not isinstance(value, (type, staticmethod)):
                attrs[key] = staticmethod(value)
        if attrs.get("desc"):
            desc = textwrap.dedent(attrs["desc"]).strip()
            attrs["desc"] = desc
            attrs.setdefault("short", desc.splitlines()[0])
        cls = super().__new__(mcs, name, bases, attrs, **kwargs)
        if bases and register:
            cls.order = len(KNOWN_SETTINGS)  # type: ignore[attr-defined]
            KNOWN_SETTINGS.append(cls)  # type: ignore[arg-type]
        return cls

    def __init__(cls, name: str, bases: tuple[type, ...], attrs: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(name, bases, attrs)


class Setting(metaclass=SettingMeta):
    """One setting of one Config: its declaration as class attributes, its value on the instance."""

    name: ClassVar[str]
    section: ClassVar[str] = "Others"
    cli: ClassVar[Sequence[str] | None] = None
    validator: ClassVar[Callable[[Any], Any] | None] = None
    type: ClassVar[Callable[..., Any] | None] = None
    meta: ClassVar[str | None] = None
    action: ClassVar[str | None] = None
    nargs: ClassVar[str | int | None] = None
    const: ClassVar[Any] = None
    default: ClassVar[Any] = None
    default_factory: ClassVar[Callable[[], Any] | None] = None
    env: ClassVar[str | None] = None
    from_env: ClassVar[Callable[[str], Any] | None] = None
    short: ClassVar[str | None] = None
    desc: ClassVar[str | None] = None
    order: ClassVar[int] = 1_000_000  # contributed settings come last within their section

    def __init__(self) -> None:
        self.value: Any = None
        self.changed: Callable[[str, Any], None] | None = None  # told of each new value; how a Config keeps its cache
        cls: Any = type(self)  # through Any: mypy takes a callable of the class for a method of the instance
        factory, from_env = cls.default_factory, cls.from_env
        default = factory() if factory is not None else self.default
        if self.env is not None and os.environ.get(self.env):
            text = os.environ[self.env]
            try:
                self.set(from_env(text) if from_env is not None else text)
            except (TypeError, ValueError) as exc:
                raise ConfigError(f"environment variable {self.env}={text!r} cannot set {self.name!r}: {exc}") from exc
        elif default is not None:
            self.set(default)

    def add_option(self, parser: "argparse._ActionsContainer") -> None:
        """Add this setting's flags, if it has any."""
        if not self.cli:
            return
        default = "" if self.default is None else f" [{self.default}]"
        options: dict[str, Any] = {
            "dest": self.name,
            "action": self.action or "store",
            "default": None,  # so that a flag which was not given is told from one that was
            "help": f"{self.short or ''}{default}".replace("%", "%%"),
        }
        if options["action"] in ("store", "append"):
            options["type"] = self.type or str
            if self.meta is not None:
                options["metavar"] = self.meta
            if self.nargs is not None:
                options["nargs"] = self.nargs
        if self.const is not None:
            options["const"] = self.const
        parser.add_argument(*self.cli, **options)

    def get(self) -> Any:
        return self.value

    def set(self, val: Any) -> None:
        """Validate and store.

        :raises TypeError, ValueError: with the reason why ``val`` is refused.
        """
        validator: Any = self.validator
        if not callable(validator):
            raise TypeError(f"the setting {self.name!r} has no validator")
        self.value = validator(val)
        if self.changed is not None:
            self.changed(self.name, self.value)

    def copy(self) -> "Setting":
        return copy.copy(self)

    def __lt__(self, other: "Setting") -> bool:
        return (self.section, self.order) < (other.section, other.order)

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__name__} object at {id(self):x} with value {self.value!r}>"


def class_from(declaration: Mapping[str, Any], register: bool = True) -> "type[Setting]":
    """The Setting subclass of a declaration, named in CamelCase; ``register=False`` keeps it out of KNOWN_SETTINGS.

    :raises ConfigError: when the declaration lacks a key or names no validator.
    """
    try:
        name, validator = declaration["name"], declaration["validator"]
        attrs = {**declaration, "validator": validators.by_name(validator) if isinstance(validator, str) else validator}
    except KeyError as exc:
        raise ConfigError(
            f"the declaration of the setting {declaration.get('name')!r} is wrong: {exc} is unknown"
        ) from exc
    class_name = attrs.pop("class_name", None) or "".join(word[:1].upper() + word[1:] for word in name.split("_"))
    cls: Any = SettingMeta(class_name, (Setting,), {**attrs, "__module__": "gunicorn.config"}, register=register)
    return cls  # type: ignore[no-any-return]


def make_settings(ignore: Sequence[str] = ()) -> "dict[str, Setting]":
    """Fresh instances of all known settings by name, with their defaults; a later declaration of a name wins."""
    return {cls.name: cls() for cls in KNOWN_SETTINGS if cls.name not in ignore}
