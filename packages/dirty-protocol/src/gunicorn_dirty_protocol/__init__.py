"""The dirty pool's wire protocol, version 1 with extensions, as a pure library (docs/protocol.md is its specification).

For clients, arbiters and tools in any process: no dependency, no I/O, no clock, no thread.
"""

from .errors import DecodeError, EncodeError, ErrorKind, FrameError, MessageError, ProtocolError
from .frames import Frame, FrameAssembler, FrameDecoder, FrameEvent, PayloadPart
from .header import HEADER_SIZE, MAX_REQUEST_ID, Header, MessageType, pack_header, unpack_header
from .limits import DEFAULT_LIMITS, V1_LIMITS, Limits
from .messages import (
    Cancel,
    Chunk,
    End,
    Error,
    ErrorType,
    Manage,
    ManageOp,
    Message,
    Request,
    Response,
    Stash,
    StashOp,
    Status,
    parse,
    parse_frame,
)
from .routing import Routing, read_routing
from .tlv import decode, decode_from, encode, encode_chunks

__version__ = "0.1.0"

__all__ = [
    "DEFAULT_LIMITS",
    "HEADER_SIZE",
    "MAX_REQUEST_ID",
    "V1_LIMITS",
    "Cancel",
    "Chunk",
    "DecodeError",
    "EncodeError",
    "End",
    "Error",
    "ErrorKind",
    "ErrorType",
    "Frame",
    "FrameAssembler",
    "FrameDecoder",
    "FrameError",
    "FrameEvent",
    "Header",
    "Limits",
    "Manage",
    "ManageOp",
    "Message",
    "MessageError",
    "MessageType",
    "PayloadPart",
    "ProtocolError",
    "Request",
    "Response",
    "Routing",
    "Stash",
    "StashOp",
    "Status",
    "decode",
    "decode_from",
    "encode",
    "encode_chunks",
    "pack_header",
    "parse",
    "parse_frame",
    "read_routing",
    "unpack_header",
]
