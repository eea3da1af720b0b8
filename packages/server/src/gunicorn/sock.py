"""Listening sockets: made, inherited, closed and unlinked by the arbiter; handed to workers as ``worker.sockets``."""

from __future__ import annotations

import errno
import os
import socket
import stat
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from gunicorn import util
from gunicorn.errors import HaltServer

if TYPE_CHECKING:
    import ssl

BIND_ATTEMPTS = 5
RETRY_SECONDS = 1.0


class Listener(socket.socket):
    """A listening socket that knows the address it was asked for, and which file is its own.

    A real ``socket.socket``, so that any event loop takes it; accepted connections inherit TCP_NODELAY from it.
    """

    cfg_addr: Any = None  # what util.parse_address returned for it
    scheme = "http"  # or https, where the configuration has TLS
    _file_id: tuple[int, int] | None = None  # device and inode of the unix socket's file that we made
    _owner_pid = 0

    def __str__(self) -> str:
        """As the log shows it: ``http://127.0.0.1:8000``, ``http://[::1]:8000`` or ``unix:/path``."""
        try:
            address = self.getsockname()
        except OSError:
            return "closed"
        if self.family == socket.AF_UNIX:
            return f"unix:{util.host_port(address)}"
        return f"{self.scheme}://{util.host_port(address)}"

    def own_file(self, path: str) -> None:
        """Remember the file as made by this process."""
        status = os.stat(path)
        self._file_id = (status.st_dev, status.st_ino)
        self._owner_pid = os.getpid()

    def adopt_file(self) -> None:
        """Take over the file of an inherited unix socket, whose maker has gone."""
        path = self.getsockname()
        if isinstance(path, str) and os.path.exists(path):
            self.cfg_addr = path
            self.own_file(path)

    def unlink(self) -> None:
        """Remove the unix socket's file, if this process made it and nobody has replaced it since."""
        if self._file_id is None or self._owner_pid != os.getpid():
            return
        path = str(self.cfg_addr)
        try:
            status = os.stat(path)
        except OSError:
            return
        if (status.st_dev, status.st_ino) == self._file_id:
            util.unlink(path)


def create_sockets(cfg: Any, log: Any, fds: Sequence[int] | None = None) -> list[Listener]:
    """The listening sockets: those inherited as ``fds``, else one for each address of ``bind``.

    :raises HaltServer: when an address cannot be listened at.
    """
    if fds:
        return [_inherit(fd, fd, cfg) for fd in fds]
    listeners: list[Listener] = []
    try:
        for address in cfg.address:
            listeners.append(_listen_at(address, cfg, log, BIND_ATTEMPTS))
    except BaseException:
        close_sockets(listeners)
        raise
    return listeners


def replace_sockets(old: Sequence[Listener], cfg: Any, log: Any) -> list[Listener]:
    """The listeners for the addresses of a new configuration: those of ``old`` that stay, and new ones.

    :raises HaltServer: as ``create_sockets``, but at the first attempt; then nothing has changed.
    """
    kept = {listener.cfg_addr: listener for listener in old}
    made: list[Listener] = []
    result: list[Listener] = []
    try:
        for address in cfg.address:
            listener = kept.get(address)
            if listener is None:
                listener = _listen_at(address, cfg, log, attempts=1)
                made.append(listener)
            listener.scheme = scheme_of(cfg)
            result.append(listener)
    except BaseException:
        close_sockets(made)
        raise
    return result


def scheme_of(cfg: Any) -> str:
    """How addresses of the listeners are shown."""
    return "https" if cfg.is_ssl else "http"


def ssl_context(cfg: Any) -> ssl.SSLContext:
    """The TLS context of this configuration, made at the first call: in the master, which workers are forked from.

    So a certificate that cannot be used ends the master and not each worker, only the master needs the right to read
    the key, and a session that one worker began can be resumed at another. HUP makes a new configuration.

    :raises ConfigError: when the settings are wrong, or a file of them; it names both.
    """
    context: ssl.SSLContext | None = cfg.__dict__.get("_ssl_context")
    if context is None:
        from gunicorn import tls

        context = cfg.__dict__["_ssl_context"] = tls.make_context(cfg)
    return context


def _listen_at(address: Any, cfg: Any, log: Any, attempts: int) -> Listener:
    return _inherit(address, address, cfg) if isinstance(address, int) else _bind(address, cfg, log, attempts)


def close_sockets(listeners: Iterable[Listener], unlink: bool = True) -> None:
    """Close listeners; ``unlink`` also removes the files of unix sockets that are ours."""
    for listener in listeners:
        if unlink:
            listener.unlink()
        listener.close()


def _inherit(fd: int, address: Any, cfg: Any) -> Listener:
    listener = None
    try:
        listener = Listener(fileno=fd)
        listener.cfg_addr = address
        _prepare(listener, cfg)
        listener.listen(cfg.backlog)
    except OSError as exc:
        if listener is not None:
            listener.detach()  # whoever has passed it may use it for something else
        raise HaltServer(f"cannot listen on the inherited descriptor {fd}: {exc.strerror}", 1) from exc
    return listener


def _prepare(listener: Listener, cfg: Any) -> None:
    listener.scheme = scheme_of(cfg)
    listener.setblocking(False)
    listener.set_inheritable(False)  # a new master gets its descriptors on purpose (USR2)
    if listener.family != socket.AF_UNIX:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _bind(address: Any, cfg: Any, log: Any, attempts: int) -> Listener:
    """One listener; while the address is in use, a few attempts, since a predecessor may be about to end."""
    text = util.host_port(address)
    for attempt in range(1, attempts + 1):
        try:
            return _bind_unix(address, cfg) if isinstance(address, str) else _bind_tcp(address, cfg)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                raise HaltServer(f"cannot listen at {text}: {exc.strerror or exc}", 1) from exc
            if attempt == attempts:
                raise HaltServer(f"cannot listen at {text}: the address is in use", 1) from exc
            log.error("Connection in use: %s; retrying in %g seconds", text, RETRY_SECONDS)
            time.sleep(RETRY_SECONDS)
    raise AssertionError("unreachable")


def _bind_tcp(address: tuple[str, int], cfg: Any) -> Listener:
    family = socket.AF_INET6 if util.is_ipv6(address[0]) else socket.AF_INET
    listener = Listener(family, socket.SOCK_STREAM)
    try:
        listener.cfg_addr = address
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if cfg.reuse_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        _prepare(listener, cfg)
        listener.bind(address)
        listener.listen(cfg.backlog)
    except BaseException:
        listener.close()
        raise
    return listener


def _bind_unix(path: str, cfg: Any) -> Listener:
    _remove_stale(path)
    listener = Listener(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.cfg_addr = path
        _prepare(listener, cfg)
        old_umask = os.umask(cfg.umask)
        try:
            listener.bind(path)
        finally:
            os.umask(old_umask)
        listener.own_file(path)
        if (cfg.uid, cfg.gid) != (os.geteuid(), os.getegid()):
            util.chown(path, cfg.uid, cfg.gid)
        listener.listen(cfg.backlog)
    except BaseException:
        listener.unlink()
        listener.close()
        raise
    return listener


def _remove_stale(path: str) -> None:
    """Remove a socket file that nobody listens at any more.

    :raises OSError: EADDRINUSE when somebody does, EEXIST when it is no socket.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, f"{path!r} exists and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a full backlog must not hold us; it proves that somebody listens
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            util.unlink(path)
            return
        except BlockingIOError:
            pass
    raise OSError(errno.EADDRINUSE, "the address is in use")
