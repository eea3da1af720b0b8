"""Sphinx's settings for the documentation (``hatch run docs:build``), and the pages that are made from the code.

``settings.md`` is written at every build from the settings' declarations, so that it cannot drift from them.
"""

from pathlib import Path

from gunicorn import __version__
from gunicorn.config import Config
from gunicorn.supervision.service import discover

project = "Gunicorn"
release = __version__
extensions = ["myst_parser"]
exclude_patterns = ["_build", "examples/*/page"]
html_theme = "alabaster"
html_theme_options = {"description": "The application server with a home for heavy work", "fixed_sidebar": True}
myst_heading_anchors = 3
# Links into the source tree (../packages/…) are for readers of the repository.
suppress_warnings = ["myst.xref_missing"]


def settings_page() -> str:
    """The reference of all settings, by section, also those of the dirty pool and of the control socket."""
    lines = [
        "# Settings",
        "",
        "A setting is taken from, in rising order: its default, the configuration file (`gunicorn.conf.py`, or `-c`),",
        "the environment variable `GUNICORN_CMD_ARGS`, the command line.",
        "",
    ]
    sections: dict[str, list[str]] = {}
    for setting in Config(services=discover()).settings.values():
        entry = sections.setdefault(setting.section, [])
        flags = ", ".join(f"`{flag}`" for flag in setting.cli or ())
        default = getattr(setting.default, "__name__", None) if callable(setting.default) else repr(setting.default)
        entry += [f"### {setting.name}", "", f"{flags or 'Configuration file only.'} Default: `{default}`", ""]
        entry += [setting.desc.strip(), ""]
    for section in sorted(sections):
        lines += [f"## {section}", "", *sections[section]]
    return "\n".join(lines)


(Path(__file__).parent / "settings.md").write_text(settings_page())
