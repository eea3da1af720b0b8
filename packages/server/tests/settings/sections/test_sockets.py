"""The settings of listening sockets: names, flags and defaults are what people's command lines and files rely on."""

from gunicorn.settings.sections import sockets

EXPECTED: dict[str, tuple[str, object]] = {
    "bind": ("-b --bind", ["127.0.0.1:8000"]),
    "backlog": ("--backlog", 2048),
    "reuse_port": ("--reuse-port", False),
}


def test_names_flags_and_defaults() -> None:
    declared = {item["name"]: (" ".join(item.get("cli", ())), item["default"]) for item in sockets.SETTINGS}
    assert declared == EXPECTED


def test_each_has_a_line_of_help() -> None:
    for item in sockets.SETTINGS:
        assert item["desc"].strip().splitlines()[0].rstrip().endswith("."), item["name"]
