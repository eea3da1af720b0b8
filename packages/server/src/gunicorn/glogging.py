"""Logger: the error log and the access log of the master and its workers, over the standard library's ``logging``.

``setup(cfg)`` configures the loggers ``gunicorn.error`` and ``gunicorn.access``. Workers call ``access`` after each
response, if ``access_log_enabled``; third parties subclass it (``logger_class``).
"""

import datetime
import logging
import os
import sys
import threading
import traceback
from collections.abc import Mapping
from typing import Any, ClassVar, TextIO

from gunicorn import util
from gunicorn.atoms import ResponseAtoms, SafeAtoms, now
from gunicorn.errors import ConfigError

# RFC 3164 facilities; "ftp" and "security" are aliases that people write.
SYSLOG_FACILITIES = {
    "auth": 4,
    "authpriv": 10,
    "cron": 9,
    "daemon": 3,
    "ftp": 11,
    "kern": 0,
    "lpr": 6,
    "mail": 2,
    "news": 7,
    "security": 4,
    "syslog": 5,
    "user": 1,
    "uucp": 8,
    "local0": 16,
    "local1": 17,
    "local2": 18,
    "local3": 19,
    "local4": 20,
    "local5": 21,
    "local6": 22,
    "local7": 23,
}

# What logconfig_dict and logconfig_json are merged over.
CONFIG_DEFAULTS: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "root": {"level": "INFO", "handlers": ["console"]},
    "loggers": {
        "gunicorn.error": {
            "level": "INFO",
            "handlers": ["error_console"],
            "propagate": True,
            "qualname": "gunicorn.error",
        },
        "gunicorn.access": {
            "level": "INFO",
            "handlers": ["console"],
            "propagate": True,
            "qualname": "gunicorn.access",
        },
    },
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "generic", "stream": "ext://sys.stdout"},
        "error_console": {"class": "logging.StreamHandler", "formatter": "generic", "stream": "ext://sys.stderr"},
    },
    "formatters": {
        "generic": {
            "format": "%(asctime)s [%(process)d] [%(levelname)s] %(message)s",
            "datefmt": "[%Y-%m-%d %H:%M:%S %z]",
            "class": "logging.Formatter",
        }
    },
}


class Logger:
    """The logs of one instance. The methods named after levels write to the error log."""

    LOG_LEVELS: ClassVar[dict[str, int]] = {
        "critical": logging.CRITICAL,
        "error": logging.ERROR,
        "warning": logging.WARNING,
        "info": logging.INFO,
        "debug": logging.DEBUG,
    }

    loglevel = logging.INFO
    error_fmt = r"%(asctime)s [%(process)d] [%(levelname)s] %(message)s"
    datefmt = r"[%Y-%m-%d %H:%M:%S %z]"
    access_fmt = "%(message)s"
    syslog_fmt = "[%(process)d] %(message)s"
    atoms_wrapper_class: ClassVar[type[SafeAtoms]] = SafeAtoms

    # Whether ``access`` has anything to do; drivers skip the call otherwise. setup() decides.
    access_log_enabled = True

    def __init__(self, cfg: Any) -> None:
        """:param cfg: the Config; ``setup(cfg)`` is called with it."""
        self.error_log = logging.getLogger("gunicorn.error")
        self.error_log.propagate = False
        self.access_log = logging.getLogger("gunicorn.access")
        self.access_log.propagate = False
        self.error_handlers: list[logging.Handler] = []
        self.access_handlers: list[logging.Handler] = []
        self.logfile: TextIO | None = None  # where captured output goes
        self.lock = threading.Lock()
        self.cfg = cfg
        self.setup(cfg)

    # Set-up --------------------------------------------------------------------------------------------------------

    def setup(self, cfg: Any) -> None:
        """Configure the loggers; called again with the new configuration on a reload.

        :raises ConfigError: when a logging configuration cannot be used.
        """
        self.cfg = cfg
        self.loglevel = self.LOG_LEVELS.get(cfg.loglevel.lower(), logging.INFO)
        self.error_log.setLevel(self.loglevel)
        self.access_log.setLevel(logging.INFO)
        if cfg.capture_output and cfg.errorlog != "-":
            self._capture_output(cfg.errorlog)
        self._set_handler(self.error_log, cfg.errorlog, logging.Formatter(self.error_fmt, self.datefmt))
        self._set_handler(self.access_log, cfg.accesslog, logging.Formatter(self.access_fmt), stream=sys.stdout)
        self._set_syslog(cfg)
        self._apply_logconfig(cfg)
        self.access_log_enabled = type(self).access is not Logger.access or self._access_is_logged()

    def _access_is_logged(self) -> bool:
        cfg = self.cfg
        to_syslog = cfg.syslog and not cfg.disable_redirect_access_to_syslog
        return bool(cfg.accesslog or cfg.logconfig or cfg.logconfig_dict or cfg.logconfig_json or to_syslog)

    def _set_handler(
        self, log: logging.Logger, output: str | None, fmt: logging.Formatter, stream: TextIO | None = None
    ) -> None:
        """Let ``log`` write to ``output`` (a path, ``-`` for ``stream``, or nothing), in place of what we gave it
        before.
        """
        old = self._own_handler(log)
        if old is not None:
            log.removeHandler(old)
            old.close()
        if output is None:
            return
        if output == "-":
            handler: logging.Handler = logging.StreamHandler(stream)
        else:
            self._check_writable(output)
            handler = logging.FileHandler(output)
            with_owner = self.cfg.uid, self.cfg.gid
            if os.geteuid() == 0 and with_owner != (0, 0):
                util.chown(handler.baseFilename, *with_owner)  # so that workers can open it again after a rotation
        handler.setFormatter(fmt)
        handler._gunicorn = True  # type: ignore[attr-defined]  # others' handlers stay when ours are replaced
        log.addHandler(handler)

    def _own_handler(self, log: logging.Logger) -> logging.Handler | None:
        return next((handler for handler in log.handlers if getattr(handler, "_gunicorn", False)), None)

    def _check_writable(self, path: str) -> None:
        try:
            with open(path, "a"):
                pass
        except OSError as exc:
            raise ConfigError(f"the log file {path!r} cannot be written: {exc.strerror}") from exc

    def _capture_output(self, path: str) -> None:
        """Lay standard output and standard error on the error log's file."""
        self._check_writable(path)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        if self.logfile is not None:
            self.logfile.close()
        self.logfile = open(path, "a+")  # noqa: SIM115 - open for the life of the process
        os.dup2(self.logfile.fileno(), sys.stdout.fileno())
        os.dup2(self.logfile.fileno(), sys.stderr.fileno())

    def _set_syslog(self, cfg: Any) -> None:
        if not cfg.syslog:
            return
        self._set_syslog_handler(self.error_log, cfg, self.syslog_fmt, "error")
        if not cfg.disable_redirect_access_to_syslog:
            self._set_syslog_handler(self.access_log, cfg, self.syslog_fmt, "access")

    def _set_syslog_handler(self, log: logging.Logger, cfg: Any, fmt: str, name: str) -> None:
        from logging.handlers import SysLogHandler

        for handler in [h for h in log.handlers if getattr(h, "_gunicorn_syslog", False)]:
            log.removeHandler(handler)
            handler.close()
        facility = SYSLOG_FACILITIES.get(cfg.syslog_facility.lower())
        if facility is None:
            raise ConfigError(
                f"syslog_facility {cfg.syslog_facility!r} is unknown; use one of {', '.join(sorted(SYSLOG_FACILITIES))}"
            )
        socktype, address = parse_syslog_address(cfg.syslog_addr)
        prefix = cfg.syslog_prefix or cfg.proc_name.replace(":", ".")
        formatter = logging.Formatter(f"gunicorn.{prefix}.{name} {fmt}")
        handler = SysLogHandler(address=address, facility=facility, socktype=socktype)
        handler.setFormatter(formatter)
        handler._gunicorn_syslog = True  # type: ignore[attr-defined]
        log.addHandler(handler)

    def _apply_logconfig(self, cfg: Any) -> None:
        """logconfig_dict, else logconfig_json, else logconfig."""
        if not (cfg.logconfig_dict or cfg.logconfig_json or cfg.logconfig):
            return
        import json
        from logging.config import dictConfig, fileConfig

        try:
            if cfg.logconfig_dict:
                dictConfig({**CONFIG_DEFAULTS, **cfg.logconfig_dict})
            elif cfg.logconfig_json:
                with open(cfg.logconfig_json, encoding="utf-8") as file:
                    dictConfig({**CONFIG_DEFAULTS, **json.load(file)})
            else:
                defaults = {"__file__": cfg.logconfig, "here": os.path.dirname(cfg.logconfig)}
                if not os.path.exists(cfg.logconfig):
                    raise ConfigError(f"the logging configuration {cfg.logconfig!r} does not exist")
                fileConfig(cfg.logconfig, defaults=defaults, disable_existing_loggers=False)
        except (ValueError, TypeError, AttributeError, ImportError, OSError, KeyError, RuntimeError) as exc:
            raise ConfigError(f"the logging configuration cannot be used: {exc}") from exc

    # The error log -------------------------------------------------------------------------------------------------

    def critical(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        self.error_log.critical(msg, *args, **kwargs)

    def error(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        self.error_log.error(msg, *args, **kwargs)

    def warning(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        self.error_log.warning(msg, *args, **kwargs)

    def info(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        self.error_log.info(msg, *args, **kwargs)

    def debug(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        self.error_log.debug(msg, *args, **kwargs)

    def exception(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        self.error_log.exception(msg, *args, **kwargs)

    def log(self, lvl: int | str, msg: Any, *args: Any, **kwargs: Any) -> None:
        level = self.LOG_LEVELS.get(lvl.lower(), logging.INFO) if isinstance(lvl, str) else lvl
        self.error_log.log(level, msg, *args, **kwargs)

    # The access log ------------------------------------------------------------------------------------------------

    def atoms(
        self, resp: Any, req: Any, environ: Mapping[str, Any], request_time: datetime.timedelta
    ) -> dict[str, Any]:
        """Every atom of one response, for formats; see ``gunicorn.atoms.ResponseAtoms`` for the arguments.

        A subclass may add some; only then are all made for each line.
        """
        return ResponseAtoms(resp, req, environ, request_time).all()

    def access(self, resp: Any, req: Any, environ: Mapping[str, Any], request_time: datetime.timedelta) -> None:
        """Write one response to the access log; see ``atoms`` for the arguments. Never raises."""
        if not self._access_is_logged():
            return
        try:
            if type(self).atoms is Logger.atoms and self.atoms_wrapper_class is SafeAtoms:
                atoms: Any = ResponseAtoms(resp, req, environ, request_time)
            else:
                atoms = self.atoms_wrapper_class(self.atoms(resp, req, environ, request_time))
            self.access_log.info(self.cfg.access_log_format, atoms)
        except Exception:
            self.error(traceback.format_exc())

    def now(self) -> str:
        """The time in Apache's common log format."""
        return now()

    # Files ---------------------------------------------------------------------------------------------------------

    def reopen_files(self) -> None:
        """Open the log files again by their names, since somebody has moved them away (USR1)."""
        if self.cfg.capture_output and self.cfg.errorlog != "-":
            self._capture_output(self.cfg.errorlog)
        for handler in self._file_handlers():
            handler.acquire()
            try:
                if handler.stream is not None:
                    handler.close()
                    handler.stream = handler._open()
            finally:
                handler.release()

    def close_on_exec(self) -> None:
        """Keep the log files from programs that this process executes."""
        for handler in self._file_handlers():
            if handler.stream is not None:
                util.close_on_exec(handler.stream.fileno())

    def _file_handlers(self) -> list[logging.FileHandler]:
        handlers = [*self.error_log.handlers, *self.access_log.handlers]
        return [handler for handler in handlers if isinstance(handler, logging.FileHandler)]


def parse_syslog_address(text: str) -> tuple[Any, Any]:
    """(socket type or None, address) of a syslog address: ``unix://path#dgram``, ``udp://host:port``,
    ``tcp://host:port``.

    :raises ConfigError: when it cannot be read.
    """
    import socket

    scheme, separator, rest = text.partition("://")
    if separator and scheme == "unix":
        path, _, kind = rest.partition("#")
        kinds = {"": None, "dgram": socket.SOCK_DGRAM, "stream": socket.SOCK_STREAM}
        if path and kind in kinds:
            return kinds[kind], path
    elif separator and scheme in ("udp", "tcp"):
        try:
            address = util.parse_address(rest, default_port=514)
        except ValueError:
            address = ""
        if isinstance(address, tuple):
            return socket.SOCK_DGRAM if scheme == "udp" else socket.SOCK_STREAM, address
    raise ConfigError(f"syslog_addr {text!r} is none of unix://PATH, udp://HOST:PORT, tcp://HOST:PORT")
