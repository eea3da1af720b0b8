"""The golden vectors and the tables of docs/protocol.md against the code: neither can drift from the other two."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import gunicorn_dirty_protocol
import pytest
from gunicorn_dirty_protocol import (
    DEFAULT_LIMITS,
    ErrorKind,
    ErrorType,
    FrameAssembler,
    FrameDecoder,
    Header,
    Limits,
    ManageOp,
    MessageType,
    PayloadPart,
    ProtocolError,
    Stash,
    StashOp,
    decode,
    encode,
    parse_frame,
)

VECTORS = Path(__file__).parents[1] / "vectors"
DOCUMENT = Path(__file__).parents[3] / "docs" / "protocol.md"


def test_values(values_vector: dict[str, Any], notation: Any) -> None:
    check_value(values_vector, notation)


def test_extensions(extensions_vector: dict[str, Any], notation: Any) -> None:
    if (
        "float16" in extensions_vector["name"]
        or "by 0" in extensions_vector["name"]
        or "0 by" in extensions_vector["name"]
    ):
        pytest.importorskip("numpy", reason="only numpy has half floats and empty shapes")
    check_value(extensions_vector, notation)


def check_value(vector: dict[str, Any], notation: Any) -> None:
    data = bytes.fromhex(vector["hex"])
    for buffer in (data, bytearray(data), memoryview(data)):
        assert notation.note(decode(buffer)) == notation.sorted(vector["value"])
    if not vector.get("decode_only"):
        value = notation.value(vector["value"])
        encoded = encode(value)
        assert len(encoded) == len(data)
        if "set" not in vector["name"]:
            assert encoded == data


def test_every_value_cut_anywhere_is_truncated(values_vector: dict[str, Any]) -> None:
    data = bytes.fromhex(values_vector["hex"])
    for cut in range(0, len(data), max(1, len(data) // 60)):
        with pytest.raises(ProtocolError) as caught:
            decode(data[:cut])
        assert caught.value.kind is ErrorKind.TRUNCATED
        assert caught.value.offset <= cut


def test_invalid_values(invalid_values_vector: dict[str, Any], notation: Any) -> None:
    data = bytes.fromhex(invalid_values_vector["hex"])
    for buffer in (data, bytearray(data), memoryview(data)):
        with pytest.raises(ProtocolError) as caught:
            decode(buffer, notation.limits(invalid_values_vector))
        assert (str(caught.value.kind), caught.value.offset) == (
            invalid_values_vector["error"],
            invalid_values_vector["offset"],
        )
        assert caught.value.reason


def test_messages(messages_vector: dict[str, Any], notation: Any) -> None:
    data = bytes.fromhex(messages_vector["hex"])
    message = parse_frame(data)
    assert message.type.name == messages_vector["type"]
    assert message.request_id == int(messages_vector["request_id"])
    for name, noted in messages_vector["fields"].items():
        assert notation.note(getattr(message, name)) == notation.note(notation.value(noted)), name
    assert (
        type(message)(message.request_id, **{n: notation.value(v) for n, v in messages_vector["fields"].items()})
        == message
    )
    if not messages_vector.get("decode_only"):
        assert message.to_bytes() == data
        assert b"".join(message.chunks()) == data


def test_messages_at_every_split(messages_vector: dict[str, Any]) -> None:
    data = bytes.fromhex(messages_vector["hex"])
    expected = parse_frame(data)
    for cut in range(len(data) + 1):
        assembler = FrameAssembler()
        frames = assembler.receive_data(data[:cut]) + assembler.receive_data(data[cut:])
        assert [frame.message() for frame in frames] == [expected]
        decoder = FrameDecoder()
        header, *rest = decoder.receive_data(data[:cut]) + decoder.receive_data(data[cut:])
        assert header == Header(expected.type, expected.request_id, len(data) - 16)
        parts = [part for part in rest if isinstance(part, PayloadPart)]
        assert len(parts) == len(rest)
        assert b"".join(part.data for part in parts) == data[16:]
        assert [part.last for part in parts] == [False] * (len(parts) - 1) + [True]


def receive_all(data: bytes, step: int, limits: Limits) -> None:
    assembler = FrameAssembler(limits)
    for start in range(0, len(data), step):
        for frame in assembler.receive_data(data[start : start + step]):
            frame.message(limits)
    assembler.receive_eof()


def test_invalid_frames(invalid_frames_vector: dict[str, Any], notation: Any) -> None:
    data, limits = bytes.fromhex(invalid_frames_vector["hex"]), notation.limits(invalid_frames_vector)
    for step in (len(data), 1, 7):
        with pytest.raises(ProtocolError) as caught:
            receive_all(data, step, limits)
        assert (str(caught.value.kind), caught.value.offset) == (
            invalid_frames_vector["error"],
            invalid_frames_vector["offset"],
        )
    layer = {"FrameError": "frame", "DecodeError": "value", "MessageError": "message"}[type(caught.value).__name__]
    assert layer == invalid_frames_vector["layer"]


def table(heading: str, *columns: str) -> list[tuple[str, ...]]:
    """The rows of the first table below a heading of the document that has these columns, as tuples of them."""
    section = re.split(rf"^#+ {re.escape(heading)}$", DOCUMENT.read_text(), flags=re.MULTILINE)[1]
    for found in re.findall(r"(?:^\|.*\|\n)+", section, flags=re.MULTILINE):
        cells = [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in found.splitlines()]
        if set(columns) <= set(cells[0]):
            picked = [cells[0].index(column) for column in columns]
            return [tuple(row[i] for i in picked) for row in cells[2:]]
    raise AssertionError(f"no table with the columns {columns} below {heading}")


def test_tables_of_codes_are_those_of_the_code() -> None:
    assert [(int(c, 16), n) for c, n in table("2.1 Message types", "code", "name")] == [
        (m.value, m.name) for m in MessageType
    ]
    assert [(int(c), n) for c, n in table("3.5 STASH", "op", "name")] == [(m.value, m.name) for m in StashOp]
    assert [(int(c), n) for c, n in table("3.6 STATUS and MANAGE", "op", "name")] == [
        (m.value, m.name) for m in ManageOp
    ]
    assert [n for (n,) in table("3.3 ERROR", "error_type")] == [m.value for m in ErrorType]
    stash_fields = [f.name for f in fields(Stash) if f.name != "request_id"]
    assert sorted(n for (n,) in table("3.5 STASH", "field")) == sorted(stash_fields)
    codes = gunicorn_dirty_protocol.codes
    for code, name in table("4. Values", "code", "name") + table("6. Extensions", "code", "name"):
        assert getattr(codes, name) == int(code, 16)
    assert {name for (name,) in table("5. Limits", "limit")} == {f.name for f in fields(DEFAULT_LIMITS) if f.init} - {
        "extensions"
    }
    for name, default in table("5. Limits", "limit", "default"):
        assert getattr(DEFAULT_LIMITS, name) == int(default)


def test_every_kind_of_error_has_its_row_and_its_vectors() -> None:
    kinds = {name for (name,) in table("7. Errors", "kind")}
    assert kinds | {"int_range", "unsupported"} == {str(kind) for kind in ErrorKind}
    used = {v["error"] for name in ("invalid_values", "invalid_frames") for v in vectors(name)}
    assert used == kinds


def vectors(name: str) -> Any:
    return json.loads((VECTORS / f"{name}.json").read_text())["vectors"]


def test_every_row_of_the_tables_has_a_vector() -> None:
    leading = {v["hex"][:2] for name in ("values", "extensions") for v in vectors(name)}
    for (code,) in table("4. Values", "code") + table("6. Extensions", "code"):
        assert code in leading
    types = {v["hex"][6:8] for v in vectors("messages")}
    assert types == {code for (code,) in table("2.1 Message types", "code")}
    numbers = {v["hex"][10:12] for v in vectors("extensions") if v["hex"].startswith("31")}
    assert numbers == {code for (code,) in table("6.2 ARRAY", "code")}
    written = json.dumps([vectors("values"), vectors("extensions")])
    for (key,) in table("10. Golden vectors", "key"):
        assert f'{{"{key}": ' in written
    messages = {(v["type"], v["fields"].get("op", {}).get("int")) for v in vectors("messages")}
    for kind, heading in (("STASH", "3.5 STASH"), ("MANAGE", "3.6 STATUS and MANAGE")):
        assert {op for type_, op in messages if type_ == kind} == {op for (op,) in table(heading, "op")}
    given = {name for v in vectors("messages") if v["type"] == "STASH" for name in v["fields"]}
    assert given == {name for (name,) in table("3.5 STASH", "field")}
    errors = json.dumps(vectors("messages"))
    for (name,) in table("3.3 ERROR", "error_type"):
        assert f'"{name}"' in errors


def test_there_are_enough_vectors_and_the_wheel_has_them() -> None:
    names = [path.name for path in VECTORS.glob("*.json")]
    assert sum(len(vectors(name.removesuffix(".json"))) for name in names) >= 200
    package = Path(gunicorn_dirty_protocol.__file__).parent
    if package.parent.name != "src":  # installed from a wheel, not editable
        assert {n: (package / "vectors" / n).read_bytes() for n in names} == {
            n: (VECTORS / n).read_bytes() for n in names
        }
