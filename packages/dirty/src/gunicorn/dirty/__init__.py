"""The dirty pool."""
