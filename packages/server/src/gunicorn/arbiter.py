"""Arbiter: the master process. It listens, forks and replaces workers, hosts the services, and serves nothing itself.

``app.base.BaseApplication.run`` makes one and calls ``run``; others subclass it (COMPAT.md). It is one selector loop:
no thread, no event loop, and no application unless ``preload_app`` asks for it. What keeps the workers is its other
half, ``supervision.keeper``.

Signals: TERM drains, INT and QUIT stop at once, HUP reloads, TTIN and TTOU scale, USR1 reopens the logs, USR2 starts a
new master beside this one, WINCH stops the workers of a daemon.
"""

import errno
import os
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any, ClassVar, NoReturn

from gunicorn import __version__, sock, systemd
from gunicorn.errors import AppImportError, ConfigError, HaltServer
from gunicorn.pidfile import Pidfile
from gunicorn.supervision import fork, proctitle
from gunicorn.supervision.gauges import Gauges
from gunicorn.supervision.introspection import MasterIntrospection
from gunicorn.supervision.keeper import WorkerKeeper
from gunicorn.supervision.loop import MasterLoop
from gunicorn.supervision.scoreboard import Scoreboard
from gunicorn.supervision.service import Service
from gunicorn.supervision.services import ServiceGroup
from gunicorn.supervision.table import next_deadline
from gunicorn.supervision.upgrade import Upgrade

TICK = 1.0  # seconds between two looks at the workers, when nothing happens
LOADING_TICK = 0.1  # the same while a worker loads the application
FINAL_REAP = 5.0  # seconds to wait for the last killed children


class Arbiter(WorkerKeeper):
    """The master."""

    SIGNALS: ClassVar[list[signal.Signals]] = [
        signal.SIGHUP,
        signal.SIGQUIT,
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGTTIN,
        signal.SIGTTOU,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGWINCH,
        signal.SIGCHLD,
    ]

    def __init__(self, app: Any) -> None:
        """:param app: a ``BaseApplication`` whose configuration is loaded.

        :raises ConfigError: when a class or a certificate that the configuration names cannot be loaded.
        """
        super().__init__()
        self.LISTENERS: list[sock.Listener] = []
        self.pidfile: Pidfile | None = None
        self.started_at = time.monotonic()
        self._exit_status = 0
        self._env_before: dict[str, str | None] = {}  # what raw_env has replaced
        self.upgrade = Upgrade(self)
        self.gauges = Gauges()
        self.setup(app)
        self.loop = MasterLoop(self.log)
        self.scoreboard = Scoreboard(max(1024, 4 * self.num_workers))
        self.introspection = MasterIntrospection(self)
        self.services = ServiceGroup(
            self.cfg.services, self.loop, self.introspection, self.SIGNALS, self.enter_child, self.reconfigure_child
        )

    # Configuration -------------------------------------------------------------------------------------------------

    def setup(self, app: Any) -> None:
        """Take over the configuration of ``app``; called at the start and after each reload.

        :raises ConfigError, AppImportError: before anything but the log and the environment has changed.
        """
        cfg = app.cfg
        worker_class, address, env = cfg.worker_class, cfg.address, cfg.env
        if cfg.is_ssl:
            sock.ssl_context(cfg)  # for the workers; what is wrong with it is better known now
        if self.log is None:
            self.log = cfg.logger_class(cfg)
        else:
            self.log.setup(cfg)
        self._set_env(env)
        if cfg.preload_app:
            app.wsgi()
        self.app, self.cfg, self.worker_class, self.address = app, cfg, worker_class, address
        self.timeout = cfg.timeout
        self.proc_name = cfg.proc_name
        self.num_workers = cfg.workers
        self.log.debug("Current configuration:\n%s", cfg)

    def _set_env(self, env: Mapping[str, str]) -> None:
        for name, value in env.items():
            self._env_before.setdefault(name, os.environ.get(name))
            os.environ[name] = value

    # Life ----------------------------------------------------------------------------------------------------------

    def run(self) -> NoReturn:
        """Serve until told to stop; then exit with the status."""
        try:
            try:
                self.start()
                self.manage_workers()
                while self._graceful is None:
                    self._turn()
                    self.manage_workers()
            except HaltServer as exc:
                self.halt(exc.reason, exc.exit_status)
            except KeyboardInterrupt:  # before the signals are caught
                self.stop(graceful=False)
            except SystemExit as exc:  # a hook's
                self.halt(f"stopped by SystemExit({exc.code!r})", fork.exit_status(exc))
            except Exception:
                self.log.exception("Unhandled exception in the master")
                self.halt("stopped by an error of the master", 255)
            self._drain()
        finally:
            self._close()
        sys.exit(self._exit_status)

    def start(self) -> None:
        """Listen, and start the services.

        :raises HaltServer: when an address cannot be listened at, or the pid file is another's.
        """
        self.log.info("Starting gunicorn %s", __version__)
        self.pid = os.getpid()
        self.started_at = time.monotonic()
        self._parent_pipe = os.pipe()
        self.upgrade.begin()
        self._write_pidfile()
        self.cfg.on_starting(self)
        self.loop.catch(self.SIGNALS)
        self._listen()
        urls = ",".join(map(str, self.LISTENERS))
        self.log.info("Listening at: %s (%s)", urls, self.pid)
        self.log.info("Using worker: %s", self.cfg.worker_class_str)
        if hasattr(self.worker_class, "check_config"):
            self.worker_class.check_config(self.cfg, self.log)
        self._warn_of_settings()
        self.services.configure(self.cfg, self.log)
        self.services.start(time.monotonic())
        self._set_title()
        systemd.sd_notify("READY=1\nSTATUS=Gunicorn arbiter booted", self.log)
        self.cfg.when_ready(self)

    def _warn_of_settings(self) -> None:
        """Say which settings will not do what their author hopes for, though one can serve with them."""
        if not self.num_workers:
            self.log.warning("workers is 0: nothing is served until TTIN adds a worker")
        directory = self.cfg.tmp_upload_dir
        if directory is not None and not os.path.isdir(directory):
            self.log.warning("tmp_upload_dir %r is no directory: large uploads will fail", directory)

    def _set_title(self) -> None:
        proctitle.set_title(f"master [{self.proc_name}]")

    def _write_pidfile(self) -> None:
        if self.cfg.pidfile is None:
            return
        pidfile = Pidfile(self.cfg.pidfile + self.upgrade.suffix)
        try:
            pidfile.create(self.pid)
        except RuntimeError as exc:
            raise HaltServer(str(exc), 1) from exc
        self.pidfile = pidfile

    def _listen(self) -> None:
        fds = self.upgrade.inherited_fds()
        if not fds:
            count = systemd.listen_fds()
            fds = list(range(systemd.SD_LISTEN_FDS_START, systemd.SD_LISTEN_FDS_START + count))
        self.LISTENERS = sock.create_sockets(self.cfg, self.log, fds)

    def halt(self, reason: str | None = None, exit_status: int = 0) -> None:
        """Stop gracefully, and exit with the status."""
        if reason is not None:
            (self.log.error if exit_status else self.log.info)("Shutting down: %s", reason)
        self._exit_status = exit_status
        self.stop()

    def stop(self, graceful: bool = True) -> None:
        """Begin to stop; a second call with ``graceful=False`` hurries one that drains."""
        if self._graceful is None or not graceful:
            self._graceful = graceful
        self.loop.wakeup()

    def _turn(self) -> None:
        """Wait for something to happen, and see to all of it but the plan."""
        for signum in self.loop.turn(self._patience(time.monotonic())):
            self._dispatch(signal.Signals(signum))
        self.reap_workers()
        self.services.tick(time.monotonic())
        self.murder_workers()
        self.upgrade.promote_when_alone()
        self.gauges.report(
            self.log, len(self.WORKERS), self.LISTENERS, self.cfg.enable_backlog_metric, time.monotonic()
        )

    def _patience(self, now: float) -> float:
        """Seconds until something is due."""
        times = [now + (TICK if all(entry.booted for entry in self.table.values()) else LOADING_TICK)]
        times += [
            due
            for due in (
                self.services.next_tick(),
                self.services.stop_deadline(),
                next_deadline(self.table.values(), self.timeout),
                None if self.backoff.allows(now) else self.backoff.not_before,
            )
            if due is not None
        ]
        return max(0.0, min(times) - now)

    # Signals -------------------------------------------------------------------------------------------------------

    def _dispatch(self, signum: signal.Signals) -> None:
        name = signum.name[3:].lower()
        if signum != signal.SIGCHLD:
            self.log.info("Handling signal: %s", name)
        getattr(self, f"handle_{name}")()

    def handle_chld(self) -> None:
        """A child has ended; every turn reaps."""

    def handle_hup(self) -> None:
        self.reload()

    def handle_term(self) -> None:
        self.stop(graceful=True)

    def handle_int(self) -> None:
        self.stop(graceful=False)

    def handle_quit(self) -> None:
        self.stop(graceful=False)

    def handle_ttin(self) -> None:
        self.num_workers += 1

    def handle_ttou(self) -> None:
        if self.num_workers > 1:
            self.num_workers -= 1

    def handle_usr1(self) -> None:
        self.reopen()

    def handle_usr2(self) -> None:
        self.upgrade.execute()

    def handle_winch(self) -> None:
        if self.cfg.daemon:
            self.log.info("Graceful stop of the workers")
            self.num_workers = 0
        else:
            self.log.debug("SIGWINCH ignored: not a daemon")

    def reopen(self) -> None:
        """Open the log files again, here, in the workers and in the services' processes."""
        self.log.reopen_files()
        self.services.reopen()
        self.kill_workers(signal.SIGUSR1)

    # Reload --------------------------------------------------------------------------------------------------------

    def reload(self) -> None:
        """Load the configuration again and replace all workers; what cannot be loaded leaves everything as it is."""
        old_cfg, old_address = self.cfg, self.address
        old_env = {name: os.environ.get(name) for name in self._env_before}
        systemd.sd_notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}", self.log)
        _restore_env(self._env_before)
        try:
            self.app.reload()
            self.setup(self.app)
        except (ConfigError, AppImportError) as exc:
            _restore_env(old_env)
            self.app.cfg = old_cfg
            self.log.setup(old_cfg)
            self.log.error("Reload failed, the old configuration stays in use: %s", exc)
            systemd.sd_notify("READY=1", self.log)
            return
        if self.address != old_address and not self.upgrade.inherited and not self._listen_again():
            self.address = old_address  # so that the next reload tries again
        if self.cfg.pidfile != old_cfg.pidfile:
            self._move_pidfile()
        self._set_title()
        self.services.configure(self.cfg, self.log)
        self.services.reload(time.monotonic())
        self._call_hook("on_reload", self)
        self.generation += 1
        self.backoff.reset()
        systemd.sd_notify("READY=1", self.log)

    def reconfigure_child(self) -> None:
        """In a service's child: the configuration, environment and logs as they are in the master after its reload.

        :raises ConfigError, OSError: the child cannot load them; everything stays as it was.
        """
        old_cfg, old_env = self.cfg, {name: os.environ.get(name) for name in self._env_before}
        _restore_env(self._env_before)
        try:
            self.app.reload()
            self._set_env(self.app.cfg.env)
            self.log.setup(self.app.cfg)
        except Exception:
            _restore_env(old_env)
            self.app.cfg = old_cfg
            self.log.setup(old_cfg)
            raise
        self.cfg = self.app.cfg
        self.services.configure(self.cfg, self.log)

    def _move_pidfile(self) -> None:
        if self.pidfile is not None:
            self.pidfile.unlink()
            self.pidfile = None
        try:
            self._write_pidfile()
        except HaltServer as exc:
            self.log.error("%s", exc.reason)

    def _listen_again(self) -> bool:
        """Listeners for the new addresses; those of addresses that stay are kept, so that no connection is lost.

        False when one of them cannot be listened at: the old ones stay.
        """
        try:
            listeners = sock.replace_sockets(self.LISTENERS, self.cfg, self.log)
        except HaltServer as exc:
            self.log.error("The old listening sockets stay in use: %s", exc.reason)
            return False
        sock.close_sockets(listener for listener in self.LISTENERS if listener not in listeners)
        self.LISTENERS = listeners
        self.log.info("Listening at: %s (%s)", ",".join(map(str, listeners)), self.pid)
        return True

    # Children -------------------------------------------------------------------------------------------------------

    def bell(self) -> int:
        return self.loop.bell()

    def enter_child(self, owner: Service | None = None) -> None:
        """In a new child: close what is the master's."""
        self.loop.close()
        self.services.forked(owner)
        super().enter_child(owner)

    def reap_workers(self) -> None:
        """Take leave of every child that has ended.

        :raises HaltServer: when a worker cannot start and no worker could so far.
        """
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except OSError as exc:
                if exc.errno == errno.ECHILD:
                    return
                raise
            if pid == 0:
                return
            if pid in self.WORKERS:
                self._worker_ended(pid, status)
            elif not self.upgrade.child_exited(pid, status):
                self.services.child_exited(pid, status, time.monotonic())

    # End -----------------------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        """Stop the workers, then the services, then see to it that no child is left."""
        graceful = bool(self._graceful)
        systemd.sd_notify("STOPPING=1", self.log)
        sock.close_sockets(self.LISTENERS, unlink=not self.upgrade.succeeded)
        self.kill_workers(signal.SIGTERM if graceful else signal.SIGQUIT)
        while self.WORKERS:
            self._last_turn()
            if graceful and not self._graceful:
                graceful = False
                self.kill_workers(signal.SIGQUIT)
        patience = float(self.cfg.graceful_timeout)
        while not self.services.stop_step(time.monotonic(), bool(self._graceful), patience):
            self._last_turn()
        self.services.kill_children()
        give_up = time.monotonic() + FINAL_REAP
        while self.services.children and time.monotonic() < give_up:
            self._last_turn()

    def _last_turn(self) -> None:
        """A turn that nobody can keep the master from its end in."""
        try:
            self._turn()
        except HaltServer as exc:
            self._exit_status = self._exit_status or exc.exit_status
        except SystemExit as exc:  # a hook's
            self._exit_status = self._exit_status or fork.exit_status(exc)

    def _close(self) -> None:
        if self.pidfile is not None:
            self.pidfile.unlink()
        self.log.info("Shutting down: Master")
        self._call_hook("on_exit", self)
        self.loop.close()
        if self._parent_pipe is not None:
            for fd in self._parent_pipe:
                os.close(fd)
            self._parent_pipe = None
        self.WORKERS.clear()
        self.scoreboard.close()


def _restore_env(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
