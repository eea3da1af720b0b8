"""Questions to the dirty arbiter: every way for it to answer, and not to."""

import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gunicorn.control.errors import CommandError, PoolUnavailableError
from gunicorn.control.pool import PoolCall
from gunicorn.control.registry import AskPool
from gunicorn_dirty_protocol import Manage, ManageOp, Status


class Asked:
    """A call and what came of it."""

    def __init__(self, host: Any, path: str, question: Any) -> None:
        self.answers: list[Any] = []
        self.failures: list[CommandError] = []
        ask = AskPool(path, question, dict, lambda error: {})
        self.call = PoolCall(host, ask, 5.0, self.answers.append, self.failures.append)
        self.call.start()

    @property
    def done(self) -> bool:
        return bool(self.answers or self.failures)


@pytest.fixture
def ask(host: Any) -> Iterator[Callable[..., Asked]]:
    made: list[Asked] = []

    def make(path: str, question: Any = None) -> Asked:
        made.append(Asked(host, path, question or Status(1)))
        return made[-1]

    yield make
    for asked in made:
        asked.call.close()


def test_the_answer(host: Any, pool: Any, ask: Any) -> None:
    watched = host.watched
    asked = ask(pool.path, Manage(1, ManageOp.ADD, 2))
    assert not asked.done
    host.run(lambda: asked.done)
    assert asked.answers == [{"success": True, "operation": "add", "requested": 2}]
    assert pool.asked == [Manage(1, ManageOp.ADD, 2)]
    host.run(lambda: not pool.open)
    assert host.watched == watched


@pytest.mark.parametrize(
    ("mode", "kind", "text"),
    [
        ("refuse", CommandError, "the dirty arbiter refused: only at the weekend (DirtyError)"),
        ("hang up", PoolUnavailableError, "the dirty arbiter closed the connection without an answer"),
        ("garbage", PoolUnavailableError, "the dirty arbiter sent what cannot be read: "),
    ],
)
def test_other_answers(host: Any, pool: Any, ask: Any, mode: str, kind: type[Exception], text: str) -> None:
    pool.mode = mode
    watched = host.watched
    asked = ask(pool.path)
    host.run(lambda: asked.done)
    assert asked.answers == []
    (failure,) = asked.failures
    assert type(failure) is kind
    assert str(failure).startswith(text)
    host.run(lambda: not pool.open)
    assert host.watched == watched


def test_silence_until_the_deadline(host: Any, pool: Any, ask: Any) -> None:
    pool.mode = "silence"
    asked = ask(pool.path)
    host.run(lambda: pool.asked)
    assert not asked.done
    asked.call.expire()
    assert str(asked.failures[0]).startswith("the dirty arbiter has not answered within 5 seconds (socket ")
    host.run(lambda: not pool.open)


def test_nobody_there(directory: str, ask: Any) -> None:
    asked = ask(f"{directory}/none")
    assert "cannot be reached: No such file or directory (socket " in str(asked.failures[0])
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"{directory}/stale")
    asked = ask(f"{directory}/stale")
    assert "cannot be reached: Connection refused" in str(asked.failures[0])


def test_a_full_backlog_does_not_block(directory: str, ask: Any) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{directory}/busy")
        listener.listen(0)
        for _ in range(10):
            asked = ask(f"{directory}/busy")
            if asked.done:
                break
        assert "is too busy to accept a connection" in str(asked.failures[0])


def test_a_closed_call_calls_nobody_back(host: Any, pool: Any, ask: Any) -> None:
    pool.mode = "silence"
    asked = ask(pool.path)
    asked.call.close()
    host.run(lambda: pool.asked and not pool.open)
    assert not asked.done


def test_a_child_closes_its_copy_and_leaves_the_selector_alone(host: Any, pool: Any, ask: Any) -> None:
    pool.mode = "silence"
    asked = ask(pool.path)
    host.run(lambda: pool.asked)
    child = os.fork()
    if not child:
        asked.call.forked()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    pool.open[0].sendall(pool.answer_to(pool.asked[0]))
    host.run(lambda: asked.done)
    assert asked.answers == [pool.STATUS]
