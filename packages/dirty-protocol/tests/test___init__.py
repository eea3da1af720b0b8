"""The public names: what others build on changes on purpose only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gunicorn_dirty_protocol

README = Path(__file__).parents[1] / "README.md"
NAMES = """
    Cancel Chunk DEFAULT_LIMITS DecodeError EncodeError End Error ErrorKind ErrorType Frame FrameAssembler FrameDecoder
    FrameError FrameEvent HEADER_SIZE Header Limits MAX_REQUEST_ID Manage ManageOp Message MessageError MessageType
    PayloadPart ProtocolError Request Response Routing Stash StashOp Status V1_LIMITS decode decode_from encode
    encode_chunks pack_header parse parse_frame read_routing unpack_header
"""
IMPURE = {"asyncio", "concurrent", "multiprocessing", "select", "selectors", "signal", "socket", "threading", "time"}


def test_the_public_names_are_these() -> None:
    assert sorted(gunicorn_dirty_protocol.__all__) == sorted(NAMES.split())
    for name in NAMES.split():
        assert hasattr(gunicorn_dirty_protocol, name)


def test_the_readme_has_a_row_for_every_public_name() -> None:
    text = README.read_text()
    assert [name for name in NAMES.split() if f"`{name}" not in text] == []


def test_the_package_imports_nothing_that_does_io_or_starts_threads() -> None:
    own = Path(gunicorn_dirty_protocol.__file__).parent
    for source in own.glob("*.py"):
        for line in source.read_text().splitlines():
            words = line.split()
            if words[:1] in (["import"], ["from"]):
                assert words[1].split(".")[0] not in IMPURE, (source.name, line)


def test_importing_the_package_loads_no_more_than_it_needs() -> None:
    script = (
        "import sys; import gunicorn_dirty_protocol; "
        "sys.exit(any(m in sys.modules for m in ('asyncio', 'decimal', 'uuid', 'numpy', 'socket', 'threading')))"
    )
    assert subprocess.run([sys.executable, "-S", "-c", script], check=False, env=environment()).returncode == 0


def environment() -> dict[str, str]:
    return {"PYTHONPATH": str(Path(gunicorn_dirty_protocol.__file__).parents[1])}
