"""The type codes in front of every value, and the key table that encoder and decoder share the bounds of.

Called by the encoder, the decoder and the extensions. Source: docs/protocol.md, "Values" and "Extensions".
"""

from __future__ import annotations

import struct

NONE = 0x00
BOOL = 0x01
INT = 0x05
FLOAT = 0x06
BYTES = 0x10
STR = 0x11
LIST = 0x20
DICT = 0x21

# Extensions: a u32 length and that many bytes of content follow each of them.
INTEGER = 0x30
ARRAY = 0x31
DATETIME = 0x32
DECIMAL = 0x33
UUID = 0x34
SET = 0x35
FROZENSET = 0x36
EXTENSIONS = range(INTEGER, FROZENSET + 1)  # up to 0x4f is for later ones

HEAD_SIZE = 5  # type code and length or count

pack_head = struct.Struct(">BI").pack
unpack_size = struct.Struct(">xI").unpack_from  # the length or count of the head at an offset

# Dict keys are few and come again and again, so both directions keep a table of them. The tables are bounded in
# entries and in the size of one, as keys may also be data; a full table starts again empty.
MAX_KNOWN_KEYS = 4096
MAX_KNOWN_KEY = 64  # bytes of UTF-8

# From this many items on, a list of only floats or only ints is packed and unpacked as a block.
MIN_RUN = 32
