"""Running an application's lifespan on a loop: what is waited for, what is logged."""

import asyncio
import logging
from typing import Any

import pytest
from gunicorn.drivers.asyncio_lifespan import LifespanRunner


class Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def __getattr__(self, level: str) -> Any:
        def write(text: str, *args: Any, exc_info: Any = None) -> None:
            self.lines.append((level, text % args))
            logging.getLogger("test")  # as a logger would, it formats; nothing more

        return write

    def loud(self) -> list[tuple[str, str]]:
        return [line for line in self.lines if line[0] != "debug"]


def test_a_whole_life(run: Any) -> None:
    steps: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "lifespan"
        scope["state"]["pool"] = "open"
        for _ in range(2):
            message = await receive()
            await asyncio.sleep(0)
            steps.append(message["type"])
            await send({"type": message["type"] + ".complete"})

    async def main() -> None:
        runner = LifespanRunner(app, "auto", Log())
        assert await runner.startup()
        assert runner.state == {"pool": "open"}
        assert steps == ["lifespan.startup"]
        await runner.shutdown(60)
        assert steps == ["lifespan.startup", "lifespan.shutdown"]

    run(main())


@pytest.mark.parametrize("mode", ["auto", "on"])
@pytest.mark.parametrize("first", ["raise", "return", "respond"])
def test_applications_that_do_not_know_lifespan(run: Any, mode: str, first: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if first == "raise":
            raise AssertionError(f"unknown scope {scope['type']}")
        if first == "respond":
            await send({"type": "http.response.start", "status": 200})

    async def main() -> None:
        log = Log()
        runner = LifespanRunner(app, mode, log)
        assert await runner.startup() == (mode == "auto")
        assert bool(log.loud()) == (mode == "on")
        await runner.shutdown(60)

    run(main())


def test_a_broken_startup_in_auto_is_served_with_a_warning(run: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        raise ValueError("x")

    async def main() -> None:
        log = Log()
        runner = LifespanRunner(app, "auto", log)
        assert await runner.startup()
        [(level, text)] = log.loud()
        assert level == "warning"
        assert "raised an exception in its lifespan" in text
        await runner.shutdown(60)

    run(main())


def test_startup_failed_is_not_served(run: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    async def main() -> None:
        log = Log()
        assert not await LifespanRunner(app, "auto", log).startup()
        assert log.loud() == [("error", "ASGI lifespan: the application's startup failed: no database")]

    run(main())


def test_off_never_calls_the_application(run: Any) -> None:
    async def main() -> None:
        runner = LifespanRunner(None, "off", Log())
        assert await runner.startup()
        await runner.shutdown(60)

    run(main())


def test_a_shutdown_that_hangs_is_given_up(run: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.Event().wait()

    async def main() -> None:
        log = Log()
        runner = LifespanRunner(app, "auto", log)
        assert await runner.startup()
        await runner.shutdown(0.01)
        [(level, text)] = log.loud()
        assert (level, "shutdown took over 0.01 seconds" in text) == ("error", True)

    run(main())


def test_a_failed_shutdown_is_logged(run: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "could not flush"})

    async def main() -> None:
        log = Log()
        runner = LifespanRunner(app, "on", log)
        assert await runner.startup()
        await runner.shutdown(60)
        assert log.loud() == [("error", "ASGI lifespan: the application's shutdown failed: could not flush")]

    run(main())
