"""From requests to replies: access, and every way for a handler to fail."""

from typing import Any

import pytest
from gunicorn.control.commands import REGISTRY
from gunicorn.control.dispatch import Dispatcher
from gunicorn.control.errors import CommandError
from gunicorn.control.messages import Reply, Request
from gunicorn.control.peer import Peer
from gunicorn.control.registry import Access, AskPool, Registry
from gunicorn_dirty_protocol import Status

OWNER = Peer(1, 7, 7)
OTHER = Peer(2, 8, 7)


@pytest.fixture
def dispatcher(host: Any) -> Dispatcher:
    return Dispatcher(REGISTRY, host.introspection, host.log)


def test_data_becomes_a_reply(host: Any, dispatcher: Dispatcher) -> None:
    assert dispatcher.dispatch(Request(5, "show", ("stats",)), OTHER) == Reply(5, data=host.introspection.stats())


def test_who_may_only_look_changes_nothing(host: Any, dispatcher: Dispatcher) -> None:
    for command in REGISTRY:
        words = " ".join([command.name, *("101" for argument in command.arguments if argument.default is None)])
        reply = dispatcher.dispatch(Request(1, words), OTHER)
        if command.access is Access.WRITE:
            assert isinstance(reply, Reply)
            assert reply.error is not None
            assert reply.error.startswith(f"{command.name!r} changes the server, and you (uid 8) may only look")
    assert host.introspection.done == []
    assert host.log.lines == []


def test_changes_are_logged_with_their_author(host: Any, dispatcher: Dispatcher) -> None:
    dispatcher.dispatch(Request(1, "worker add", ("2",)), OWNER)
    assert host.log.texts("info") == ["Control: worker add 2 by pid 1, uid 7"]
    dispatcher.dispatch(Request(1, "show stats"), OWNER)
    assert len(host.log.lines) == 1


def test_command_errors_are_the_reply(host: Any, dispatcher: Dispatcher) -> None:
    reply = dispatcher.dispatch(Request(9, "show wrokers"), OWNER)
    assert isinstance(reply, Reply)
    assert reply.id == 9
    assert reply.error is not None
    assert reply.error.startswith("unknown command 'show wrokers'; did you mean 'show workers'?")
    assert host.log.lines == []


def test_a_failing_handler_is_logged_and_answered(host: Any, dispatcher: Dispatcher) -> None:
    host.introspection.stats = lambda: 1 // 0
    reply = dispatcher.dispatch(Request(9, "show stats"), OWNER)
    assert isinstance(reply, Reply)
    assert reply.error is not None
    assert "ZeroDivisionError" in reply.error
    assert host.log.texts("exception") == ["Control: 'show stats' failed"]


def test_answers_of_the_pool(dispatcher: Dispatcher) -> None:
    def refuse(error: Exception) -> dict[str, Any]:
        raise error

    ask = AskPool("/d", Status(1), lambda result: {"got": result}, refuse)
    request = Request(3, "show dirty")
    assert dispatcher.pool_answered(request, ask, {"a": 1}) == Reply(3, data={"got": {"a": 1}})
    assert dispatcher.pool_failed(request, ask, CommandError("silent")) == Reply(3, error="silent")
    strange = dispatcher.pool_answered(request, ask, [1])
    assert strange.error == "the dirty arbiter answered with list, not with a dict"


def test_the_pool_is_asked_once(host: Any) -> None:
    ask = AskPool("/d", Status(1), lambda result: {}, lambda error: {})
    registry = Registry()
    registry.command("loop", "asks", Access.READ)(lambda introspection: ask)
    dispatcher = Dispatcher(registry, host.introspection, host.log)
    assert dispatcher.dispatch(Request(1, "loop"), OTHER) is ask
