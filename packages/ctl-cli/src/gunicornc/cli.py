"""The command ``gunicornc``: its options, where its output goes, and its exit codes."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence

from gunicorn.control.client import DEFAULT_TIMEOUT, ControlClient
from gunicorn.control.commands import REGISTRY
from gunicorn.control.errors import ClientError, ConnectionDeniedError, NothingListensError, PathTooLongError
from gunicorn.control.reference import summary

from gunicornc import completion, prompt
from gunicornc.locate import START_HINT, AmbiguousError, locate
from gunicornc.session import Session

__all__ = ["main"]

OK, FAILED, USAGE, NOT_REACHED, INTERRUPTED = 0, 1, 2, 3, 130

_EXAMPLES = """\
examples:
  gunicornc show workers               what the HTTP workers do
  gunicornc -c "worker add 2"          the same as: gunicornc worker add 2
  gunicornc -j show stats              as JSON, for scripts
  gunicornc -s /run/app.ctl            a prompt for the server with --control-socket /run/app.ctl
  eval "$(gunicornc --completion bash)"

exit codes: 0 done; 1 the server answered with an error, or not properly; 2 wrong usage; 3 no server reached"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``gunicornc`` with ``argv`` (default: the process's) and return its exit code."""
    try:
        code = _main(argv)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has seen enough. Python flushes stdout once more at its exit: let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    return code


def _main(argv: Sequence[str] | None) -> int:
    parser = _parser()
    options = parser.parse_intermixed_args(argv)
    if options.completion:
        print(completion.bash(REGISTRY))
        return OK
    if options.command is not None and options.words:
        parser.error(f"give it as words or with -c, not both: {' '.join(options.words)!r} and -c {options.command!r}")
    words = options.words or [options.command or ""]
    interactive = not options.words and options.command is None
    if interactive and not sys.stdin.isatty():
        parser.error("no command given, and standard input is no terminal for a prompt; try: gunicornc show workers")
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    try:
        with ControlClient(locate(options.socket), options.timeout) as client:
            session = Session(client, options.json, width)
            if interactive:
                return prompt.run(session, REGISTRY)
            print(session.run(words))
    except (AmbiguousError, PathTooLongError) as exc:
        return _fail(exc, USAGE)
    except NothingListensError as exc:
        text = str(exc)
        return _fail(text if START_HINT in text else f"{text}\n{START_HINT}", NOT_REACHED)
    except ConnectionDeniedError as exc:
        return _fail(exc, NOT_REACHED)
    except ClientError as exc:
        return _fail(exc, FAILED)
    return OK


def _fail(error: object, code: int) -> int:
    print(f"gunicornc: {error}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gunicornc",
        description="Look inside a running Gunicorn server and steer it, through its control socket.",
        epilog=f"commands:\n{summary()}\n\n{_EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("words", nargs="*", metavar="COMMAND", help="a command; without one: a prompt")
    parser.add_argument("-s", "--socket", metavar="PATH", help="the server's control socket (default: looked for)")
    parser.add_argument("-c", "--command", metavar="COMMAND", help="a command as one argument")
    parser.add_argument("-j", "--json", action="store_true", help="print the data as JSON")
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=DEFAULT_TIMEOUT,
        metavar="SECONDS",
        help="how long a command may take (default: %(default)g)",
    )
    parser.add_argument("--completion", choices=["bash"], help="print a script that completes commands in the shell")
    parser.add_argument("-v", "--version", action=_Version, nargs=0, help="print the version")
    return parser


class _Version(argparse.Action):
    """Prints the version; looked up only here, since reading the metadata takes longer than a command."""

    def __call__(self, parser: argparse.ArgumentParser, *args: object) -> None:
        from importlib.metadata import version

        print(f"gunicornc (version {version('gunicornc')})")
        parser.exit()


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"a timeout is a positive number of seconds, not {text!r}")
    return seconds
