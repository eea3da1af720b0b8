"""Names of settings that people know and that this installation does not have, and the errors that say what to do.

Two kinds: settings of a distribution of ours that is not installed (its service would contribute them), and settings
that this version does not honour yet. Accepting one without an effect would be worse than an error: nobody would
notice. Used by Config (attributes, flags) and by ``sources`` (configuration files). A name leaves NOT_YET when it gets
declared.
"""

import argparse
import difflib
from collections.abc import Container, Iterable
from typing import Any, NamedTuple

from gunicorn.errors import SettingError


class UnknownSetting(SettingError, AttributeError):
    """There is no such setting here; an AttributeError, so that ``getattr(cfg, name, default)`` works."""


class Extra(NamedTuple):
    """A distribution of ours: the extra that installs it, and what its settings' names begin with."""

    extra: str
    distribution: str
    prefixes: tuple[str, ...]


EXTRAS = (
    Extra("dirty", "gunicorn-dirty", ("dirty_", "on_dirty_")),
    Extra("control", "gunicorn-control", ("control_",)),
)

# Flags of settings that services contribute, so that a command line which uses one gets the name of the extra.
EXTRA_FLAGS: dict[str, tuple[str, ...]] = {
    "control_socket": ("--control-socket",),
    "control_socket_mode": ("--control-socket-mode",),
    "control_socket_disable": ("--no-control-socket",),
    "dirty_apps": ("--dirty-app",),
    "dirty_workers": ("--dirty-workers",),
    "dirty_timeout": ("--dirty-timeout",),
    "dirty_threads": ("--dirty-threads",),
    "dirty_graceful_timeout": ("--dirty-graceful-timeout",),
}

# Settings that are not in this version yet, with their flags.
NOT_YET: dict[str, tuple[str, ...]] = {
    "http2_cleartext": ("--http2-cleartext",),
    "http2_initial_window_size": ("--http2-initial-window-size",),
    "http2_max_concurrent_streams": ("--http2-max-concurrent-streams",),
    "http2_max_frame_size": ("--http2-max-frame-size",),
    "http2_max_header_list_size": ("--http2-max-header-list-size",),
    "http_protocols": ("--http-protocols",),
    "paste": ("--paste", "--paster"),
    "protocol": ("--protocol",),
    "proxy_allow_ips": ("--proxy-allow-from",),
    "proxy_protocol": ("--proxy-protocol",),
    "raw_paste_global_conf": ("--paste-global",),
    "spew": ("--spew",),
    "uwsgi_allow_ips": ("--uwsgi-allow-from",),
    "websocket_max_message_size": ("--websocket-max-message-size",),
}


def explain(name: str) -> str | None:
    """Why a known name is not here and what to do, or None when nobody knows the name."""
    for extra in EXTRAS:
        if name.startswith(extra.prefixes):
            return (
                f"the setting {name!r} belongs to the distribution {extra.distribution}, which is not installed; "
                f'run: pip install "gunicorn-server[{extra.extra}]"'
            )
    if name in NOT_YET:
        return f"the setting {name!r} is not in this version yet; remove it"
    return None


def unknown(name: str, known: Iterable[str]) -> UnknownSetting:
    """The error for a name that is no setting here; it names the nearest one that is."""
    text = explain(name)
    if text is None:
        near = nearest(name, known)
        text = f"there is no setting {name!r}" + (f"; did you mean {near!r}?" if near else "")
    return UnknownSetting(name, text)


def nearest(name: str, known: Iterable[str], cutoff: float = 0.75) -> str | None:
    """The most similar known name, if one is similar enough; the one that goes on after it, if there is only one."""
    known = list(known)
    longer = [other for other in known if other.startswith(f"{name}_")]
    if len(longer) == 1:
        return longer[0]
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=cutoff)), None)


class _Refuse(argparse.Action):
    """The action of a flag that is known and not here: end with the reason."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option_string: Any = None) -> None:
        parser.error(f"{option_string}: {explain(self.dest)}")


def add_options(parser: argparse.ArgumentParser, declared: Container[str]) -> None:
    """Let the parser know the flags that are not here, hidden from its help, so that using one says why."""
    for name, flags in (*EXTRA_FLAGS.items(), *NOT_YET.items()):
        if flags and name not in declared:
            parser.add_argument(*flags, dest=name, action=_Refuse, nargs="?", help=argparse.SUPPRESS)
