"""What can go wrong on the way to a client. Raised and handled in the drivers."""

from __future__ import annotations


class PeerGoneError(ConnectionError):
    """The client went away, or stopped reading, while the response was sent."""


class FileBecameShorterError(OSError):
    """A file ended before the number of bytes that were promised of it."""
