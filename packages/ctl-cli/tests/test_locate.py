"""Which server is meant."""

from typing import Any

import pytest
from gunicorn.control.errors import NothingListensError
from gunicornc.locate import AmbiguousError, locate


def test_a_named_path_is_taken_as_it_stands(directory: str) -> None:
    assert locate("/some/where.ctl") == "/some/where.ctl"
    assert locate("./gunicorn.ctl") == "./gunicorn.ctl"


@pytest.mark.parametrize("option", [None, "gunicorn.ctl"])
def test_the_only_server_is_found(directory: str, serve: Any, option: str | None) -> None:
    server = serve("gunicorn.ctl")
    assert server.heard == [f"Control socket listening at {directory}/gunicorn.ctl"]
    found = locate(option)
    assert found in (f"{directory}/gunicorn.ctl", "gunicorn.ctl")  # the directory is also the working directory


def test_several_servers_are_listed(directory: str, serve: Any) -> None:
    serve("gunicorn.ctl")
    second = serve("gunicorn.ctl").service.snapshot()["socket"]
    with pytest.raises(AmbiguousError) as caught:
        locate(None)
    assert str(caught.value).splitlines() == [
        "several servers listen; say which one:",
        f"  gunicornc -s {second}",
        f"  gunicornc -s {directory}/gunicorn.ctl",
    ]


def test_nothing_is_found(directory: str) -> None:
    with pytest.raises(NothingListensError) as caught:
        locate(None)
    text = str(caught.value)
    assert f"looked for\n  {directory}/gunicorn.ctl\n  {directory}/home/.gunicorn/gunicorn.ctl\n" in text
    assert "gunicorn --control-socket PATH module:app" in text
