"""Statsd: a logger that also counts, and sends its numbers to a statsd server (``statsd_host``).

It takes the place of ``glogging.Logger`` when ``statsd_host`` is set, unless ``logger_class`` says otherwise. Metrics,
after ``statsd_prefix``:

    gunicorn.requests                     counter, one per response
    gunicorn.request.status.NNN           counter, the same by status
    gunicorn.request.duration             timing, milliseconds
    gunicorn.log.critical, .error, …      counters, lines of the error log (critical, error, exception, warning)
    gunicorn.workers                      gauge, when the number of workers changes
    gunicorn.backlog                      histogram, with enable_backlog_metric

Applications add theirs by logging: ``log.info("", extra={"metric": name, "value": 1, "mtype": "counter"})``; ``mtype``
is ``counter``, ``gauge`` or ``histogram``, and an empty message is not logged.
"""

from __future__ import annotations

import atexit
import datetime
import socket
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from gunicorn.glogging import Logger

_TYPES = {"counter": "c|@1.0", "gauge": "g", "histogram": "h"}


class Statsd(Logger):
    """The logs, and the metrics."""

    _metrics: Metrics | None = None

    def setup(self, cfg: Any) -> None:
        """See ``Logger.setup``; a statsd server that cannot be found is logged, and does without metrics until the next
        reload.
        """
        super().setup(cfg)
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None
        if cfg.statsd_host:
            try:
                self._metrics = Metrics(cfg.statsd_host, cfg.statsd_prefix, cfg.dogstatsd_tags)
            except OSError as exc:
                super().error("statsd_host %r cannot be used, there will be no metrics: %s", cfg.statsd_host, exc)

    # The error log -------------------------------------------------------------------------------------------------

    def critical(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        self._log(super().critical, "gunicorn.log.critical", msg, args, kwargs)

    def error(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        self._log(super().error, "gunicorn.log.error", msg, args, kwargs)

    def warning(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        self._log(super().warning, "gunicorn.log.warning", msg, args, kwargs)

    def exception(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        self._log(super().exception, "gunicorn.log.exception", msg, args, kwargs)

    def info(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        self._log(super().info, None, msg, args, kwargs)

    def debug(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        self._log(super().debug, None, msg, args, kwargs)

    def log(self, lvl: int | str, msg: Any, *args: Any, **kwargs: Any) -> None:
        self._log(super().log, None, msg, args, kwargs, lvl)

    def _log(
        self, write: Callable[..., None], counter: str | None, msg: Any, args: Any, kwargs: dict[str, Any], *level: Any
    ) -> None:
        if counter is not None:
            self.increment(counter)
        extra = kwargs.get("extra")
        if isinstance(extra, Mapping) and "metric" in extra and extra.get("mtype") in _TYPES:
            self._send(extra["metric"], extra.get("value", 1), _TYPES[extra["mtype"]])
        if msg or extra is None:
            write(*level, msg, *args, **kwargs)

    # The access log ------------------------------------------------------------------------------------------------

    def access(self, resp: Any, req: Any, environ: Mapping[str, Any], request_time: datetime.timedelta) -> None:
        """The line of the access log, if there is one, and the metrics of a response. Never raises."""
        super().access(resp, req, environ, request_time)
        status = resp.status
        text = status.decode("latin-1") if isinstance(status, bytes) else str(status)
        self._observe(text[:3], request_time.total_seconds())

    _plain_access: ClassVar[Any] = access

    def _observer(self) -> Callable[[str, float], None]:
        return self._observe

    def _observe(self, status: str, seconds: float) -> None:
        if self._metrics is not None:
            self._metrics.send(
                ("gunicorn.request.duration", round(seconds * 1000, 3), "ms"),
                ("gunicorn.requests", 1, "c|@1.0"),
                (f"gunicorn.request.status.{status}", 1, "c|@1.0"),
            )

    # Metrics -------------------------------------------------------------------------------------------------------

    def increment(self, name: str, value: int = 1) -> None:
        """Add to a counter."""
        self._send(name, value, _TYPES["counter"])

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge."""
        self._send(name, value, _TYPES["gauge"])

    def histogram(self, name: str, value: float) -> None:
        """Add a sample to a histogram."""
        self._send(name, value, _TYPES["histogram"])

    def _send(self, name: str, value: Any, kind: str) -> None:
        if self._metrics is not None:
            self._metrics.send((name, value, kind))


class Metrics:
    """The way to a statsd server: datagrams that leave at once or not at all."""

    def __init__(self, address: tuple[str, int] | str, prefix: str, tags: str) -> None:
        """
        :param address: host and port, or the path of a unix socket. :param tags: of dogstatsd, with commas between.
        :raises OSError: when the host cannot be found.
        """
        self._address = address
        self._prefix = prefix.rstrip(".") + "." if prefix else ""
        self._tags = f"|#{tags}" if tags else ""
        if isinstance(address, str):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        else:
            family, kind, protocol, _, where = socket.getaddrinfo(*address, type=socket.SOCK_DGRAM)[0]
            self._socket = socket.socket(family, kind, protocol)
            self._address = where  # type: ignore[assignment]
        self._socket.setblocking(False)
        atexit.register(self.close)

    def send(self, *metrics: tuple[str, Any, str]) -> None:
        """Send (name, value, type) of each in one datagram, a line each; what cannot be sent is lost. Never raises."""
        prefix, tags = self._prefix, self._tags
        text = "\n".join([f"{prefix}{name}:{value}|{kind}{tags}" for name, value, kind in metrics])
        try:
            self._socket.sendto(text.encode(), self._address)
        except OSError:  # nobody listens, or its buffer is full
            pass

    def close(self) -> None:
        """Release the socket; what is sent later is lost."""
        atexit.unregister(self.close)
        self._socket.close()
