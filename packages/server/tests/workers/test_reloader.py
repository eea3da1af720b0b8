"""Reloading on changes: what is watched, both engines, and a master whose application is edited."""

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.errors import ConfigError
from gunicorn.workers import reloader
from gunicorn.workers.reloader import Inotify, Poll, Reloader, Watchlist


def touch(path: Path, seconds: int) -> None:
    """Give a file a modification time of its own, whatever the clock's resolution."""
    os.utime(path, (seconds, seconds))


def test_modules_patterns_and_added_files_are_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("page.html", "added.py", "other.txt", "mod.py"):
        (tmp_path / name).touch()
        touch(tmp_path / name, 1000)
    monkeypatch.setitem(sys.modules, "reloader_case", SimpleNamespace(__file__=str(tmp_path / "mod.pyc")))
    watchlist = Watchlist([str(tmp_path / "*.html")])
    watchlist.add(str(tmp_path / "added.py"))
    files = watchlist.refresh()
    assert {str(tmp_path / name) for name in ("page.html", "added.py", "mod.py")} <= files
    assert str(tmp_path / "other.txt") not in files
    assert watchlist.changed() is None
    for name in ("page.html", "added.py", "mod.py"):
        touch(tmp_path / name, 2000)
        assert watchlist.changed() == str(tmp_path / name)
        touch(tmp_path / name, 1000)
    (tmp_path / "page.html").unlink()
    assert watchlist.changed() is None


def test_a_file_is_remembered_from_when_it_is_first_seen(tmp_path: Path) -> None:
    watchlist = Watchlist([str(tmp_path / "*")])
    watchlist.refresh()
    (tmp_path / "late").touch()
    watchlist.refresh()
    assert watchlist.changed() is None
    touch(tmp_path / "late", 3000)
    assert watchlist.changed() == str(tmp_path / "late")


def test_the_files_of_an_error_that_keeps_a_module_from_being_imported(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    for text in ("x = (", "import nothing_like_this", "1 / 0"):
        path.write_text(text)
        with pytest.raises(Exception) as caught:  # noqa: PT011
            exec(compile(path.read_text(), str(path), "exec"), {})
        assert str(path) in list(reloader.files_of(caught.value))
        wrapped = RuntimeError()
        wrapped.__cause__ = caught.value
        assert str(path) in list(reloader.files_of(wrapped))


@pytest.mark.parametrize("make", [Poll, Inotify])
def test_a_change_is_reported_once(
    tmp_path: Path, make: Callable[[], Any], eventually: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reloader, "INTERVAL", 0.02)
    path = tmp_path / "file"
    path.touch()
    touch(path, 1000)
    changes: list[str] = []
    thread = Reloader(Watchlist([str(path)]), make(), changes.append)
    thread.start()
    touch(path, 2000)
    thread.join(20)
    assert not thread.is_alive()
    assert changes == [str(path)]


def test_inotify_does_not_wait_for_its_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reloader, "INTERVAL", 600.0)
    engine = Inotify()
    path = str(tmp_path / "file")
    results: list[bool] = []
    ready = threading.Event()

    def wait() -> None:
        ready.set()
        results.append(engine.wait([path]))

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    ready.wait()
    while not results:
        (tmp_path / "file").write_text("x")
        thread.join(0.01)
    assert results == [True]
    monkeypatch.setattr(reloader, "INTERVAL", 0.0)
    while engine.wait([path]):
        pass  # what the writing above has left
    os.close(engine._fd)


def test_the_engine_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(reloader.engine("poll"), Poll)
    auto = reloader.engine("auto")
    assert isinstance(auto, Inotify)
    os.close(auto._fd)

    def fail(self: Any) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(Inotify, "__init__", fail)
    assert isinstance(reloader.engine("auto"), Poll)
    with pytest.raises(ConfigError, match=r"'inotify' does not work here: .*Too many open files; use poll"):
        reloader.engine("inotify")


def test_the_application_that_stands_in_speaks_both_protocols() -> None:
    app = reloader.failing_app("why: é")
    seen: list[Any] = []
    assert app({}, lambda *args: seen.append(args)) == ["why: é".encode()]
    assert seen[0][0] == "500 Internal Server Error"
    assert ("Content-Length", "7") in seen[0][1]
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app({"type": "http"}, None, send))
    assert sent[0]["status"] == 500
    assert sent[1]["body"] == "why: é".encode()
    asyncio.run(app({"type": "lifespan"}, None, send))
    assert len(sent) == 2


@pytest.mark.parametrize("engine", ["inotify", "poll"])
def test_a_worker_serves_its_new_code(
    serve: Callable[..., Any], short_path: Path, eventually: Callable[..., Any], engine: str
) -> None:
    module = short_path / "edited.py"
    module.write_text("def app(environ, start_response): return [b'one']\n")
    touch(module, 1000)
    server = serve("--reload", "--reload-engine", engine, app="edited:app", PYTHONDONTWRITEBYTECODE="1")
    assert server.get() == "one"
    module.write_text("def app(environ, start_response): return [b'two'\n")  # a mistake
    touch(module, 2000)
    eventually(lambda: "SyntaxError" in (server.try_get() or ""), "the error as an answer")
    module.write_text("def app(environ, start_response): return [b'two']\n")
    touch(module, 3000)
    eventually(lambda: server.try_get() == "two", "the new answer")
    assert "Worker reloading:" in server.output
    assert "Shutting down" not in server.output
