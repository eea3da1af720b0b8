"""A blocking worker and its applications, for tests of the master; servers under test load it by --pythonpath."""

import os
import select
import signal
import sys
import time
from typing import Any

from gunicorn.workers.base import Worker


class ProbeWorker(Worker):
    """One request at a time, each on its own connection."""

    def run(self) -> None:
        poll = select.poll()
        for fd in (self.wakeup_fd, self.parent_fd, *(sock.fileno() for sock in self.sockets)):
            poll.register(fd, select.POLLIN)
        listeners = {sock.fileno(): sock for sock in self.sockets}
        while self.alive:
            self.notify()
            for fd, _ in poll.poll(1000):
                if fd == self.parent_fd:
                    return
                if fd == self.wakeup_fd:
                    self.drain_wakeup()
                else:
                    self.accept(listeners[fd])

    def accept(self, listener: Any) -> None:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return
        with connection:
            connection.setblocking(True)
            path = connection.recv(65536).split()[1].decode()
            body = b"".join(self.wsgi({"PATH_INFO": path, "worker": self}, lambda *args: None))
            connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        self.nr += 1
        self.scoreboard.requests = self.nr
        if self.nr >= self.max_requests:
            self.alive = False


def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answers with the worker's pid, or does what the path asks for."""
    start_response("200 OK", [])
    path = environ["PATH_INFO"]
    worker = environ["worker"]
    if path == "/hang":
        while True:
            time.sleep(0.01)
    if path == "/hang-hard":  # also deaf to ABRT
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGABRT, signal.SIGTERM, signal.SIGQUIT})
        time.sleep(600)
    if path == "/slow":
        with open("slow-started", "w"):
            pass
        while not os.path.exists("slow-release"):
            time.sleep(0.01)
    if path == "/slot":
        return [b"%d" % worker.scoreboard.index]
    if path == "/fds":
        return ["\n".join(_targets()).encode()]
    if path.startswith("/env/"):
        return [os.environ.get(path[5:], "").encode()]
    if path == "/raw-env":
        return [str(worker.cfg.raw_env).encode()]
    return [b"%d" % os.getpid()]


def _targets() -> list[str]:
    result = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            with open(f"/proc/self/fdinfo/{fd}") as file:
                flags = int(file.read().split("flags:")[1].split()[0], 8)
            mode = {os.O_RDONLY: "r", os.O_WRONLY: "w", os.O_RDWR: "rw"}[flags & os.O_ACCMODE]
            result.append(f"{os.readlink(f'/proc/self/fd/{fd}')} {mode}")
        except OSError:
            pass
    return result


def quits(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Ends its worker at every request."""
    sys.exit(7)
