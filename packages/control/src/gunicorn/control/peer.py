"""Who is at the other end of a connection, and what that user may do."""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass

__all__ = ["Peer", "peer_of"]

_UCRED = struct.Struct("3i")


@dataclass(frozen=True)
class Peer:
    """The credentials of a connected process, as the kernel vouches for them; ``uid`` and ``pid`` None where unknown.

    ``owner`` is the effective user id of the server.
    """

    pid: int | None
    uid: int | None
    owner: int
    trusted: bool = False
    """Whether an unknown peer must be the owner, because the socket's mode lets nobody else in."""

    @property
    def may_write(self) -> bool:
        """The owner of the server and root may give every command; others may only look."""
        return self.trusted if self.uid is None else self.uid in (self.owner, 0)

    @property
    def refusal(self) -> str:
        """Why :attr:`may_write` is false, to go after "and"."""
        who = "this system does not tell who you are" if self.uid is None else f"you (uid {self.uid}) may only look"
        return f"{who}; give it as uid {self.owner}, which runs the server, or as root"

    def __str__(self) -> str:
        return f"pid {self.pid}, uid {self.uid}"


def peer_of(sock: socket.socket, mode: int) -> Peer:
    """Return the peer of a connected unix socket.

    Where the system has no ``SO_PEERCRED`` (it is Linux's), a peer counts as the owner only if ``mode``, the
    permissions of the socket's file, keeps everyone else out.
    """
    owner = os.geteuid()
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return Peer(None, None, owner, trusted=mode & 0o077 == 0)
    pid, uid, _gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, option, _UCRED.size))
    return Peer(pid, uid, owner)
