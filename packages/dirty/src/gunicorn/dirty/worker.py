"""The worker process: loads its apps, makes its slots, and listens to the arbiter on its main thread.

Forked by the arbiter (process.py). The main thread keeps the signals and the side channel; it ends the process,
whatever the slots are doing: on the arbiter's word, and at once when the arbiter is gone.
"""

from __future__ import annotations

import fcntl
import logging
import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .app import app_attributes, load_dirty_app, load_dirty_app_class
from .bulk import widen
from .channel import Channel
from .config import PoolConfig
from .errors import DirtyAppError
from .shared import mappings
from .slot import Slot
from .spawned import respawn
from .wire import printable

if TYPE_CHECKING:
    from .tasks import TaskSlot

__all__ = ["SPARED", "DirtyWorker"]

SPARED = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)
"""Signals that may be sent to all processes of a server at once, and that must not end a worker."""

_HEARTBEAT = 2000  # milliseconds between signs of life
_BOOT_FAILED = 3  # exit code
_SOCKETS_PER_MESSAGE = 200


class DirtyWorker:
    """The object that hooks are given as `worker`, in the worker's process.

    :ivar number: its seat, stable over replacements
    :ivar age: how many-th worker of the pool it is
    :ivar apps: instances by import path, once loaded
    :ivar spawned: this is a fresh interpreter (spawned.py), not a fork of the arbiter
    """

    def __init__(
        self, number: int, age: int, ppid: int, paths: Sequence[str], config: PoolConfig, spawned: bool = False
    ) -> None:
        self.spawned = spawned
        self.number = number
        self.age = age
        self.pid = os.getpid()
        self.ppid = ppid
        self.paths = tuple(paths)
        self.config = config
        self.cfg = config.cfg
        self.log = config.log
        self.apps: dict[str, Any] = {}
        self._slots: list[Slot | TaskSlot] = []
        self._held: list[Callable[[], None]] = []  # closes what a child of this process must not have

    def run(self, control: Channel, lifeline: int) -> int:
        """Live until told to stop. `lifeline` is a pipe whose end is the arbiter's. Returns the exit code."""
        die_with(lifeline)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole terminal; the arbiter decides
        # Written from the handler at once: the main thread may be inside an app's import.
        leaving = b'{"leaving":true}\n'
        signal.signal(signal.SIGTERM, lambda *_: _write(control.fileno(), leaving))
        # Handlers rather than SIG_IGN, which programs that an app starts would inherit.
        for number in SPARED:
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGUSR1, lambda *_: self._reopen_logs())
        try:
            if self.config.start_method == "spawn" and not self.spawned:
                respawn(self, control, lifeline)
            attributes = [app_attributes(load_dirty_app_class(path), path) for path in self.paths]
            if any(found.start_method == "spawn" for found in attributes) and not self.spawned:
                respawn(self, control, lifeline)
            self._load()
        except (Exception, SystemExit) as exc:
            # Of what we raise ourselves the message says it all, unless the app is behind it.
            text = (exc.traceback or "") if isinstance(exc, DirtyAppError) else traceback.format_exc()
            self.log.error("Dirty worker %d cannot start: %s\n%s", self.number, printable(exc), printable(text))
            control.send({"failed": printable(exc)})
            return _BOOT_FAILED
        self._make_slots(control, [found.concurrency for found in attributes])
        self._held = [control.close, lambda: os.close(lifeline), mappings.clear, *(s.forked for s in self._slots)]
        os.register_at_fork(after_in_child=self._forked)
        control.send({"ready": True, "stashes": [table for found in attributes for table in found.stashes]})
        self._listen(control)
        self._close()
        return 0

    def _load(self) -> None:
        for path in self.paths:
            app = load_dirty_app(path)
            init = getattr(app, "init", None)
            if init is not None:
                try:
                    init()
                except (Exception, SystemExit) as exc:
                    message = f"init of dirty app {path} failed: {type(exc).__name__}: {exc}"
                    raise DirtyAppError(message, path, "init", traceback.format_exc()) from exc
            self.apps[path] = app
        self.config.worker_init(self)

    def _make_slots(self, control: Channel, concurrency: Sequence[int | None]) -> None:
        """Threads that serve all apps, and tasks of one event loop for each app that has a `concurrency`; the arbiter
        is given the other ends."""
        whose: list[str | None] = [None] * (self.config.threads if None in concurrency else 0)
        for path, number in zip(self.paths, concurrency, strict=True):
            whose += [path] * (number or 0)
        ends = []
        for index, only in enumerate(whose):
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            ends.append(theirs)
            widen(ours)
            widen(theirs)
            if only is None:
                slot = Slot(index, ours, self.apps, self.config.timeout)
                threading.Thread(target=slot.run, name=f"dirty-slot-{index}", daemon=True).start()
                self._slots.append(slot)
            else:
                from .tasks import TaskSlot  # loads asyncio, which only workers with such apps need

                self._slots.append(TaskSlot.start(ours, self.apps, self.config.timeout))
        for start in range(0, len(ends), _SOCKETS_PER_MESSAGE):
            stop = start + _SOCKETS_PER_MESSAGE
            control.send_files({"slots": whose[start:stop]}, [end.fileno() for end in ends[start:stop]])
        for end in ends:
            end.close()

    def _listen(self, control: Channel) -> None:
        poll = select.poll()
        poll.register(control.fileno(), select.POLLIN)
        while True:
            if not poll.poll(_HEARTBEAT):
                control.send({"alive": True})
                continue
            messages = control.receive()
            if messages is None:
                os._exit(1)  # the arbiter is dead; nobody wants what the slots still do
            for message in messages:
                if "cancel" in message:
                    index, call_id, acknowledge = message["cancel"]
                    self._slots[index].cancel(call_id)
                    if acknowledge:
                        control.send({"cancelled": [index, call_id]})
                elif "share" in message:
                    self._take_mapping(control, *message["share"])
                elif "unshare" in message:
                    mappings.drop(message["unshare"])
                elif "stacks" in message:
                    control.send({"stacks": _stacks(), "request": message["stacks"]})
                elif message.get("stop"):
                    return

    def _take_mapping(self, control: Channel, token: int, inode: int) -> None:
        """The descriptor came along, unless this process may have no more of them."""
        fd = control.files.pop(0) if control.files else -1
        if fd < 0:
            self.log.warning("Dirty worker %d has no descriptor left for shared memory", self.number)
        elif os.fstat(fd).st_ino == inode:
            mappings.add(token, fd)
        else:  # it is another's, whose message has lost it or is still to come
            os.close(fd)

    def _forked(self) -> None:
        """In a child of an app's making: close what is the worker's, so that it answers nobody."""
        held, self._held = self._held, []
        for close in held:
            close()

    def _close(self) -> None:
        """Close the apps in reverse order. The process ends right after, without waiting for threads."""
        for path, app in reversed(self.apps.items()):
            close = getattr(app, "close", None)
            if close is None:
                continue
            try:
                close()
            except Exception:
                self.log.exception("close of dirty app %s failed", path)
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                pass

    def _reopen_logs(self) -> None:
        reopen = getattr(self.log, "reopen_files", None)
        if reopen is not None:
            reopen()


def _stacks() -> dict[str, str]:
    """What each thread runs at the moment: its name to its traceback."""
    frames = sys._current_frames()
    return {
        printable(f"{thread.name} ({thread.ident})"): printable("".join(traceback.format_stack(frames[thread.ident])))
        for thread in threading.enumerate()
        if thread.ident in frames
    }


def die_with(lifeline: int) -> None:
    """Have the kernel kill this process when the last writing end of the pipe `lifeline` is closed.

    On Linux the signal comes from the pipe itself (`F_SETSIG`, fcntl(2)), so that not even a thread that never gives up
    the interpreter's lock can delay it. Elsewhere the end of the side channel does it, as soon as the main thread runs.
    """
    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(lifeline, select.POLLIN)
    if poll.poll(0):
        os._exit(1)  # it was closed before we asked


def _write(fd: int, data: bytes) -> None:
    try:
        os.write(fd, data)
    except OSError:
        pass
