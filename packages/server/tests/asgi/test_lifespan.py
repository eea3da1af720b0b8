"""The lifespan protocol: applications that know it, that do not, that fail, in each mode."""

import pytest
from gunicorn.asgi.lifespan import FAILED, RUNNING, STARTING, STOPPED, STOPPING, UNSUPPORTED, Lifespan
from gunicorn.http.errors import LocalProtocolError

COMPLETE = {"type": "lifespan.startup.complete"}
STOP_COMPLETE = {"type": "lifespan.shutdown.complete"}


def running(mode: str = "auto") -> Lifespan:
    lifespan = Lifespan(mode)
    assert lifespan.next_message() == {"type": "lifespan.startup"}
    lifespan.sent(COMPLETE)
    return lifespan


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_a_whole_life(mode: str) -> None:
    lifespan = Lifespan(mode)
    assert (lifespan.phase, lifespan.settled) == (STARTING, False)
    assert lifespan.next_message() == {"type": "lifespan.startup"}
    assert lifespan.next_message() is None
    lifespan.sent(COMPLETE)
    assert (lifespan.phase, lifespan.settled) == (RUNNING, True)
    assert lifespan.next_message() is None
    lifespan.shutdown()
    assert (lifespan.phase, lifespan.settled) == (STOPPING, False)
    assert lifespan.next_message() == {"type": "lifespan.shutdown"}
    assert lifespan.next_message() is None
    lifespan.sent(STOP_COMPLETE)
    assert (lifespan.phase, lifespan.settled) == (STOPPED, True)
    lifespan.returned(None)
    assert (lifespan.phase, lifespan.problem) == (STOPPED, "")


def test_off_is_settled_from_the_start() -> None:
    lifespan = Lifespan("off")
    assert (lifespan.phase, lifespan.settled) == (UNSUPPORTED, True)
    lifespan.shutdown()
    assert lifespan.phase == UNSUPPORTED


def test_an_unknown_mode() -> None:
    with pytest.raises(ValueError, match="auto, on, off"):
        Lifespan("maybe")


@pytest.mark.parametrize("error", [None, KeyError("method")])
def test_an_application_that_does_not_know_lifespan_is_served_without_a_word(error: Exception | None) -> None:
    lifespan = Lifespan("auto")
    lifespan.returned(error)
    assert lifespan.phase == UNSUPPORTED
    assert not lifespan.noteworthy


def test_an_application_that_took_the_startup_and_broke_is_served_but_not_silently() -> None:
    lifespan, error = Lifespan("auto"), ValueError("x")
    lifespan.next_message()
    lifespan.returned(error)
    assert lifespan.phase == UNSUPPORTED
    assert lifespan.noteworthy
    assert lifespan.error is error


@pytest.mark.parametrize("error", [None, KeyError("method")])
def test_on_makes_the_same_a_failure(error: Exception | None) -> None:
    lifespan = Lifespan("on")
    lifespan.returned(error)
    assert lifespan.phase == FAILED
    assert lifespan.noteworthy
    assert lifespan.problem.endswith("lifespan.startup.complete")


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_startup_failed_is_a_failure_in_both_modes(mode: str) -> None:
    lifespan = Lifespan(mode)
    lifespan.next_message()
    lifespan.sent({"type": "lifespan.startup.failed", "message": "no database"})
    assert lifespan.phase == FAILED
    assert lifespan.problem.endswith("startup failed: no database")
    lifespan.returned(RuntimeError("no database"))
    assert lifespan.problem.endswith("no database")


def test_shutdown_failed() -> None:
    lifespan = running()
    lifespan.shutdown()
    lifespan.next_message()
    lifespan.sent({"type": "lifespan.shutdown.failed"})
    assert (lifespan.phase, lifespan.problem) == (FAILED, "the application's shutdown failed")


@pytest.mark.parametrize("stopping", [False, True])
def test_an_exception_after_startup(stopping: bool) -> None:
    lifespan, error = running(), ValueError("x")
    if stopping:
        lifespan.shutdown()
    lifespan.returned(error)
    assert (lifespan.phase, lifespan.error) == (FAILED, error)


@pytest.mark.parametrize("stopping", [False, True])
def test_returning_after_startup_is_the_end_without_a_problem(stopping: bool) -> None:
    lifespan = running()
    if stopping:
        lifespan.shutdown()
    lifespan.returned(None)
    lifespan.shutdown()
    assert (lifespan.phase, lifespan.settled, lifespan.problem) == (STOPPED, True, "")


@pytest.mark.parametrize("kind", ["http.response.start", "lifespan.startup", "mine"])
def test_foreign_messages(kind: str) -> None:
    with pytest.raises(LocalProtocolError, match=kind):
        Lifespan("auto").sent({"type": kind})


def test_messages_out_of_order() -> None:
    lifespan = running()
    with pytest.raises(LocalProtocolError, match="comes once"):
        lifespan.sent(COMPLETE)
    with pytest.raises(LocalProtocolError, match="in answer to lifespan"):
        lifespan.sent(STOP_COMPLETE)
    assert lifespan.phase == RUNNING
