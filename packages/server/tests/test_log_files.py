"""Files of the logs on a full disk, and after a rotation."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.log_files import replace_file


@pytest.fixture
def full() -> Iterator[Logger]:
    """A logger that writes to a full disk."""
    cfg = Config()
    cfg.set("errorlog", "/dev/full")
    log = Logger(cfg)
    yield log
    cfg.set("errorlog", None)
    log.setup(cfg)


def own_handler(log: Logger) -> logging.Handler:
    return next(handler for handler in log.error_log.handlers if type(handler) is logging.FileHandler)


def test_a_full_disk_is_said_in_one_line(full: Logger, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        full.error("lost")
    assert capsys.readouterr().err == (
        "The log '/dev/full' cannot be written, and lines are lost: [Errno 28] No space left on device\n"
    )
    handler = own_handler(full)
    handler.handle(logging.LogRecord("x", logging.ERROR, "x.py", 1, "%d", ("no number",), None))
    # A mistake of the caller is shown as ever.
    assert "--- Logging error ---" in capsys.readouterr().err


def test_what_a_full_disk_holds_back_does_not_stop_a_reload(full: Logger) -> None:
    full.error("held back")
    handler = own_handler(full)
    full.cfg.set("errorlog", None)
    full.setup(full.cfg)
    assert handler not in full.error_log.handlers


def test_a_file_that_is_there_is_appended_to_and_keeps_its_owner(tmp_path: Path) -> None:
    (tmp_path / "new").write_text("before ")
    with open(tmp_path / "old", "w") as file:
        replace_file(file.fileno(), str(tmp_path / "new"), (12345, 12345))
        os.write(file.fileno(), b"after")
    assert (tmp_path / "new").read_text() == "before after"
    assert (tmp_path / "new").stat().st_uid == os.geteuid()
    assert (tmp_path / "old").read_text() == ""
