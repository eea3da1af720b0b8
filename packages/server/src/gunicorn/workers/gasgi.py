"""The ``asgi`` worker: serves an ASGI application on an event loop in the main thread (uvloop where installed).

The heartbeat is the loop's own: an application that blocks the loop for longer than ``timeout`` seconds stops it, and
the master replaces the worker. ``drivers.asyncio_watch`` finds requests over ``timeout`` that do not block the loop.
"""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import Callable
from time import monotonic
from types import FrameType
from typing import Any

from gunicorn import sock
from gunicorn.access_log import asgi_access
from gunicorn.asgi.access import ResponseRecord, environ_of
from gunicorn.drivers.asyncio_exchange import Exchange
from gunicorn.drivers.asyncio_lifespan import LifespanRunner
from gunicorn.drivers.asyncio_server import Options, Server
from gunicorn.health import HealthPath
from gunicorn.http.policy import Policy
from gunicorn.workers.base import Worker

WORKER_BOOT_ERROR = 3  # gunicorn.arbiter.Arbiter.WORKER_BOOT_ERROR: the master gives up when workers end with it
FAREWELL = 0.5  # seconds for tasks that are left at the end, and are cancelled


class ASGIWorker(Worker):
    """Serves ASGI 3.0 over HTTP with the lifespan protocol."""

    ready_on_notify = False  # it beats during the lifespan's startup too, when it does not serve yet
    # Both may be called by a signal handler, and are None while no loop runs.
    _wake: Callable[[], Any] | None = None  # makes the loop look at ``alive``
    _quit: Callable[[], Any] | None = None  # makes it end at once

    def run(self) -> None:
        if not callable(self.wsgi):
            raise TypeError(f"the application {self.wsgi!r} is not callable, so it is no ASGI application")
        loop = new_event_loop(self.cfg.asgi_loop)
        loop.set_exception_handler(self._log_loop_error)
        asyncio.set_event_loop(loop)
        try:
            status = self._run_loop(loop)
        finally:
            self._wake = self._quit = None
            # Tasks that would not end are left as they are, and what the application has left open ends with this
            # process; that is no news.
            loop.set_exception_handler(lambda loop, context: None)
            warnings.simplefilter("ignore", ResourceWarning)
            asyncio.set_event_loop(None)
            loop.close()
        if status:
            sys.exit(status)

    def _run_loop(self, loop: asyncio.AbstractEventLoop) -> int:
        main = loop.create_task(self._serve(loop), name="gunicorn")
        self._quit = lambda: loop.call_soon_threadsafe(main.cancel)
        try:
            status = loop.run_until_complete(main)
        except asyncio.CancelledError:  # INT, QUIT
            status = 0
        finally:
            self.quit_heard()
            cancel_all(loop, timeout=FAREWELL)
        loop.run_until_complete(loop.shutdown_asyncgens())
        return status

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self._wake is not None:
            self._wake()

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """INT or QUIT: end now, through the loop if one runs."""
        if self._quit is None:
            super().handle_quit(sig, frame)
        else:
            self.quit_through(self._quit)

    # ---------------------------------------------------------------- on the loop

    async def _serve(self, loop: asyncio.AbstractEventLoop) -> int:
        """From startup to shutdown; returns the process's exit status."""
        over = asyncio.Event()
        self._wake = lambda: loop.call_soon_threadsafe(over.set)
        if self.parent_fd >= 0:
            loop.add_reader(self.parent_fd, self._orphaned, loop, over)
        heartbeat = loop.create_task(self._beat(over))
        lifespan = LifespanRunner(self.wsgi, self.cfg.asgi_lifespan, self.log)
        try:
            starting = loop.create_task(lifespan.startup())
            stopped = loop.create_task(over.wait())
            await asyncio.wait((starting, stopped), return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            if not starting.done():  # asked to end before the application was ready
                starting.cancel()
                return 0
            if not starting.result():
                return WORKER_BOOT_ERROR
            self.ready()
            await self._serve_until(over, loop, lifespan)
        finally:
            heartbeat.cancel()
            if self.parent_fd >= 0:
                loop.remove_reader(self.parent_fd)
        return 0

    async def _serve_until(
        self, over: asyncio.Event, loop: asyncio.AbstractEventLoop, lifespan: LifespanRunner
    ) -> None:
        server = Server(self.wsgi, loop, self.log, self._options(over), lifespan.state)
        server.start(self.sockets)
        try:
            await over.wait()
            self.withdraw()  # when this comes from elsewhere than the handler of TERM
            deadline = monotonic() + self.cfg.graceful_timeout
            await server.drain(self.cfg.graceful_timeout)
        finally:
            await server.stop()
        await lifespan.shutdown(max(deadline - monotonic(), 1.0))

    async def _beat(self, over: asyncio.Event) -> None:
        """The heartbeat, from the loop: the application's blocking it shows."""
        while True:
            self.notify()
            if not self.alive or (self.parent_fd < 0 and self.ppid and not self.is_parent_alive()):
                over.set()
            await asyncio.sleep(0.5)

    def _orphaned(self, loop: asyncio.AbstractEventLoop, over: asyncio.Event) -> None:
        """The master's end of the pipe is closed: nobody would restart, or stop, this worker any more."""
        loop.remove_reader(self.parent_fd)
        self.log.warning("The master has gone; the worker ends.")
        self.alive = False
        over.set()

    def _log_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What nobody awaits: a task of the application that failed, a callback that raised."""
        self.log.error("%s", context.get("message", "Error in the event loop"), exc_info=context.get("exception"))

    # ---------------------------------------------------------------- what the server is told

    def _options(self, over: asyncio.Event) -> Options:
        cfg = self.cfg
        pre_request = cfg.own_hook("pre_request")
        access = asgi_access(self.log, asyncio.get_running_loop().call_soon)

        def limit_reached() -> int:
            mark = self.reached(self.scoreboard.requests)
            if not self.alive:
                over.set()
            return mark

        def overdue(what: str, stack: str) -> None:
            self.overran(what, cfg.timeout, stack)
            over.set()

        return Options(
            policy=Policy.from_config(cfg),
            root_path=cfg.root_path,
            most_connections=cfg.worker_connections or sys.maxsize,
            disconnect_grace=cfg.asgi_disconnect_grace_period,
            max_requests=self.next_mark,
            ssl=sock.ssl_context(cfg) if cfg.is_ssl else None,
            sendfile=cfg.sendfile is not False,
            timeout=cfg.timeout,
            slot=self.scoreboard,
            health=HealthPath.of(self),
            on_begin=(lambda exchange: pre_request(self, exchange.request)) if pre_request else None,
            on_end=self._on_end(access, cfg.own_hook("post_request")),
            on_limit=limit_reached,
            on_overdue=overdue,
        )

    def _on_end(
        self, access: Callable[[Exchange], None] | None, post_request: Callable[..., Any] | None
    ) -> Callable[[Exchange], None] | None:
        """What is to be called after a response: the access log, the hook, both or neither."""
        if post_request is None:
            return access

        def report(exchange: Exchange) -> None:
            if access is not None:
                access(exchange)
            request = exchange.request
            post_request(self, request, environ_of(request, exchange.scope), ResponseRecord(exchange))

        return report


def new_event_loop(kind: str) -> asyncio.AbstractEventLoop:
    """The loop that the setting ``asgi_loop`` asks for: ``asyncio``, ``uvloop``, or ``auto``: uvloop if installed.

    Raises :class:`ImportError` when uvloop is asked for and missing.
    """
    if kind != "asyncio":
        try:
            import uvloop
        except ImportError as error:
            if kind == "uvloop":
                raise ImportError(
                    "asgi_loop is 'uvloop', which is not installed: pip install gunicorn-server[uvloop]"
                ) from error
        else:
            loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
            return loop
    return asyncio.new_event_loop()


def cancel_all(loop: asyncio.AbstractEventLoop, timeout: float) -> None:
    """Cancel every task of *loop*, which does not run, and give them *timeout* seconds to end."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=timeout))
