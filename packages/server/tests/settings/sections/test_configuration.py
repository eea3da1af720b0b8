"""The settings of where the configuration and the application are: names, flags and defaults that people rely on."""

from gunicorn.settings.sections import configuration

EXPECTED: dict[str, tuple[str, object]] = {
    "config": ("-c --config", "./gunicorn.conf.py"),
    "wsgi_app": ("", None),
}


def test_names_flags_and_defaults() -> None:
    declared = {item["name"]: (" ".join(item.get("cli", ())), item["default"]) for item in configuration.SETTINGS}
    assert declared == EXPECTED


def test_each_has_a_line_of_help() -> None:
    for item in configuration.SETTINGS:
        assert item["desc"].strip().splitlines()[0].rstrip().endswith("."), item["name"]
