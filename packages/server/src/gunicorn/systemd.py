"""systemd's side of the process: sockets that it passes in (sd_listen_fds(3)) and messages to it (sd_notify(3))."""

import os
import socket
from typing import Any

SD_LISTEN_FDS_START = 3


def listen_fds(unset_environment: bool = True) -> int:
    """How many listening sockets systemd has passed, from descriptor 3 on; 0 when they are for another process."""
    try:
        count = int(os.environ.get("LISTEN_FDS", "0"))
        pid = int(os.environ.get("LISTEN_PID", "-1"))
    except ValueError:
        return 0
    if pid != os.getpid():
        return 0
    if unset_environment:
        os.environ.pop("LISTEN_FDS", None)
        os.environ.pop("LISTEN_PID", None)
    return count


def sd_notify(state: str, log: Any, unset_environment: bool = False) -> None:
    """Tell the service manager about our state, such as ``READY=1``; nothing happens when there is none."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]  # Linux's abstract namespace
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.connect(address)
            sock.sendall(state.encode())
    except OSError as exc:
        log.debug("Exception while invoking sd_notify(): %s", exc)
    finally:
        if unset_environment:
            os.environ.pop("NOTIFY_SOCKET", None)
