"""wsgi.file_wrapper: what the kernel sends, what is iterated over, and what of a file is sent."""

import gzip
import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gunicorn.drivers import patience, sendfile
from gunicorn.drivers.sendfile import FileRange, SendableFile, regular_file
from small_apps import GET

Serve = Callable[..., Any]
Eventually = Callable[..., Any]
StartResponse = Callable[..., Any]

BODY = bytes(range(256)) * 8192  # 2 MiB


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "file"
    file.write_bytes(BODY)
    return file


@pytest.fixture(params=[0, 2], ids=["sync", "gthread"])
def serve(request: pytest.FixtureRequest, serve_wsgi: Serve) -> Serve:
    def start(app: Any, **options: Any) -> Any:
        return serve_wsgi(app, threads=request.param, **options)

    return start


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what the kernel has sent."""
    sizes: list[int] = []
    real = os.sendfile

    def spy(*args: Any) -> int:
        sizes.append(real(*args))
        return sizes[-1]

    monkeypatch.setattr(os, "sendfile", spy)
    return sizes


class Files:
    """An application that answers with what *opener* opens, and the headers given."""

    def __init__(self, opener: Callable[[], Any], *headers: tuple[str, str], status: str = "200 OK") -> None:
        self.opener = opener
        self.headers = list(headers)
        self.status = status
        self.opened: list[Any] = []

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Any:
        start_response(self.status, self.headers)
        self.opened.append(self.opener())
        return environ["wsgi.file_wrapper"](self.opened[-1], 4096)


def test_a_file_is_sent_by_the_kernel_and_closed(
    serve: Serve, path: Path, sent: list[int], eventually: Eventually
) -> None:
    app = Files(lambda: open(path, "rb"))  # noqa: SIM115
    site = serve(app, observed=True)
    peer = site.connect()
    for _ in range(2):
        status, fields, body = peer.get()
        assert (status, fields["content-length"], body) == (200, str(len(BODY)), BODY)
    eventually(lambda: sum(sent) == 2 * len(BODY), "that the kernel has sent it")
    eventually(lambda: len(site.log.accesses) == 2, "two lines of the access log")
    assert all(file.closed for file in app.opened)
    assert [access[0].sent for access in site.log.accesses] == [len(BODY)] * 2


def test_from_the_position_on(serve: Serve, path: Path, sent: list[int], eventually: Eventually) -> None:
    def at_ten() -> Any:
        file = open(path, "rb")  # noqa: SIM115
        file.read(10)  # the descriptor's own position is further on
        return file

    assert serve(Files(at_ten)).connect().get()[2] == BODY[10:]
    eventually(lambda: sum(sent) == len(BODY) - 10, "that the kernel has sent it")


def test_a_smaller_content_length_is_the_end(serve: Serve, path: Path, sent: list[int], eventually: Eventually) -> None:
    peer = serve(Files(lambda: open(path, "rb"), ("Content-Length", "5"))).connect()  # noqa: SIM115
    for _ in range(2):
        assert peer.get()[2] == BODY[:5]
    eventually(lambda: sent == [5, 5], "that the kernel has sent it")


def test_a_greater_content_length_is_a_mistake(serve: Serve, path: Path) -> None:
    site = serve(Files(lambda: open(path, "rb"), ("Content-Length", str(len(BODY) + 1))))  # noqa: SIM115
    peer = site.connect()
    peer.send(GET)
    assert peer.rest().endswith(BODY)
    assert "shorter than its Content-Length by 1 bytes" in site.log.messages(40)[0]


def test_head_and_304_send_nothing_of_it(serve: Serve, path: Path, sent: list[int], eventually: Eventually) -> None:
    peer = serve(Files(lambda: open(path, "rb"))).connect()  # noqa: SIM115
    peer.send(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n" + GET)
    assert peer.answer(bodiless=True)[1]["content-length"] == str(len(BODY))
    assert peer.answer()[2] == BODY
    peer = serve(Files(lambda: open(path, "rb"), status="304 Not Modified")).connect()  # noqa: SIM115
    peer.send(GET * 2)
    assert [peer.answer(bodiless=True)[0] for _ in range(2)] == [304, 304]
    eventually(lambda: sum(sent) == len(BODY), "that the kernel has sent it once")


def test_http_1_0_and_pipelines(serve: Serve, path: Path) -> None:
    app = Files(lambda: open(path, "rb"))  # noqa: SIM115
    site = serve(app)
    peer = site.connect(receive_buffer=32768)
    peer.send(GET * 3 + b"GET / HTTP/1.0\r\n\r\n")
    assert [peer.answer()[2] for _ in range(3)] == [BODY] * 3
    assert peer.rest().endswith(BODY)


def test_an_empty_file(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    peer = serve(Files(lambda: open(tmp_path / "empty", "rb"))).connect()  # noqa: SIM115
    for _ in range(2):
        assert peer.get()[1]["content-length"] == "0"


def test_slow_readers_of_files_hold_nobody_up(serve: Serve, path: Path) -> None:
    def app(environ: dict[str, Any], start_response: StartResponse) -> Any:
        start_response("200 OK", [])
        return [b"hello"] if environ["PATH_INFO"] == "/" else environ["wsgi.file_wrapper"](open(path, "rb"))

    site = serve(app)
    readers = [site.connect(receive_buffer=32768) for _ in range(4)]
    for reader in readers:
        reader.send(b"GET /file HTTP/1.1\r\nHost: h\r\n\r\n")
    other = site.connect()
    for _ in range(5):
        assert other.get()[2] == b"hello"
    for reader in readers:
        assert reader.answer()[2] == BODY


def test_who_takes_nothing_or_leaves_is_given_up(
    serve: Serve, path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "WRITE_TIMEOUT", 0.2)
    before = len(os.listdir("/proc/self/fd"))
    site = serve(Files(lambda: open(path, "rb")))  # noqa: SIM115
    idle = len(os.listdir("/proc/self/fd"))
    assert idle > before
    stuck, leaving = site.connect(receive_buffer=32768), site.connect(receive_buffer=32768)
    stuck.send(GET)
    leaving.send(GET)
    eventually(lambda: site.worker.scoreboard.requests == 2, "both requests")
    leaving.reset()
    eventually(lambda: site.connections == 0, "their end")
    stuck.sock.close()
    assert len(os.listdir("/proc/self/fd")) == idle


def test_a_file_that_becomes_shorter(serve: Serve, tmp_path: Path, eventually: Eventually) -> None:
    path = tmp_path / "big"
    path.write_bytes(b"x" * 20_000_000)
    site = serve(Files(lambda: open(path, "rb")))  # noqa: SIM115
    peer = site.connect(receive_buffer=32768)
    peer.send(GET)
    eventually(lambda: site.worker.scoreboard.requests == 1, "the request")
    os.truncate(path, 1000)
    assert len(peer.rest()) < 20_000_000
    eventually(lambda: site.log.messages(40), "the error")
    assert site.log.messages(40) == ["A file became shorter while it was sent to ip=127.0.0.1"]


@pytest.mark.parametrize("off", [False, True])
def test_it_can_be_switched_off(serve: Serve, path: Path, sent: list[int], off: bool) -> None:
    settings = {"sendfile": False} if off else {}
    site = serve(Files(lambda: open(path, "rb")), **settings)  # noqa: SIM115
    peer = site.connect()
    for _ in range(2):
        assert peer.get()[2] == BODY
    assert (sent == []) == off


def test_what_is_no_file_is_iterated_over(serve: Serve, path: Path, sent: list[int]) -> None:
    with gzip.open(path, "wb") as file:
        file.write(BODY)
    for opener in (lambda: io.BytesIO(BODY), lambda: gzip.open(path)):  # noqa: SIM115
        assert serve(Files(opener)).connect().get()[2] == BODY
    assert sent == []


def test_after_write_the_file_is_iterated_over(serve: Serve, path: Path, sent: list[int]) -> None:
    def app(environ: dict[str, Any], start_response: StartResponse) -> Any:
        start_response("200 OK", [])(b"first")
        return environ["wsgi.file_wrapper"](open(path, "rb"))

    assert serve(app).connect().get()[2] == b"first" + BODY
    assert sent == []


# ---------------------------------------------------------------- which files


def test_regular_files(path: Path) -> None:
    with open(path, "rb") as file:
        assert regular_file(file) == (file.fileno(), 0, len(BODY))
        file.seek(-3, os.SEEK_END)
        assert regular_file(file) == (file.fileno(), len(BODY) - 3, 3)
        file.seek(10, os.SEEK_END)
        assert regular_file(file) == (file.fileno(), len(BODY) + 10, 0)
    assert regular_file(file) is None
    with open(path, "rb", buffering=0) as raw:
        assert regular_file(raw) == (raw.fileno(), 0, len(BODY))
    with tempfile.NamedTemporaryFile() as temporary:
        temporary.write(b"unflushed")
        assert regular_file(temporary) == (temporary.fileno(), 9, 0)
        temporary.seek(0)
        assert regular_file(temporary) == (temporary.fileno(), 0, 9)


def test_what_is_not(path: Path) -> None:
    class Rot13(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(size).swapcase()

    with gzip.open(path, "wb") as file:
        file.write(b"x")
    read_end, write_end = os.pipe()
    with open(read_end, "rb") as pipe, open(write_end, "wb"), open(path) as text, gzip.open(path) as zipped:
        rot13 = Rot13(path)
        for filelike in (pipe, text, zipped, io.BufferedReader(rot13), Rot13(path), io.BytesIO(b"x"), object()):
            assert regular_file(filelike) is None
            if isinstance(filelike, Rot13 | io.BufferedReader):
                filelike.close()


def test_a_range_has_a_descriptor_of_its_own(path: Path) -> None:
    with open(path, "rb") as file:
        part = FileRange(file.fileno(), 1, 2)
    with open(path.parent / "out", "wb") as out:
        assert part.send(out.fileno()) == 2
        assert (part.offset, part.left) == (3, 0)
    part.close()
    part.close()
    assert (path.parent / "out").read_bytes() == BODY[1:3]


def test_the_wrapper_is_an_iterable(path: Path) -> None:
    with open(path, "rb") as file:
        wrapped = SendableFile(None, file, 1 << 20)  # type: ignore[arg-type]
        assert list(wrapped) == [BODY[: 1 << 20], BODY[1 << 20 :]]
        wrapped.close()
        assert file.closed
    assert sendfile.AVAILABLE
