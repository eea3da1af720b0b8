"""The door to the settings mechanism, for what other software imports; the rooms are in ``gunicorn.settings``.

Besides the names below, each setting has its class here under its CamelCase name: ``config.AccessLogFormat.default``.
"""

from typing import Any

from gunicorn.settings import sections as _sections
from gunicorn.settings.config import Config, get_default_config_file
from gunicorn.settings.setting import KNOWN_SETTINGS, Setting, make_settings
from gunicorn.settings.validators import (
    auto_int,
    validate_bool,
    validate_callable,
    validate_chdir,
    validate_class,
    validate_dict,
    validate_group,
    validate_header_map_behaviour,
    validate_list_string,
    validate_pos_int,
    validate_post_request,
    validate_string,
    validate_string_to_addr_list,
    validate_string_to_list,
    validate_user,
)

__all__ = [
    "KNOWN_SETTINGS",
    "Config",
    "Setting",
    "auto_int",
    "get_default_config_file",
    "make_settings",
    "validate_bool",
    "validate_callable",
    "validate_chdir",
    "validate_class",
    "validate_dict",
    "validate_group",
    "validate_header_map_behaviour",
    "validate_list_string",
    "validate_pos_int",
    "validate_post_request",
    "validate_string",
    "validate_string_to_addr_list",
    "validate_string_to_list",
    "validate_user",
]

globals().update(_sections.CLASSES)


def __getattr__(name: str) -> Any:
    raise AttributeError(f"module 'gunicorn.config' has no attribute {name!r}")
