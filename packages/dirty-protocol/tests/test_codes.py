from __future__ import annotations

from gunicorn_dirty_protocol import codes


def test_extensions_are_the_codes_between_the_first_and_the_last() -> None:
    assert list(codes.EXTENSIONS) == [
        codes.INTEGER,
        codes.ARRAY,
        codes.DATETIME,
        codes.DECIMAL,
        codes.UUID,
        codes.SET,
        codes.FROZENSET,
    ]


def test_a_head_is_a_code_and_a_size() -> None:
    assert codes.pack_head(codes.STR, 258) == b"\x11\x00\x00\x01\x02"
    assert codes.unpack_size(b"?" + codes.pack_head(codes.LIST, 7), 1) == (7,)
    assert len(codes.pack_head(codes.DICT, 0)) == codes.HEAD_SIZE
