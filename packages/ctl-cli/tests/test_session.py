"""A session: words in, text or JSON out."""

import json
from typing import Any

import pytest
from gunicorn.control.client import ControlClient
from gunicorn.control.errors import CommandFailedError
from gunicornc.session import Session


@pytest.mark.parametrize("words", [["show", "workers"], ["show workers"], ["show", " workers "]])
def test_a_table(server: Any, words: list[str]) -> None:
    with ControlClient(server.path) as client:
        lines = Session(client, as_json=False, width=None).run(words).splitlines()
    assert lines == [
        "PID  AGE  STATE  BOOTED  HEARTBEAT  CURRENT",
        " 11    1  busy   yes          0.5s  GET \\x1b[2J",
        " 12    2  idle   yes        1m 15s  -",
        "2 workers",
    ]


def test_json_has_the_raw_values(server: Any) -> None:
    with ControlClient(server.path) as client:
        text = Session(client, as_json=True, width=20).run(["show", "stats"])
    assert json.loads(text) == server.introspection.answers["stats"]
    assert "\x1b" not in text


def test_the_server_judges_the_words(server: Any) -> None:
    with ControlClient(server.path) as client, pytest.raises(CommandFailedError, match="did you mean 'reload'"):
        Session(client, as_json=False, width=None).run(["relaod"])


def test_a_command_that_only_the_server_knows_is_shown_by_its_shape() -> None:
    class Newer(ControlClient):
        def call(self, command: str, *args: str | int) -> dict[str, Any]:
            return {"asked": command.split()}

    assert Session(Newer("/x"), as_json=False, width=None).run(["show", "queues"]) == "asked  show, queues"
