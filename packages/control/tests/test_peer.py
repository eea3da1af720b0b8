"""Credentials: taken from the kernel, and what they permit."""

import os
import socket

import pytest
from gunicorn.control.peer import Peer, peer_of


def test_the_kernel_says_who_is_there() -> None:
    left, right = socket.socketpair()
    with left, right:
        peer = peer_of(left, 0o600)
    assert peer == Peer(os.getpid(), os.geteuid(), os.geteuid())
    assert peer.may_write
    assert str(peer) == f"pid {os.getpid()}, uid {os.geteuid()}"


@pytest.mark.parametrize(("uid", "owner", "may_write"), [(7, 7, True), (0, 7, True), (8, 7, False), (7, 0, False)])
def test_the_owner_and_root_may_write(uid: int, owner: int, may_write: bool) -> None:
    peer = Peer(1, uid, owner)
    assert peer.may_write is may_write
    if not may_write:
        assert (
            peer.refusal == f"you (uid {uid}) may only look; give it as uid {owner}, which runs the server, or as root"
        )


@pytest.mark.parametrize(("mode", "may_write"), [(0o600, True), (0o660, False), (0o602, False)])
def test_without_credentials_the_mode_decides(mode: int, may_write: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "SO_PEERCRED")
    left, right = socket.socketpair()
    with left, right:
        peer = peer_of(left, mode)
    assert peer.may_write is may_write
    assert "does not tell who you are" in peer.refusal
