"""The error tree: to the wire and back, whatever comes."""

from __future__ import annotations

import pickle

import pytest
from gunicorn.dirty import errors
from gunicorn.dirty.errors import DirtyAppNotFoundError, DirtyError, DirtyProtocolError
from gunicorn_dirty_protocol import ErrorType

SAMPLES = [
    DirtyError("m", {"k": 1}),
    errors.DirtyTimeoutError("late", 5),
    errors.DirtyConnectionError("gone", "/s"),
    errors.DirtyWorkerError("died", 7, "tb"),
    errors.DirtyAppError("raised", "m:A", "go", "tb"),
    DirtyAppNotFoundError("m:A"),
    errors.DirtyNoWorkersAvailableError("m:A"),
    errors.DirtyOverloadedError("m:A"),
    errors.DirtyCancelledError(),
    errors.DirtyMappingError("none"),
    DirtyProtocolError("odd", b"\x00\xff"),
    errors.StashError("no"),
    errors.StashTableNotFoundError("t"),
    errors.StashKeyNotFoundError("k"),
    errors.StashFullError("t", "max_entries is 1"),
]


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)
def test_round_trip(error: DirtyError) -> None:
    for copy in (DirtyError.from_dict(error.to_dict()), pickle.loads(pickle.dumps(error))):
        assert type(copy) is type(error)
        assert copy.to_dict() == error.to_dict()
        assert str(copy) == error.message


def test_there_is_a_sample_of_each() -> None:
    assert {type(error).__name__ for error in SAMPLES} == set(errors.__all__)


def test_the_names_are_those_of_the_protocol() -> None:
    assert set(errors.__all__) == {kind.value for kind in ErrorType}


def test_details_are_attributes() -> None:
    assert errors.DirtyTimeoutError("late", 5).timeout == 5
    assert errors.DirtyConnectionError("gone", "/s").socket_path == "/s"
    worker = errors.DirtyWorkerError("died", 7, "tb")
    assert (worker.worker_id, worker.traceback) == (7, "tb")
    app = errors.DirtyAppError("raised", "m:A", "go", "tb")
    assert (app.app_path, app.action, app.traceback) == ("m:A", "go", "tb")
    assert DirtyAppNotFoundError("m:A").app_path == "m:A"
    assert errors.DirtyNoWorkersAvailableError("m:A").app_path == "m:A"
    assert errors.DirtyOverloadedError("m:A").app_path == "m:A"
    assert DirtyProtocolError("odd", b"\x00\xff").raw_data == "00ff"


def test_raw_data_is_kept_short() -> None:
    assert len(DirtyProtocolError("odd", bytes(10_000)).raw_data or "") <= 128


@pytest.mark.parametrize(
    "data", [{}, {"error_type": "Unknown", "message": "m"}, {"error_type": 5, "message": None, "details": "x"}]
)
def test_odd_input_is_a_plain_dirty_error(data: dict[str, object]) -> None:
    error = DirtyError.from_dict(data)
    assert type(error) is DirtyError
    assert error.details == {}
