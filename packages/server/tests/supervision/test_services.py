"""ServiceGroup with made-up services: order, ticks, patience at the stop, guarding, and a real child."""

import logging
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from gunicorn.supervision.loop import MasterLoop
from gunicorn.supervision.services import HURRY_SECONDS, ServiceGroup


class Fake:
    """A service that notes what is done to it."""

    settings: list[Any] = []

    def __init__(self, name: str, notes: list[Any]) -> None:
        self.name = name
        self.notes = notes
        self.stopped = False
        self.next: float | None = None
        self.mine: set[int] = set()
        self.stops_at_once = True
        self.host: Any = None

    def start(self, host: Any) -> None:
        self.host = host
        self.notes.append((self.name, "start"))

    def child_exited(self, pid: int, status: int) -> bool:
        return pid in self.mine

    def tick(self, now: float) -> float | None:
        self.notes.append((self.name, "tick", now))
        return self.next

    def reload(self, host: Any) -> None:
        self.notes.append((self.name, "reload", host.cfg))

    def stop(self, graceful: bool) -> None:
        self.notes.append((self.name, "stop", graceful))
        self.stopped = self.stops_at_once or self.stopped

    def close(self) -> None:
        self.notes.append((self.name, "close"))

    def forked(self) -> None:
        self.notes.append((self.name, "forked"))

    def snapshot(self) -> dict[str, Any]:
        return {"name": self.name}


@pytest.fixture
def notes() -> list[Any]:
    return []


@pytest.fixture
def group(notes: list[Any]) -> Iterator[ServiceGroup]:
    log = logging.getLogger("test.services")
    loop = MasterLoop(log)
    services: Any = [Fake("dirty", notes), Fake("control", notes)]
    made = ServiceGroup(
        services,
        loop,
        None,  # type: ignore[arg-type]
        [signal.SIGUSR2],
        lambda owner: made.forked(owner),  # noqa: PLW0108
        lambda: made.configure("new cfg", log),
    )
    made.configure("cfg", log)
    yield made
    made.kill_children()
    for pid in made.children:
        os.waitpid(pid, 0)
    loop.close()


def services_of(group: ServiceGroup) -> Any:
    return list(group._services)


def without_ticks(notes: list[Any]) -> list[Any]:
    return [note for note in notes if note[1] != "tick"]


def test_services_start_in_order_and_stop_in_reverse(group: ServiceGroup, notes: list[Any]) -> None:
    group.start(1.0)
    assert without_ticks(notes) == [("dirty", "start"), ("control", "start")]
    notes.clear()
    assert group.stop_step(2.0, graceful=True, patience=5.0)
    assert without_ticks(notes) == [
        ("control", "stop", True),
        ("control", "close"),
        ("dirty", "stop", True),
        ("dirty", "close"),
    ]
    assert group.stop_step(3.0, graceful=True, patience=5.0)


def test_a_service_that_does_not_start_is_logged_and_left_out(
    group: ServiceGroup, notes: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(host: Any) -> None:
        raise OSError("no room")

    services_of(group)[0].start = fail
    group.start(1.0)
    assert "The service dirty cannot start" in caplog.text
    assert group.snapshot("dirty") is None
    assert group.snapshot("control") == {"name": "control"}
    assert group.stop_step(2.0, graceful=True, patience=5.0)
    assert ("dirty", "close") not in notes


def test_ticks_come_when_they_are_due(group: ServiceGroup, notes: list[Any]) -> None:
    dirty, control = services_of(group)
    dirty.next, control.next = 10.0, 20.0
    group.start(1.0)
    notes.clear()
    assert group.tick(9.9) == 10.0
    assert notes == []
    dirty.next = None
    assert group.tick(10.0) == 20.0
    assert notes == [("dirty", "tick", 10.0)]
    group.reload(11.0)
    assert ("dirty", "tick", 11.0) in notes
    assert ("control", "reload", "cfg") in notes


def test_logs_are_opened_again_by_services_that_have_some(group: ServiceGroup, notes: list[Any]) -> None:
    group.start(1.0)
    services_of(group)[0].reopen = lambda: notes.append("reopened")  # the other one is of an older kind
    notes.clear()
    group.reopen()
    assert notes == ["reopened"]


def test_a_child_is_its_services(group: ServiceGroup, notes: list[Any]) -> None:
    services_of(group)[1].mine.add(77)
    group.start(1.0)
    notes.clear()
    assert group.child_exited(77, 0, 2.0)
    assert ("dirty", "tick", 2.0) in notes
    assert not group.child_exited(78, 0, 3.0)


def test_the_stop_is_hurried_after_the_patience_and_then_given_up(
    group: ServiceGroup, notes: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    group.start(1.0)
    services_of(group)[1].stops_at_once = False
    notes.clear()
    assert not group.stop_step(10.0, graceful=True, patience=5.0)
    assert group.stop_deadline() == 15.0
    assert not group.stop_step(14.9, graceful=True, patience=5.0)
    assert not group.stop_step(15.0, graceful=True, patience=5.0)
    assert group.stop_deadline() == 15.0 + HURRY_SECONDS
    assert without_ticks(notes) == [("control", "stop", True), ("control", "stop", False)]
    assert group.stop_step(15.0 + HURRY_SECONDS, graceful=True, patience=5.0)
    assert "The service control does not stop" in caplog.text
    assert ("dirty", "close") in notes
    assert group.stop_deadline() is None


def test_hurrying_reaches_a_service_that_stops_gracefully(group: ServiceGroup, notes: list[Any]) -> None:
    group.start(1.0)
    services_of(group)[1].stops_at_once = False
    assert not group.stop_step(10.0, graceful=True, patience=500.0)
    notes.clear()
    assert not group.stop_step(11.0, graceful=False, patience=500.0)
    assert without_ticks(notes) == [("control", "stop", False)]
    services_of(group)[1].stopped = True
    assert group.stop_step(12.0, graceful=False, patience=500.0)
    assert without_ticks(notes)[1:] == [("control", "close"), ("dirty", "stop", False), ("dirty", "close")]


def test_what_a_service_raises_is_logged(group: ServiceGroup, caplog: pytest.LogCaptureFixture) -> None:
    def fail(*args: Any) -> Any:
        raise LookupError("mine")

    group.start(1.0)
    for method in ("tick", "reload", "child_exited", "forked", "snapshot"):
        setattr(services_of(group)[0], method, fail)
    group.reload(2.0)
    group.forked()
    assert not group.child_exited(1, 0, 3.0)
    assert group.snapshot("dirty") is None
    assert caplog.text.count("LookupError: mine") >= 5


def test_a_service_may_want_more_time_to_stop(group: ServiceGroup, notes: list[Any]) -> None:
    group.start(1.0)
    dirty, control = services_of(group)
    dirty.stops_at_once = False
    dirty.patience = 50.0
    control.patience = 0.0
    assert not group.stop_step(2.0, graceful=True, patience=5.0)
    assert group.stop_deadline() == 52.0
    assert not group.stop_step(51.9, graceful=True, patience=5.0)
    assert ("dirty", "stop", False) not in notes
    assert not group.stop_step(52.0, graceful=True, patience=5.0)
    assert ("dirty", "stop", False) in notes
    dirty.stopped = True
    assert group.stop_step(52.1, graceful=True, patience=5.0)


def test_a_spawned_child_closes_what_is_others(group: ServiceGroup, notes: list[Any]) -> None:
    group.start(1.0)
    control = services_of(group)[1]
    read, write = os.pipe()
    notes.clear()

    pid = control.host.spawn(lambda: os.write(write, repr(notes).encode()) and 6, "control [test]")
    assert group.children == [pid]
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 6
    assert os.read(read, 1000) == b"[('dirty', 'forked')]"
    group.child_exited(pid, 0, 2.0)
    assert group.children == []
    os.close(read)
    os.close(write)


def test_an_exception_in_a_child_is_logged_and_status_1(group: ServiceGroup, capfd: pytest.CaptureFixture[str]) -> None:
    def main() -> int:
        raise LookupError("in the child")

    group.start(1.0)
    handler = logging.StreamHandler()
    group.log.addHandler(handler)
    try:
        pid = services_of(group)[0].host.spawn(main, "dirty [test]")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    finally:
        group.log.removeHandler(handler)
    group.child_exited(pid, 256, 2.0)
    assert "Exception in dirty [test]" in capfd.readouterr().err


def test_children_of_a_service_that_is_given_up_are_killed(group: ServiceGroup) -> None:
    group.start(1.0)
    control = services_of(group)[1]
    control.stops_at_once = False
    pid = control.host.spawn(signal.pause, "control [test]")
    assert not group.stop_step(2.0, graceful=False, patience=0.0)
    assert group.stop_step(2.0 + HURRY_SECONDS, graceful=False, patience=0.0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    group.child_exited(pid, 9, 3.0)
