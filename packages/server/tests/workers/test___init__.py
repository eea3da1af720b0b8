"""The registry of short names."""

import pytest
from gunicorn import workers


def test_short_names_and_paths() -> None:
    assert set(workers.SUPPORTED_WORKERS) == {"sync", "gthread", "gevent", "asgi"}
    assert workers.resolve_worker_name("sync") == "gunicorn.workers.sync.SyncWorker"
    assert workers.resolve_worker_name("my.module.Worker") == "my.module.Worker"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tornado", "use asgi for an ASGI application"),
        ("eventlet", "use gevent"),
        ("fast", "use one of sync, gthread, gevent, asgi, or package.module.Class"),
    ],
)
def test_other_names_say_what_to_use(name: str, message: str) -> None:
    with pytest.raises(ImportError) as caught:
        workers.resolve_worker_name(name)
    assert message in str(caught.value)
