"""The dirty pool's wire protocol (see docs/protocol.md)."""
__version__ = "0.1.0"
