"""The door ``gunicorn.config``: the names that other software imports."""

import pytest
from gunicorn import config


def test_names_of_the_mechanism() -> None:
    for name in [
        "Config",
        "Setting",
        "KNOWN_SETTINGS",
        "make_settings",
        "get_default_config_file",
        "auto_int",
        "validate_bool",
        "validate_dict",
        "validate_pos_int",
        "validate_string",
        "validate_list_string",
        "validate_string_to_list",
        "validate_string_to_addr_list",
        "validate_class",
        "validate_callable",
        "validate_user",
        "validate_group",
        "validate_post_request",
        "validate_chdir",
        "validate_header_map_behaviour",
    ]:
        assert hasattr(config, name), name
        assert name in config.__all__


def test_each_setting_has_its_class() -> None:
    for cls in config.KNOWN_SETTINGS:
        assert getattr(config, cls.__name__) is cls
    assert config.AccessLogFormat.default.startswith('%(h)s %(l)s %(u)s %(t)s "%(r)s"')
    assert config.Workers.default == 1
    assert config.ConfigFile.name == "config"
    assert isinstance(config.Config().settings["bind"], config.Bind)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        config.Nothing  # noqa: B018
