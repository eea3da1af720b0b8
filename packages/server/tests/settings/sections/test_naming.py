"""The settings of names of processes: names, flags and defaults are what people's command lines and files rely on."""

from gunicorn.settings.sections import naming

EXPECTED: dict[str, tuple[str, object]] = {
    "proc_name": ("-n --name", None),
    "default_proc_name": ("", "gunicorn"),
}


def test_names_flags_and_defaults() -> None:
    declared = {item["name"]: (" ".join(item.get("cli", ())), item["default"]) for item in naming.SETTINGS}
    assert declared == EXPECTED


def test_each_has_a_line_of_help() -> None:
    for item in naming.SETTINGS:
        assert item["desc"].strip().splitlines()[0].rstrip().endswith("."), item["name"]
