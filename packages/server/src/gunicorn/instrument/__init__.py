"""Instruments: what the server says of itself to monitoring systems."""
