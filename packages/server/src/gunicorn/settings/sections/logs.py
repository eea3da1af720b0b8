"""Settings of logging; ``gunicorn.glogging`` honours them."""

from gunicorn.settings.declaration import Declaration
from gunicorn.settings.validators import validate_statsd_address

SECTION = "Logging"

SETTINGS: tuple[Declaration, ...] = (
    {
        "name": "accesslog",
        "section": SECTION,
        "cli": ("--access-logfile",),
        "meta": "FILE",
        "validator": "string",
        "default": None,
        "desc": "The file for the access log; - is standard output, and without it there is none.",
    },
    {
        "name": "disable_redirect_access_to_syslog",
        "section": SECTION,
        "cli": ("--disable-redirect-access-to-syslog",),
        "action": "store_true",
        "validator": "bool",
        "default": False,
        "desc": "Keep the access log out of syslog when syslog is on.",
    },
    {
        "name": "access_log_format",
        "section": SECTION,
        "cli": ("--access-logformat",),
        "meta": "STRING",
        "validator": "string",
        "default": '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"',
        "desc": """\
            The format of a line of the access log.

            h remote address, l a dash, u user name, t date, r request line, m method, U path, q query string, H
            protocol, s status, B response length in bytes, b the same or a dash when it is 0, f referer, a user agent,
            T time in seconds, M in milliseconds, D in microseconds, L in decimal seconds, p process id, {name}i a
            request header, {name}o a response header, {name}e a variable of the environ.
            """,
    },
    {
        "name": "log_json",
        "section": SECTION,
        "cli": ("--log-json",),
        "action": "store_true",
        "validator": "bool",
        "default": False,
        "desc": """\
            Write the error log and the access log as JSON, one object a line.

            An object has the keys time, level, logger and pid; in the error log also message and, where there is one,
            exception; in the access log remote_address, user, method, path, query, protocol, status, bytes, duration
            (seconds), referer and user_agent. access_log_format has no effect then.
            """,
    },
    {
        "name": "access_log_json_fields",
        "section": SECTION,
        "validator": "dict",
        "default": {},
        "desc": """\
            More keys of the access log's JSON objects, each with the atom of access_log_format that it shows.

            For example {"request_id": "{x-request-id}i"}.
            """,
    },
    {
        "name": "errorlog",
        "section": SECTION,
        "cli": ("--error-logfile", "--log-file"),
        "meta": "FILE",
        "validator": "string",
        "default": "-",
        "desc": "The file for the error log; - is standard error.",
    },
    {
        "name": "loglevel",
        "section": SECTION,
        "cli": ("--log-level",),
        "meta": "LEVEL",
        "validator": "string",
        "default": "info",
        "desc": "The least severe level that the error log shows: debug, info, warning, error, critical.",
    },
    {
        "name": "capture_output",
        "section": SECTION,
        "cli": ("--capture-output",),
        "action": "store_true",
        "validator": "bool",
        "default": False,
        "desc": "Send what is written to standard output and standard error to the error log's file.",
    },
    {
        "name": "logger_class",
        "section": SECTION,
        "cli": ("--logger-class",),
        "meta": "STRING",
        "validator": "class",
        "default": "gunicorn.glogging.Logger",
        "desc": "The class that logs, as package.module.Class.",
    },
    {
        "name": "logconfig",
        "section": SECTION,
        "cli": ("--log-config",),
        "meta": "FILE",
        "validator": "string",
        "default": None,
        "desc": "A file in the format of logging.config.fileConfig.",
    },
    {
        "name": "logconfig_dict",
        "section": SECTION,
        "validator": "dict",
        "default": {},
        "desc": """\
            A dictionary for logging.config.dictConfig, merged over the default configuration.

            It wins over logconfig_json and logconfig.
            """,
    },
    {
        "name": "logconfig_json",
        "section": SECTION,
        "cli": ("--log-config-json",),
        "meta": "FILE",
        "validator": "string",
        "default": None,
        "desc": "A JSON file with a dictionary as for logconfig_dict; it wins over logconfig.",
    },
    {
        "name": "syslog_addr",
        "section": SECTION,
        "cli": ("--log-syslog-to",),
        "meta": "SYSLOG_ADDR",
        "validator": "string",
        "default": "udp://localhost:514",
        "desc": "The address of syslog: unix://PATH (with #dgram or #stream), udp://HOST:PORT or tcp://HOST:PORT.",
    },
    {
        "name": "syslog",
        "section": SECTION,
        "cli": ("--log-syslog",),
        "action": "store_true",
        "validator": "bool",
        "default": False,
        "desc": "Send the logs to syslog.",
    },
    {
        "name": "syslog_prefix",
        "section": SECTION,
        "cli": ("--log-syslog-prefix",),
        "meta": "SYSLOG_PREFIX",
        "validator": "string",
        "default": None,
        "desc": "The program's name in syslog: gunicorn.PREFIX instead of gunicorn.NAME.",
    },
    {
        "name": "syslog_facility",
        "section": SECTION,
        "cli": ("--log-syslog-facility",),
        "meta": "SYSLOG_FACILITY",
        "validator": "string",
        "default": "user",
        "desc": "The facility of syslog.",
    },
    {
        "name": "enable_stdio_inheritance",
        "section": SECTION,
        "cli": ("-R", "--enable-stdio-inheritance"),
        "action": "store_true",
        "validator": "bool",
        "default": False,
        "desc": "Let a daemon keep its standard output and standard error.",
    },
    {
        "name": "statsd_host",
        "section": SECTION,
        "cli": ("--statsd-host",),
        "meta": "STATSD_ADDR",
        "validator": validate_statsd_address,
        "default": None,
        "desc": """\
            The statsd server that gets metrics: HOST:PORT, or unix://PATH for a datagram socket.

            Then logger_class is gunicorn.instrument.statsd.Statsd, unless it is set to another one.
            """,
    },
    {
        "name": "dogstatsd_tags",
        "section": SECTION,
        "cli": ("--dogstatsd-tags",),
        "meta": "DOGSTATSD_TAGS",
        "validator": "string",
        "default": "",
        "desc": "Tags for each metric, as DataDog's statsd understands them: NAME:VALUE,NAME:VALUE.",
    },
    {
        "name": "statsd_prefix",
        "section": SECTION,
        "cli": ("--statsd-prefix",),
        "meta": "STATSD_PREFIX",
        "validator": "string",
        "default": "",
        "desc": "What the names of metrics begin with; a dot is added where it ends without.",
    },
    {
        "name": "enable_backlog_metric",
        "section": SECTION,
        "cli": ("--enable-backlog-metric",),
        "action": "store_true",
        "validator": "bool",
        "default": False,
        "desc": "Report once a second how many TCP connections wait to be accepted (Linux), as gunicorn.backlog.",
    },
)
