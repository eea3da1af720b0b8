"""`python -m gunicorn.dirty --app module:Class --socket PATH`: a pool without the server, in the foreground.

Apps under any server call it with GUNICORN_DIRTY_SOCKET=PATH in their environment. TERM stops it when running calls are
done, INT and QUIT at once; HUP loads the workers anew; TTIN and TTOU add and remove a worker.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import sys
from collections.abc import Callable, Sequence

from .arbiter import DirtyArbiter
from .config import PoolConfig
from .errors import DirtyError
from .listening import Listener

__all__ = ["main"]


def _number(text: str, kind: Callable[[str], float], least: float, what: str) -> float:
    try:
        number = kind(text)
    except ValueError:
        number = math.nan
    if not least <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
    return number


def _count(text: str) -> int:
    return int(_number(text, int, 1, "a number, 1 or more"))


def _bound(text: str) -> int:
    return int(_number(text, int, 0, "a number, 0 or more"))


def _seconds(text: str) -> float:
    return _number(text, float, 0, "a number of seconds, 0 or more")


def _interval(text: str) -> float:
    return _number(text, float, 0.1, "a number of seconds, 0.1 or more")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gunicorn.dirty",
        description="Run a dirty pool without the server. Clients find it by GUNICORN_DIRTY_SOCKET=PATH.",
        epilog="Signals: TERM stops it when running calls are done, INT and QUIT at once; HUP loads the workers anew; "
        "TTIN and TTOU add and remove a worker.",
    )
    add = parser.add_argument
    add("--app", action="append", required=True, metavar="SPEC", help="module:Class or module:Class:N; may be repeated")
    add("--socket", required=True, metavar="PATH", help="unix socket to listen on")
    add("--workers", type=_count, default=1, metavar="N", help="worker processes [%(default)s]")
    add("--threads", type=_count, default=1, metavar="N", help="calls that a worker runs side by side [%(default)s]")
    add(
        "--timeout",
        type=_seconds,
        default=300,
        metavar="S",
        help="seconds a call may take, 0 is no limit [%(default)s]",
    )
    add("--graceful-timeout", type=_seconds, default=30, metavar="S", help="seconds to finish at a stop [%(default)s]")
    add("--cancel-grace", type=_seconds, default=5, metavar="S", help="seconds an ended call may hold on [%(default)s]")
    add(
        "--queue-size",
        type=_bound,
        default=0,
        metavar="N",
        help="calls that may wait per app, 0 is no limit [%(default)s]",
    )
    add(
        "--shared-memory",
        type=_bound,
        default=64 * 1024 * 1024,
        metavar="BYTES",
        help="memory that a connection may share with the workers, 0 is none [%(default)s]",
    )
    add("--start-method", default="fork", choices=["fork", "spawn"], help="how workers are started [%(default)s]")
    add("--stash-file", metavar="PATH", help="keep the stash in this file")
    add("--stash-interval", type=_interval, default=30, metavar="S", help="seconds between two writes [%(default)s]")
    add("--boot-delay", type=_seconds, default=0.5, metavar="S", help="seconds before a second start [%(default)s]")
    add("--name", default="gunicorn", help="shown in process titles [%(default)s]")
    add("--chdir", metavar="DIR", help="directory to change to and to import apps from")
    add("--log-level", default="info", choices=["debug", "info", "warning", "error", "critical"])
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run until stopped. Returns the exit code: 0, or 2 when the pool cannot start as it was asked to."""
    args = _parser().parse_args(argv)
    logging.basicConfig(level=args.log_level.upper(), format="[%(asctime)s] [%(process)d] [%(levelname)s] %(message)s")
    try:
        if args.chdir:
            os.chdir(args.chdir)
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
        config = PoolConfig(
            apps=PoolConfig.parse_apps(args.app),
            workers=args.workers,
            threads=args.threads,
            timeout=args.timeout,
            graceful_timeout=args.graceful_timeout,
            cancel_grace=args.cancel_grace,
            queue_size=args.queue_size,
            shared_memory=args.shared_memory,
            start_method=args.start_method,
            stash_file=args.stash_file,
            stash_interval=args.stash_interval,
            boot_delay=args.boot_delay,
            proc_name=args.name,
        )
        listener = Listener.at(args.socket)
    except (DirtyError, OSError) as exc:
        print(f"python -m gunicorn.dirty: {exc}", file=sys.stderr)
        return 2
    return DirtyArbiter(config, listener).run()


if __name__ == "__main__":
    sys.exit(main())
