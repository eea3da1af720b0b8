"""How children are born: forks that lose no signal, never return into the master's stack, and hold nothing of its.

Called by the arbiter for workers and by ``supervision.services`` for services' children.
"""

import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable

from gunicorn import util

# The interpreter's own way to die of an exception that nobody caught.
UNCAUGHT = 1


def fork(
    signums: Iterable[signal.Signals],
    ignored: Iterable[signal.Signals],
    main: Callable[[], int | None],
    at_exit: bool,
) -> int:
    """Fork; the child runs ``main`` and exits with its result, the parent gets the child's pid.

    :param signums: signals that the master catches. They are blocked over the fork, so that one which comes in between
        is
        neither lost in the child's copy of the master's queue nor handled twice, and are at their defaults in the
        child.
    :param ignored: of these, the ones that the child ignores instead, until it installs its own handlers: a signal such
        as
        USR1 that only means "reopen your logs" must not kill a child that is not listening yet.
    :param at_exit: whether the child ends like an interpreter (threads, atexit functions), or at once.
    :raises OSError: when the process cannot be forked.
    """
    signums = list(signums)
    _flush_output()  # or the child would write what is buffered once more
    old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, signums)
    gc.freeze()  # the child's collector leaves alone what is the master's, whose pages stay shared
    try:
        pid = os.fork()
    except BaseException:
        gc.unfreeze()
        signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)
        raise
    if pid:
        gc.unfreeze()
        signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)
        return pid

    status = UNCAUGHT
    try:
        signal.set_wakeup_fd(-1)
        ignored = frozenset(ignored)
        for signum in signums:
            signal.signal(signum, signal.SIG_IGN if signum in ignored else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)
        status = main() or 0
    except SystemExit as exc:
        status = exit_status(exc)
    except BaseException:
        traceback.print_exc()
    finally:
        if at_exit:
            util.exit_child(status)
        _flush_output()
        os._exit(status)


def _flush_output() -> None:
    """Also where it is closed, broken or full: that must not keep a process from being born, or from ending."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # AttributeError: there is none
            pass


def exit_status(exc: SystemExit) -> int:
    """The status that the interpreter would exit with; a text is printed, as the interpreter prints it."""
    if exc.code is None:
        return 0
    if isinstance(exc.code, int):
        return exc.code & 0xFF
    print(exc.code, file=sys.stderr)
    return UNCAUGHT


def describe(status: int) -> str:
    """A ``waitpid`` status in words: ``exited with code 3``, ``was killed by SIGKILL``."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        hint = " (out of memory?)" if number == signal.SIGKILL else ""
        return f"was killed by {name}{hint}"
    return f"exited with code {os.WEXITSTATUS(status)}"
