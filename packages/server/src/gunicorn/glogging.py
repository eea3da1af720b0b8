"""Logger: the error log and the access log of the master and its workers, over the standard library's ``logging``.

``setup(cfg)`` configures the loggers ``gunicorn.error`` and ``gunicorn.access``, in the master at its start and again
with each reload. Workers inherit it, and after each response call what ``access_log`` gives them: ``access``, or what
``quick_access`` made, which writes the same lines for less. Third parties subclass it (``logger_class``).
"""

import datetime
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TextIO

from gunicorn import syslog, util
from gunicorn.access_log import Access, AccessLog
from gunicorn.atoms import ResponseAtoms, SafeAtoms, now
from gunicorn.errors import ConfigError
from gunicorn.json_log import JSONFormatter
from gunicorn.log_files import Losses, close_handler, replace_file

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
        self.logfile: TextIO | None = None  # where captured output goes, while it is captured
        self.lock = threading.Lock()
        self.cfg = cfg
        self._output: tuple[int, int] | None = None  # standard output and error as they were before
        self._configured: list[tuple[logging.Logger, logging.Handler]] = []  # what a logging configuration has added
        self._quick: list[AccessLog] = []
        self.setup(cfg)

    # Set-up --------------------------------------------------------------------------------------------------------

    def __reduce__(self) -> tuple[Any, ...]:
        """For ``pickle``, by which a dirty worker that is a fresh interpreter gets it: the copy sets itself up anew."""
        return type(self), (self.cfg,)

    def setup(self, cfg: Any) -> None:
        """Configure the loggers; called again with the new configuration on a reload.

        :raises ConfigError: when a logging configuration cannot be used.
        """
        self.cfg = cfg
        level = (cfg.loglevel or "info").lower()
        self.loglevel = self.LOG_LEVELS.get(level, logging.INFO)
        self._forget_configuration()
        self.error_log.setLevel(self.loglevel)
        self.access_log.setLevel(logging.INFO)
        if cfg.capture_output and cfg.errorlog not in ("-", None):
            self._capture_output(cfg.errorlog)
        else:
            self._release_output()
        self._set_handler(self.error_log, cfg.errorlog, self._formatter(self.error_fmt, self.datefmt))
        self._set_handler(self.access_log, cfg.accesslog, self._formatter(self.access_fmt), stream=sys.stdout)
        self._set_syslog(cfg)
        self._apply_logconfig(cfg)
        self.access_log_enabled = type(self).access is not Logger.access or self._access_is_logged()
        if level not in self.LOG_LEVELS:
            self.warning("loglevel %r is none of %s: info is used", cfg.loglevel, ", ".join(self.LOG_LEVELS))

    def _formatter(self, fmt: str, datefmt: str | None = None) -> logging.Formatter:
        if self.cfg.log_json:
            return JSONFormatter(fields=self.cfg.access_log_json_fields)
        return logging.Formatter(fmt, datefmt)

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
        handler: logging.Handler | None = None
        if output == "-":
            handler = logging.StreamHandler(stream)
        elif output is not None:
            # Opened once, and before the old one is closed: who reads a pipe takes that for the end of it.
            handler = self._open(output)
        if old is not None:
            log.removeHandler(old)
            close_handler(old)
        if handler is None:
            return
        handler.setFormatter(fmt)
        handler._gunicorn = True  # type: ignore[attr-defined]  # others' handlers stay when ours are replaced
        handler.handleError = Losses(handler, output)  # type: ignore[method-assign,arg-type]
        log.addHandler(handler)

    def _own_handler(self, log: logging.Logger) -> logging.Handler | None:
        return next((handler for handler in log.handlers if getattr(handler, "_gunicorn", False)), None)

    def _open(self, path: str) -> logging.FileHandler:
        try:
            handler = logging.FileHandler(path)
        except OSError as exc:
            raise _unwritable(path, exc) from exc
        owner = self._owner()
        if owner is not None:
            util.chown(handler.baseFilename, *owner)  # so that workers can open it again after a rotation
        return handler

    def _owner(self) -> tuple[int, int] | None:
        """The user and group of the workers, where they are others than the master's."""
        owner = self.cfg.uid, self.cfg.gid
        return owner if os.geteuid() == 0 and owner != (0, 0) else None

    def _capture_output(self, path: str) -> None:
        """Lay standard output and standard error on the error log's file."""
        try:
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        except OSError as exc:
            raise _unwritable(path, exc) from exc
        self._flush_output()
        if self._output is None:
            self._output = os.dup(sys.stdout.fileno()), os.dup(sys.stderr.fileno())
        self._close_logfile()
        self.logfile = open(fd, "a", closefd=False)  # noqa: SIM115 - open for the life of the process
        self._lay_output_on(self.logfile.fileno())

    def _lay_output_on(self, fd: int) -> None:
        os.dup2(fd, sys.stdout.fileno())
        os.dup2(fd, sys.stderr.fileno())

    def _release_output(self) -> None:
        """Undo that: a reload has turned it off."""
        if self._output is None:
            return
        self._flush_output()
        for old, stream in zip(self._output, (sys.stdout, sys.stderr), strict=True):
            os.dup2(old, stream.fileno())
            os.close(old)
        self._output = None
        self._close_logfile()

    def _close_logfile(self) -> None:
        if self.logfile is not None:
            os.close(self.logfile.fileno())
            self.logfile = None

    def _flush_output(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()

    def _set_syslog(self, cfg: Any) -> None:
        for log, name in ((self.error_log, "error"), (self.access_log, "access")):
            for old in [h for h in log.handlers if getattr(h, "_gunicorn_syslog", False)]:
                log.removeHandler(old)
                close_handler(old)
            if cfg.syslog and (name == "error" or not cfg.disable_redirect_access_to_syslog):
                self._set_syslog_handler(log, cfg, self.syslog_fmt, name)

    def _set_syslog_handler(self, log: logging.Logger, cfg: Any, fmt: str, name: str) -> None:
        prefix = cfg.syslog_prefix or cfg.proc_name.replace(":", ".")
        handler = syslog.make_handler(cfg.syslog_addr, cfg.syslog_facility)
        handler.setFormatter(_Prefixed(f"gunicorn.{prefix}.{name} ", self._formatter(fmt)))
        handler._gunicorn_syslog = True  # type: ignore[attr-defined]
        log.addHandler(handler)

    def _forget_configuration(self) -> None:
        """Take back what the last logging configuration has put on the two loggers; a new one may say otherwise."""
        for log, handler in self._configured:
            log.removeHandler(handler)
            close_handler(handler)  # where another logger has it too, it opens its file again
            log.propagate = False
        self._configured = []

    def _apply_logconfig(self, cfg: Any) -> None:
        """logconfig_dict, else logconfig_json, else logconfig."""
        if not (cfg.logconfig_dict or cfg.logconfig_json or cfg.logconfig):
            return
        import json
        from logging.config import dictConfig, fileConfig

        before = {handler for log in self._logs() for handler in log.handlers}
        defaults = {**CONFIG_DEFAULTS, "formatters": {"generic": self._configured_formatter()}}
        try:
            if cfg.logconfig_dict:
                dictConfig({**defaults, **cfg.logconfig_dict})
            elif cfg.logconfig_json:
                with open(cfg.logconfig_json, encoding="utf-8") as file:
                    dictConfig({**defaults, **json.load(file)})
            else:
                if not os.path.exists(cfg.logconfig):
                    raise ConfigError(f"the logging configuration {cfg.logconfig!r} does not exist")
                variables = {"__file__": cfg.logconfig, "here": os.path.dirname(cfg.logconfig)}
                fileConfig(cfg.logconfig, defaults=variables, disable_existing_loggers=False)
        except (ValueError, TypeError, AttributeError, ImportError, OSError, KeyError, RuntimeError) as exc:
            raise ConfigError(f"the logging configuration cannot be used: {exc}") from exc
        finally:
            self._configured = [(log, added) for log in self._logs() for added in log.handlers if added not in before]

    def _configured_formatter(self) -> dict[str, Any]:
        """The formatter "generic" of a logging configuration that does not define its own ones."""
        if self.cfg.log_json:
            return {"()": JSONFormatter, "fields": self.cfg.access_log_json_fields}
        generic: dict[str, Any] = CONFIG_DEFAULTS["formatters"]["generic"]
        return generic

    def _logs(self) -> tuple[logging.Logger, logging.Logger]:
        return self.error_log, self.access_log

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

    _plain_access: ClassVar[Any] = access  # what quick_access can stand for; Statsd has one of its own

    def quick_access(self, dialect: str, slow: Access) -> AccessLog | None:
        """What writes the same lines as ``access`` for a fraction of its cost; None when only ``access`` can tell what
        there is to do: it or ``atoms`` are a subclass's, or somebody has set up the logger ``gunicorn.access`` his way.

        Called in a worker before it serves; see ``access_log.AccessLog`` for the arguments.
        """
        ours = type(self).access is type(self)._plain_access and type(self).atoms is Logger.atoms
        handler = self.plain_access_handler() if ours and self.atoms_wrapper_class is SafeAtoms else None
        if handler is None:
            return None
        try:
            quick = AccessLog(self, handler, dialect, slow, self._observer())
        except ValueError as exc:  # also what a stream without a file raises
            self.debug("The access log goes through logging: %s", exc)
            return None
        self._quick.append(quick)
        return quick

    def _observer(self) -> Callable[[str, float], None] | None:
        """What wants to know the status and the seconds of each response, beside the log."""
        return None

    def plain_access_handler(self) -> "logging.StreamHandler[Any] | None":
        """The access log's handler if it is the only one, ours, and does nothing but print lines."""
        log = self.access_log
        if type(log) is not logging.Logger or not log.isEnabledFor(logging.INFO) or log.disabled or log.filters:
            return None
        if len(log.handlers) != 1 or (log.propagate and log.parent is not None):
            return None
        handler = log.handlers[0]
        if type(handler) not in (logging.FileHandler, logging.StreamHandler) or handler is not self._own_handler(log):
            return None
        formatter: Any = handler.formatter
        as_set = type(formatter) is JSONFormatter if self.cfg.log_json else formatter_prints_message(formatter)
        if not as_set or handler.filters or handler.level > logging.INFO or "emit" in vars(handler):
            return None
        assert isinstance(handler, logging.StreamHandler)
        if isinstance(handler, logging.FileHandler) and handler.stream is None:
            handler.stream = handler._open()  # a logging configuration of the application's has closed it
        return handler

    def now(self) -> str:
        """The time in Apache's common log format."""
        return now()

    # Files ---------------------------------------------------------------------------------------------------------

    def reopen_files(self) -> None:
        """Open the log files again by their names, since somebody has moved them away (USR1). Never raises.

        It may run in a signal handler that interrupts a write to such a file; so a file takes the place of the old one
        under the same descriptor, and nothing is closed or flushed.
        """
        try:
            owner = self._owner()
            if self.logfile is not None:
                replace_file(self.logfile.fileno(), self.cfg.errorlog, owner)
                self._lay_output_on(self.logfile.fileno())
            for handler in self._file_handlers():
                if type(handler) is logging.FileHandler and handler.stream is not None:
                    replace_file(handler.stream.fileno(), handler.baseFilename, owner)
                elif handler.stream is not None:
                    with handler.lock or self.lock:
                        handler.close()
                        handler.stream = handler._open()
            for quick in self._quick:
                quick.reopen()
        except (OSError, ValueError) as exc:
            self.error("The log files cannot be opened again: %s", exc)

    def close_on_exec(self) -> None:
        """Keep the log files from programs that this process executes."""
        for handler in self._file_handlers():
            if handler.stream is not None:
                util.close_on_exec(handler.stream.fileno())

    def _file_handlers(self) -> list[logging.FileHandler]:
        handlers = [*self.error_log.handlers, *self.access_log.handlers]
        return [handler for handler in handlers if isinstance(handler, logging.FileHandler)]


def formatter_prints_message(formatter: Any) -> bool:
    """Whether it is a plain formatter of the format ``%(message)s``."""
    return type(formatter) is logging.Formatter and formatter._fmt == Logger.access_fmt


class _Prefixed(logging.Formatter):
    """Another formatter's text behind a prefix: the program's name in syslog."""

    def __init__(self, prefix: str, inner: logging.Formatter) -> None:
        super().__init__()
        self._prefix = prefix
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        return self._prefix + self._inner.format(record)


def _unwritable(path: str, exc: OSError) -> ConfigError:
    return ConfigError(f"the log file {path!r} cannot be written: {exc.strerror}")
