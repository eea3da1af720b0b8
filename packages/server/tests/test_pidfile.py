"""The pid file: written whole, refused to a second instance, and only ever removed by its owner."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from gunicorn.pidfile import Pidfile


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_create_and_unlink(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    pidfile = Pidfile(str(path))
    pidfile.create(os.getpid())
    assert path.read_text() == f"{os.getpid()}\n"
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]
    pidfile.unlink()
    assert not path.exists()
    pidfile.unlink()


def test_a_living_process_in_the_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text("1\n")
    with pytest.raises(RuntimeError, match="says that process 1 is running already; stop that one first"):
        Pidfile(str(path)).create(os.getpid())
    assert path.read_text() == "1\n"


@pytest.mark.parametrize("content", ["", "no number", "-5", "dead"])
def test_a_stale_file_is_replaced(tmp_path: Path, content: str) -> None:
    path = tmp_path / "pid"
    path.write_text(f"{dead_pid()}\n" if content == "dead" else content)
    Pidfile(str(path)).create(os.getpid())
    assert path.read_text() == f"{os.getpid()}\n"


def test_anothers_file_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    pidfile = Pidfile(str(path))
    pidfile.unlink()
    pidfile.create(os.getpid())
    path.write_text("1\n")
    pidfile.unlink()
    assert path.read_text() == "1\n"


def test_rename(tmp_path: Path) -> None:
    pidfile = Pidfile(str(tmp_path / "pid.2"))
    pidfile.create(os.getpid())
    pidfile.rename(str(tmp_path / "pid"))
    assert [path.name for path in tmp_path.iterdir()] == ["pid"]
    pidfile.unlink()
    assert list(tmp_path.iterdir()) == []


def test_a_rename_to_anothers_file_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "pid").write_text("1\n")
    pidfile = Pidfile(str(tmp_path / "pid.2"))
    pidfile.create(os.getpid())
    with pytest.raises(RuntimeError, match="process 1 is running already"):
        pidfile.rename(str(tmp_path / "pid"))
    assert (tmp_path / "pid").read_text() == "1\n"
    assert (tmp_path / "pid.2").read_text() == f"{os.getpid()}\n"
    pidfile.unlink()


def test_a_directory_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="nowhere/pid' cannot be written: No such file or directory"):
        Pidfile(str(tmp_path / "nowhere" / "pid")).create(1)
