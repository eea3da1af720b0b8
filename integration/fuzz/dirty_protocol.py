"""A fuzz target for the dirty protocol's decoders: no input may crash them or raise anything but a ProtocolError.

Run by hand, in an environment with atheris and the package (atheris has no wheels for all Pythons we support):

    python integration/fuzz/dirty_protocol.py CORPUS -max_total_time=600 -rss_limit_mb=1500

The first start fills the folder CORPUS with the golden vectors.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["gunicorn_dirty_protocol"]):
    import gunicorn_dirty_protocol as protocol
    import gunicorn_dirty_protocol.arrays
    import gunicorn_dirty_protocol.extensions

VECTORS = Path(__file__).parents[2] / "packages" / "dirty-protocol" / "vectors"
SMALL = protocol.Limits(max_payload=200, max_length=20, max_items=5, max_depth=4)


def one_input(data: bytes) -> None:
    if not data:
        return
    choice, data = data[0], data[1:]
    for target in (values, frames, front):
        target(choice, data)


def values(choice: int, data: bytes) -> None:
    limits = (protocol.DEFAULT_LIMITS, protocol.V1_LIMITS, SMALL)[choice % 3]
    try:
        value = protocol.decode(data, limits)
    except protocol.DecodeError as error:
        same_refusal(error, data, limits)
        return
    encoded = protocol.encode(value, limits)
    again = protocol.encode(protocol.decode(memoryview(encoded), limits, views_from=choice), limits)
    assert len(again) == len(encoded)
    if b"\x35" not in data and b"\x36" not in data:  # sets have no order
        assert again == encoded


def same_refusal(error: protocol.DecodeError, data: bytes, limits: protocol.Limits) -> None:
    other = None
    try:
        protocol.decode(bytearray(data), limits, views_from=0)
    except protocol.DecodeError as raised:
        other = raised
    assert other is not None, "a bytearray is decoded, the same bytes are not"
    assert (other.kind, other.offset) == (error.kind, error.offset), (other, error)
    assert 0 <= error.offset <= len(data), error


def frames(choice: int, data: bytes) -> None:
    limits = SMALL if choice & 1 else protocol.DEFAULT_LIMITS
    step = choice % 29 + 1
    pieces = [data[start : start + step] for start in range(0, len(data), step)]
    whole = outcome(protocol.FrameAssembler(limits), [data])
    assert outcome(protocol.FrameAssembler(limits), pieces) == whole
    assert lent(protocol.FrameAssembler(limits), pieces) == whole
    parts = outcome(protocol.FrameDecoder(limits), pieces)
    assert parts[1] == whole[1]
    for frame in whole[0]:
        try:
            frame.message(limits).to_bytes(limits)
        except protocol.ProtocolError:
            pass


def outcome(decoder: Any, pieces: list[bytes]) -> Any:
    """What came out, and the error that ended it."""
    found = []
    try:
        for piece in pieces:
            found += decoder.receive_data(piece)
        decoder.receive_eof()
    except protocol.FrameError as error:
        return found, (error.kind, error.offset)
    return found, None


def lent(decoder: Any, pieces: list[bytes]) -> Any:
    """The same, through the decoder's own buffer."""
    found = []
    try:
        for piece in pieces:
            buffer = decoder.get_buffer()  # larger than the pieces
            buffer[: len(piece)] = piece
            found += decoder.buffer_updated(len(piece))
        decoder.receive_eof()
    except protocol.FrameError as error:
        return found, (error.kind, error.offset)
    return found, None


def front(choice: int, data: bytes) -> None:
    try:
        protocol.read_routing(data[: choice * 4])
        protocol.read_routing(data)
    except protocol.ProtocolError:
        pass


def fill(corpus: Path) -> None:
    corpus.mkdir(parents=True, exist_ok=True)
    for path in VECTORS.glob("*.json"):
        for index, vector in enumerate(json.loads(path.read_text())["vectors"]):
            data = bytes.fromhex(vector["hex"])
            (corpus / f"{path.stem}-{index}").write_bytes(b"\x00" + data)
            (corpus / f"{path.stem}-{index}-small").write_bytes(b"\x05" + data)


if __name__ == "__main__":
    folders = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    if folders and not Path(folders[0]).exists():
        fill(Path(folders[0]))
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
