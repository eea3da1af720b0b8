"""systemd's two protocols: descriptors passed in, and messages sent out."""

import logging
import os
import socket
from pathlib import Path

import pytest
from gunicorn import systemd

LOG = logging.getLogger("test.systemd")


@pytest.mark.parametrize("unset", [True, False])
def test_descriptors_for_this_process(monkeypatch: pytest.MonkeyPatch, unset: bool) -> None:
    monkeypatch.setenv("LISTEN_FDS", "2")
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    assert systemd.listen_fds(unset) == 2
    assert ("LISTEN_FDS" in os.environ) is not unset


@pytest.mark.parametrize(("fds", "pid"), [("2", "1"), ("2", ""), ("two", "self"), ("", "self")])
def test_descriptors_for_somebody_else_or_nobody(monkeypatch: pytest.MonkeyPatch, fds: str, pid: str) -> None:
    monkeypatch.setenv("LISTEN_FDS", fds)
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()) if pid == "self" else pid)
    assert systemd.listen_fds() == 0


@pytest.mark.parametrize("abstract", [False, True])
def test_messages_reach_the_service_manager(short_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    name = f"@gunicorn-test-{os.getpid()}" if abstract else str(short_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name[1:] if abstract else name)
        manager.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        systemd.sd_notify("READY=1", LOG)
        assert manager.recv(100) == b"READY=1"
        systemd.sd_notify("STOPPING=1", LOG, unset_environment=True)
        assert manager.recv(100) == b"STOPPING=1"
        assert "NOTIFY_SOCKET" not in os.environ


def test_no_service_manager_is_no_error(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    systemd.sd_notify("READY=1", LOG)
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere/at/all")
    with caplog.at_level(logging.DEBUG):
        systemd.sd_notify("READY=1", LOG)
    assert "sd_notify" in caplog.text
