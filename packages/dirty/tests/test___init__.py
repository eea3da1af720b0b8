"""The package's public names, and that importing it loads next to nothing."""

from __future__ import annotations

import subprocess
import sys

import gunicorn.dirty
import pytest


def test_public_names() -> None:
    """A change here is a change for users."""
    assert sorted(gunicorn.dirty.__all__) == [
        "CurrentCall",
        "DirtyApp",
        "DirtyAppError",
        "DirtyAppNotFoundError",
        "DirtyCancelledError",
        "DirtyClient",
        "DirtyConnectionError",
        "DirtyError",
        "DirtyNoWorkersAvailableError",
        "DirtyOverloadedError",
        "DirtyProtocolError",
        "DirtyTimeoutError",
        "DirtyWorkerError",
        "StashError",
        "StashFullError",
        "StashKeyNotFoundError",
        "StashTableNotFoundError",
        "batched",
        "close_dirty_client",
        "current_call",
        "get_dirty_client",
        "get_dirty_client_async",
        "overload_asgi",
        "overload_wsgi",
        "stash",
    ]
    for name in gunicorn.dirty.__all__:
        assert getattr(gunicorn.dirty, name) is not None
        assert name in dir(gunicorn.dirty)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        _ = gunicorn.dirty.nothing_of_that_name


def test_importing_it_loads_no_submodule() -> None:
    program = "import sys, gunicorn.dirty; print(sorted(m for m in sys.modules if m.startswith('gunicorn.dirty.')))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
