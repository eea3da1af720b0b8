"""What the tests share: the golden vectors and their notation of values (docs/protocol.md, "Golden vectors")."""

from __future__ import annotations

import json
import struct
from array import array
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from gunicorn_dirty_protocol import Limits

VECTORS = Path(__file__).parents[1] / "vectors"
EPOCH = datetime(1970, 1, 1)
FORMATS = {
    "bool": "?",
    "int8": "b",
    "uint8": "B",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float16": "e",
    "float32": "f",
    "float64": "d",
}


def load(name: str) -> Any:
    """The vectors of a file, as pytest parameters."""
    return [pytest.param(vector, id=vector["name"]) for vector in json.loads((VECTORS / name).read_text())["vectors"]]


class Notation:
    """The vectors' notation to Python's values, and back."""

    @staticmethod
    def limits(vector: dict[str, Any]) -> Limits:
        return Limits(**vector.get("limits", {}))

    @classmethod
    def value(cls, noted: Any) -> Any:
        if isinstance(noted, list):
            return list(map(cls.value, noted))
        if not isinstance(noted, dict):
            return noted
        ((kind, content),) = noted.items()
        return getattr(cls, "_" + kind)(content)

    _int = _integer = int
    _bytes = bytes.fromhex
    _decimal = Decimal

    @staticmethod
    def _float(content: str) -> Any:
        return struct.unpack(">d", bytes.fromhex(content))[0]

    @classmethod
    def _dict(cls, content: Any) -> dict[str, Any]:
        return {key: cls.value(value) for key, value in content}

    @staticmethod
    def _uuid(content: str) -> UUID:
        return UUID(content)

    @staticmethod
    def _datetime(content: Any) -> datetime:
        wall = EPOCH + timedelta(microseconds=int(content["microseconds"]))
        offset = content["offset"]
        return wall if offset is None else wall.replace(tzinfo=timezone(timedelta(seconds=offset)))

    @classmethod
    def _set(cls, content: Any) -> set[Any]:
        return set(cls._frozenset(content))

    @classmethod
    def _frozenset(cls, content: Any) -> frozenset[Any]:
        return frozenset(tuple(v) if isinstance(v, list) else v for v in map(cls.value, content))

    @staticmethod
    def _array(content: Any) -> Any:
        data, shape = bytes.fromhex(content["data"]), content["shape"]
        letter: Any = FORMATS[content["type"]]  # no Literal, as cast() has it
        if letter == "e" or 0 in shape:
            numpy = pytest.importorskip("numpy", reason="only numpy has half floats and empty shapes")
            return numpy.frombuffer(data, content["type"]).reshape(shape)
        return array(letter, data) if letter == "B" else memoryview(data).cast(letter, shape)

    @classmethod
    def note(cls, value: Any) -> Any:
        """A value in the notation; sets in the order of their notation's text."""
        if value is None or isinstance(value, (bool, str)):
            return value
        if isinstance(value, (list, tuple)):
            return list(map(cls.note, value))
        if isinstance(value, dict):
            return {"dict": [[key, cls.note(item)] for key, item in value.items()]}
        if isinstance(value, int):
            return {"int" if -(2**63) <= value < 2**63 else "integer": str(int(value))}
        if isinstance(value, float):
            return {"float": struct.pack(">d", value).hex()}
        if isinstance(value, bytes):
            return {"bytes": value.hex()}
        if isinstance(value, (set, frozenset)):
            return {type(value).__name__: sorted(map(cls.note, value), key=json.dumps)}
        return cls._note_extension(value)

    @staticmethod
    def _note_extension(value: Any) -> Any:
        if isinstance(value, Decimal):
            return {"decimal": str(value)}
        if isinstance(value, UUID):
            return {"uuid": value.hex}
        if isinstance(value, datetime):
            offset = value.utcoffset()
            microseconds = (value.replace(tzinfo=None) - EPOCH) // timedelta(microseconds=1)
            seconds = None if offset is None else offset // timedelta(seconds=1)
            return {"datetime": {"microseconds": str(microseconds), "offset": seconds}}
        view = memoryview(value)
        assert view.shape is not None
        letter = {"l": "q", "L": "Q"}.get(view.format, view.format)
        name = next(name for name, format in FORMATS.items() if format == letter)
        return {"array": {"type": name, "shape": list(view.shape), "data": view.tobytes().hex()}}

    @classmethod
    def sorted(cls, noted: Any) -> Any:
        """The same, with sets in the order that :meth:`note` writes."""
        if isinstance(noted, list):
            return list(map(cls.sorted, noted))
        if isinstance(noted, dict):
            ((kind, content),) = noted.items()
            if kind in ("set", "frozenset"):
                return {kind: sorted((cls.sorted(item) for item in content), key=json.dumps)}
            if kind == "dict":
                return {kind: [[key, cls.sorted(item)] for key, item in content]}
        return noted


@pytest.fixture(scope="session")
def notation() -> type[Notation]:
    return Notation


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes ``<name>_vector`` runs once for each vector of ``<name>.json``."""
    for name in metafunc.fixturenames:
        if name.endswith("_vector"):
            metafunc.parametrize(name, load(name.removesuffix("_vector") + ".json"))
