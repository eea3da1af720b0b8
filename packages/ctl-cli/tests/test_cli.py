"""The command: output, exit codes, and errors that say what to do."""

import json
import os
import pty
import subprocess
import sys
import time
from typing import Any

import pytest
from gunicornc.cli import main


def test_a_command_as_words_or_with_c(server: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["worker", "kill", "12"], ["-c", "worker kill 12"], ["worker kill 12"]):
        assert main(["-s", server.path, *argv]) == 0
        assert capsys.readouterr() == ("success  yes\nkilled   12\n", "")
    assert server.introspection.done == [("kill_worker", 12)] * 3


@pytest.mark.parametrize("argv", [["-j", "show", "stats"], ["show", "stats", "--json"], ["show", "-j", "stats"]])
def test_json(server: Any, argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-s", server.path, *argv]) == 0
    assert json.loads(capsys.readouterr().out) == server.introspection.answers["stats"]


def test_the_server_is_found_without_s(serve: Any, capsys: pytest.CaptureFixture[str]) -> None:
    serve("gunicorn.ctl")
    assert main(["show", "stats"]) == 0
    assert capsys.readouterr().out.startswith("uptime             1h 02m\n")


def test_errors_of_the_server(server: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for command, text in [
        (
            "relaod",
            "gunicornc: unknown command 'relaod'; did you mean 'reload'? 'help' lists the commands\n",
        ),
        ("worker add x", "gunicornc: N must be a positive integer, not 'x'; usage: worker add [N]\n"),
        ("", "gunicornc: the command is empty; 'help' lists the commands\n"),
    ]:
        assert main(["-s", server.path, "-c", command]) == 1
        assert capsys.readouterr() == ("", text)


def test_nothing_listens(directory: str, capsys: pytest.CaptureFixture[str]) -> None:
    for argv, text in [
        (["show", "stats"], f"no server has a control socket here; looked for\n  {directory}/gunicorn.ctl\n"),
        (
            ["-s", f"{directory}/none", "show", "stats"],
            f"nothing listens at '{directory}/none': there is no such socket\n",
        ),
    ]:
        assert main(argv) == 3
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"gunicornc: {text}")
        assert err.count("gunicorn --control-socket PATH module:app") == 1


def test_several_servers(serve: Any, capsys: pytest.CaptureFixture[str]) -> None:
    serve("gunicorn.ctl")
    serve("gunicorn.ctl")
    assert main(["shutdown"]) == 2
    assert "several servers listen; say which one:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["-c", "help", "show", "stats"], "not both: 'show stats' and -c 'help'"),
        (["--timeout", "0", "help"], "a timeout is a positive number of seconds, not '0'"),
        (["--timeout", "soon", "help"], "not 'soon'"),
        (["--jason"], "--jason"),
    ],
)
def test_wrong_usage(argv: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    assert text in capsys.readouterr().err


def test_a_path_that_is_too_long(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-s", "/tmp/" + "x" * 120, "help"]) == 2
    assert "has 125 bytes, and a unix socket's path at most 107" in capsys.readouterr().err


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["--help"], ["--version"]):
        with pytest.raises(SystemExit) as caught:
            main(argv)
        assert caught.value.code == 0
    out = capsys.readouterr().out
    assert "\n  shutdown [graceful|quick]  Stop the server" in out
    assert "gunicornc (version " in out


def test_completion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--completion", "bash"]) == 0
    assert "complete -F _gunicornc gunicornc" in capsys.readouterr().out


def run(*argv: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "gunicornc", *argv]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, **options)


def test_as_a_process(server: Any) -> None:
    done = run("-s", server.path, "show", "listeners")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "1 listener"


def test_without_a_command_and_a_terminal(server: Any) -> None:
    done = run("-s", server.path, stdin=subprocess.DEVNULL)
    assert done.returncode == 2
    assert "no command given" in done.stderr


def test_a_reader_that_has_seen_enough(server: Any) -> None:
    command = [sys.executable, "-m", "gunicornc", "-s", server.path, "help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == b""
    assert child.returncode == 0


def test_the_prompt_on_a_terminal(server: Any) -> None:
    """Types a command by its beginning and the tabulator, into a real terminal."""
    parent, terminal = pty.openpty()
    command = [sys.executable, "-m", "gunicornc", "-s", server.path]
    environment = {**os.environ, "TERM": "dumb", "INPUTRC": "/dev/null"}
    child = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment)
    os.close(terminal)
    os.set_blocking(parent, False)
    seen = b""

    def wait_for(text: bytes) -> None:
        nonlocal seen
        deadline = time.monotonic() + 20
        while text not in seen:
            assert time.monotonic() < deadline, seen
            try:
                seen += os.read(parent, 65536)
            except BlockingIOError:
                time.sleep(0.01)  # between polls
            except OSError as exc:  # the terminal has nobody left
                pytest.fail(f"{exc}: {seen!r}")

    try:
        wait_for(b"gunicorn> ")
        os.write(parent, b"show lis\t\n")
        wait_for(b"1 listener")
        os.write(parent, b"exit\n")
        assert child.wait(20) == 0
    finally:
        child.kill()
        child.wait()
        os.close(parent)
