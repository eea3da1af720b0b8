"""The settings of the process: names, flags and defaults are what people's command lines and files rely on."""

from gunicorn.settings.sections import mechanics

EXPECTED: dict[str, tuple[str, object]] = {
    "chdir": ("--chdir", "."),
    "daemon": ("-D --daemon", False),
    "raw_env": ("-e --env", []),
    "pidfile": ("-p --pid", None),
    "user": ("-u --user", "the current user"),
    "group": ("-g --group", "the current group"),
    "umask": ("-m --umask", 0),
    "initgroups": ("--initgroups", False),
    "pythonpath": ("--pythonpath", None),
    "tmp_upload_dir": ("", None),
    "tmp_upload_limit": ("", 1 << 30),
    "sendfile": ("--no-sendfile", None),
}


def test_names_flags_and_defaults() -> None:
    declared = {item["name"]: (" ".join(item.get("cli", ())), item["default"]) for item in mechanics.SETTINGS}
    assert declared == EXPECTED


def test_each_has_a_line_of_help() -> None:
    for item in mechanics.SETTINGS:
        assert item["desc"].strip().splitlines()[0].rstrip().endswith("."), item["name"]
