"""Where the socket lies: the rule, private directories, and finding the servers of a user."""

import os
import socket
from collections.abc import Iterator

import pytest
from gunicorn.control.address import DEFAULT_NAME, default_paths, discover, runtime_directories, server_paths
from gunicorn.control.errors import SocketFileError


@pytest.fixture
def listening(directory: str) -> Iterator[list[str]]:
    """Living sockets with default names in the directory."""
    os.chmod(directory, 0o700)
    sockets = []
    paths = [f"{directory}/gunicorn-12.ctl", f"{directory}/gunicorn.ctl"]
    for path in paths:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(path)
        sock.listen()
        sockets.append(sock)
    yield paths
    for sock in sockets:
        sock.close()


def test_the_candidates() -> None:
    uid = os.geteuid()
    assert runtime_directories({"XDG_RUNTIME_DIR": "/run/user/7", "HOME": "/home/a"}) == [
        "/run/user/7",
        "/home/a/.gunicorn",
        f"/tmp/gunicorn-{uid}",
    ]
    assert runtime_directories({"XDG_RUNTIME_DIR": "relative", "HOME": "/a"})[0] == "/a/.gunicorn"
    without_environment = runtime_directories({})
    assert without_environment[-1] == f"/tmp/gunicorn-{uid}"
    assert all(os.path.isabs(place) for place in without_environment)


def test_a_path_is_a_path_relative_to_the_working_directory() -> None:
    assert server_paths("/run/app/x.ctl", "/srv/app", 7) == ["/run/app/x.ctl"]
    assert server_paths("x.ctl", "/srv/app", 7) == ["/srv/app/x.ctl"]
    assert server_paths("./gunicorn.ctl", "/srv/app", 7) == ["/srv/app/./gunicorn.ctl"]


def test_the_default_is_in_the_runtime_directory(directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", directory)
    expected = [f"{directory}/gunicorn.ctl", f"{directory}/gunicorn-7.ctl"]
    assert server_paths(DEFAULT_NAME, "/srv/app", 7) == expected


def test_a_missing_directory_is_made_private(directory: str) -> None:
    place = f"{directory}/.gunicorn"
    assert default_paths(7, [place]) == [f"{place}/gunicorn.ctl", f"{place}/gunicorn-7.ctl"]
    assert os.stat(place).st_mode & 0o777 == 0o700


def test_directories_that_others_could_abuse_are_passed_over(directory: str) -> None:
    open_to_all, link, missing, file, good = (f"{directory}/{name}" for name in "olmfg")
    os.mkdir(open_to_all)
    os.chmod(open_to_all, 0o777)
    os.symlink(directory, link)
    with open(file, "w"):
        pass
    bad = [open_to_all, link, f"{missing}/.gunicorn", file]
    assert default_paths(7, [*bad, good])[0] == f"{good}/gunicorn.ctl"
    with pytest.raises(SocketFileError) as caught:
        default_paths(7, bad)
    assert str(caught.value) == (
        f"no private directory for it: {open_to_all} (writable by others), {link} (no directory), "
        f"{missing}/.gunicorn (No such file or directory), {file} (no directory); name a path with --control-socket"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a directory away")
def test_the_directory_of_another_user_is_passed_over(directory: str) -> None:
    os.chown(directory, 65534, 65534)
    with pytest.raises(SocketFileError, match="belongs to uid 65534"):
        default_paths(7, [directory])
    assert discover([directory]).sockets == []


def test_discovery_finds_the_living(directory: str, listening: list[str]) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(f"{directory}/gunicorn-99.ctl")
    for name in ("other.ctl", "gunicorn-x.txt", "gunicorn-5.ctl"):
        with open(f"{directory}/{name}", "w"):
            pass
    found = discover([f"{directory}/none", directory])
    assert found.sockets == listening
    assert found.looked == [f"{directory}/none/gunicorn.ctl", f"{directory}/gunicorn.ctl"]


def test_discovery_does_not_trust_a_directory_that_others_can_write_to(directory: str, listening: list[str]) -> None:
    os.chmod(directory, 0o777)
    assert discover([directory]).sockets == []
