"""The end of a worker whose master has died without a word (``kill -9``): ``supervision.child`` arms it in each worker.

Drivers watch the same pipe and drain at once. This is for what they cannot see to: an application that holds on,
and a drain that takes long. Nobody would kill such a worker any more, and it may hold the port from the next master.
"""

import fcntl
import os
import signal
import threading
from types import FrameType

PATIENCE = 3.0  # seconds from the master's death to the end of a worker that is still at work


def arm(parent_fd: int, patience: float = PATIENCE) -> None:
    """End this process by SIGALRM, `patience` seconds after the other end of the pipe was closed.

    The kernel tells by SIGIO (fcntl(2), F_SETOWN), which costs nothing until then. Where it cannot (other systems than
    Linux), and in a thread other than the main one, nothing is armed.

    :param parent_fd: the read end of a pipe whose write end only the master has.
    """
    if not hasattr(fcntl, "F_SETSIG") or threading.current_thread() is not threading.main_thread():
        return
    try:
        # Opened anew, since the owner of SIGIO belongs to the open file, which all workers have inherited.
        own = os.open(f"/proc/self/fd/{parent_fd}", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:  # no /proc
        return

    def orphaned(sig: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, patience)

    signal.signal(signal.SIGIO, orphaned)
    signal.siginterrupt(signal.SIGIO, False)
    fcntl.fcntl(own, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(own, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
