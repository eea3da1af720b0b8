"""The settings of showing and checking: names, flags and defaults are what people's command lines and files rely on."""

from gunicorn.settings.sections import debugging

EXPECTED: dict[str, tuple[str, object]] = {
    "reload": ("--reload", False),
    "reload_engine": ("--reload-engine", "auto"),
    "reload_extra_files": ("--reload-extra-file", []),
    "check_config": ("--check-config", False),
    "print_config": ("--print-config", False),
}


def test_names_flags_and_defaults() -> None:
    declared = {item["name"]: (" ".join(item.get("cli", ())), item["default"]) for item in debugging.SETTINGS}
    assert declared == EXPECTED


def test_each_has_a_line_of_help() -> None:
    for item in debugging.SETTINGS:
        assert item["desc"].strip().splitlines()[0].rstrip().endswith("."), item["name"]
