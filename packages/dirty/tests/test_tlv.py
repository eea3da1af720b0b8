"""The codec under its old name."""

from __future__ import annotations

import pytest
from gunicorn.dirty.errors import DirtyProtocolError
from gunicorn.dirty.tlv import TLVEncoder


def test_round_trip() -> None:
    data = TLVEncoder.encode({"k": [1, None]})
    assert TLVEncoder.decode_full(data) == {"k": [1, None]}
    assert TLVEncoder.decode(b"zz" + data + b"zz", 2) == ({"k": [1, None]}, 2 + len(data))


def test_errors_are_the_pools() -> None:
    for function in (
        lambda: TLVEncoder.encode(object()),
        lambda: TLVEncoder.decode(b"\xee"),
        lambda: TLVEncoder.decode_full(b""),
    ):
        with pytest.raises(DirtyProtocolError):
            function()
