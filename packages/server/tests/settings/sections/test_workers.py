"""The settings of worker processes: names, flags and defaults are what people's command lines and files rely on."""

from gunicorn.settings.sections import workers

EXPECTED: dict[str, tuple[str, object]] = {
    "workers": ("-w --workers", 1),
    "worker_class": ("-k --worker-class", "sync"),
    "threads": ("--threads", 1),
    "worker_connections": ("--worker-connections", 1000),
    "max_requests": ("--max-requests", 0),
    "max_requests_jitter": ("--max-requests-jitter", 0),
    "timeout": ("-t --timeout", 30),
    "graceful_timeout": ("--graceful-timeout", 30),
    "keepalive": ("--keep-alive", 2),
    "health_path": ("--health-path", None),
    "asgi_loop": ("--asgi-loop", "auto"),
    "asgi_lifespan": ("--asgi-lifespan", "auto"),
    "asgi_disconnect_grace_period": ("--asgi-disconnect-grace-period", 3),
    "worker_tmp_dir": ("--worker-tmp-dir", None),
    "preload_app": ("--preload", False),
}


def test_names_flags_and_defaults() -> None:
    declared = {item["name"]: (" ".join(item.get("cli", ())), item["default"]) for item in workers.SETTINGS}
    assert declared == EXPECTED


def test_each_has_a_line_of_help() -> None:
    for item in workers.SETTINGS:
        assert item["desc"].strip().splitlines()[0].rstrip().endswith("."), item["name"]
