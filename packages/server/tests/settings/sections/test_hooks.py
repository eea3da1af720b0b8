"""The settings of server hooks: names, flags and defaults are what people's command lines and files rely on."""

from typing import Any

from gunicorn.config import Config

ARGUMENTS = {
    "on_starting": 1,
    "on_reload": 1,
    "when_ready": 1,
    "pre_fork": 2,
    "post_fork": 2,
    "post_worker_init": 1,
    "worker_int": 1,
    "worker_abort": 1,
    "pre_exec": 1,
    "pre_request": 2,
    "post_request": 4,
    "child_exit": 2,
    "worker_exit": 2,
    "nworkers_changed": 3,
    "on_exit": 1,
}


def test_each_hook_takes_its_arguments_and_does_nothing_by_default() -> None:
    cfg = Config()
    hooks = {name for name, setting in cfg.settings.items() if setting.section == "Server Hooks"}
    assert hooks == {*ARGUMENTS, "ssl_context"}
    for name, count in ARGUMENTS.items():
        assert getattr(cfg, name)(*range(count)) is None


def test_a_hook_that_takes_other_arguments_is_refused() -> None:
    cfg = Config()
    for name, count in ARGUMENTS.items():
        seen: list[Any] = []
        cfg.set(name, _taking(count, seen))
        getattr(cfg, name)(*range(count))
        assert seen == [tuple(range(count))]
        try:
            cfg.set(name, _taking(5, seen))
        except TypeError as exc:
            reason = str(exc)
        else:
            raise AssertionError(f"{name} took a function of five arguments")
        assert "is needed" in reason


def _taking(count: int, seen: list[Any]) -> Any:
    names = ", ".join(f"a{index}" for index in range(count))
    return eval(f"lambda {names}: seen.append(({names},))", {"seen": seen})


def test_the_hook_of_tls_takes_what_the_settings_ask_for() -> None:
    assert Config().ssl_context(None, lambda: "context") == "context"
