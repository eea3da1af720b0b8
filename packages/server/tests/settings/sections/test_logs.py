"""The settings of logging: names, flags and defaults are what people's command lines and files rely on."""

from gunicorn.settings.sections import logs

EXPECTED: dict[str, tuple[str, object]] = {
    "accesslog": ("--access-logfile", None),
    "disable_redirect_access_to_syslog": ("--disable-redirect-access-to-syslog", False),
    "access_log_format": ("--access-logformat", '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'),
    "log_json": ("--log-json", False),
    "access_log_json_fields": ("", {}),
    "errorlog": ("--error-logfile --log-file", "-"),
    "loglevel": ("--log-level", "info"),
    "capture_output": ("--capture-output", False),
    "logger_class": ("--logger-class", "gunicorn.glogging.Logger"),
    "logconfig": ("--log-config", None),
    "logconfig_dict": ("", {}),
    "logconfig_json": ("--log-config-json", None),
    "syslog_addr": ("--log-syslog-to", "udp://localhost:514"),
    "syslog": ("--log-syslog", False),
    "syslog_prefix": ("--log-syslog-prefix", None),
    "syslog_facility": ("--log-syslog-facility", "user"),
    "enable_stdio_inheritance": ("-R --enable-stdio-inheritance", False),
    "statsd_host": ("--statsd-host", None),
    "dogstatsd_tags": ("--dogstatsd-tags", ""),
    "statsd_prefix": ("--statsd-prefix", ""),
    "enable_backlog_metric": ("--enable-backlog-metric", False),
}


def test_names_flags_and_defaults() -> None:
    declared = {item["name"]: (" ".join(item.get("cli", ())), item["default"]) for item in logs.SETTINGS}
    assert declared == EXPECTED


def test_each_has_a_line_of_help() -> None:
    for item in logs.SETTINGS:
        assert item["desc"].strip().splitlines()[0].rstrip().endswith("."), item["name"]
