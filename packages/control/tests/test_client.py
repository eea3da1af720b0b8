"""The blocking client against the real endpoint in this process (the client in a thread), and against impostors."""

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from gunicorn.control.client import ControlClient
from gunicorn.control.errors import (
    BadReplyError,
    ClientTimeoutError,
    CommandFailedError,
    ConnectionDeniedError,
    NothingListensError,
    PathTooLongError,
)
from gunicorn.control.framing import encode_frame
from gunicorn.control.service import ControlService


@pytest.fixture
def path(directory: str) -> str:
    return f"{directory}/c.ctl"


@pytest.fixture
def client(path: str) -> Iterator[ControlClient]:
    with ControlClient(path, timeout=10) as client:
        yield client


@pytest.fixture
def service(host: Any) -> Iterator[ControlService]:
    service = ControlService()
    service.start(host)
    yield service
    service.close()


@pytest.fixture
def call(host: Any, client: ControlClient) -> Iterator[Callable[..., Any]]:
    """Runs client.call in a thread while this one turns the host's loop."""
    with ThreadPoolExecutor(1) as executor:

        def run(*words: Any) -> Any:
            future = executor.submit(client.call, *words)
            host.run(future.done)
            return future.result()

        yield run


@pytest.fixture
def impostor(path: str) -> Iterator[Callable[[bytes], None]]:
    """Something that listens at the path and answers with given bytes, after reading some, and hangs up."""
    threads: list[threading.Thread] = []

    def serve(answer: bytes) -> None:
        listener = socket.socket(socket.AF_UNIX)
        listener.settimeout(10)
        listener.bind(path)
        listener.listen()

        def run() -> None:
            with listener:
                sock, _ = listener.accept()
                with sock:
                    sock.recv(65536)
                    sock.sendall(answer)

        threads.append(threading.Thread(target=run))
        threads[-1].start()

    yield serve
    for thread in threads:
        thread.join()


def test_calls(host: Any, service: ControlService, call: Any) -> None:
    assert call("show stats") == host.introspection.stats()
    assert call("worker", "add", 2) == {"added": 2, "previous": 3, "total": 5}
    assert service.snapshot()["connections"] == 1  # one connection for all


def test_the_servers_error(service: ControlService, call: Any) -> None:
    with pytest.raises(CommandFailedError, match="did you mean 'reload'"):
        call("relaod")
    assert call("help")  # the connection is made again


def test_a_request_over_the_servers_limit_brings_its_reason(service: ControlService, call: Any) -> None:
    with pytest.raises(CommandFailedError, match="exceeds the limit of 65536 bytes"):
        call("show", "x" * (2 << 20))


def test_it_connects_again_when_the_server_has_closed_an_idle_connection(
    host: Any, service: ControlService, call: Any
) -> None:
    assert call("help")
    service.close()
    again = ControlService()
    again.start(host)
    assert call("help")
    again.close()


def test_nothing_listens(path: str, client: ControlClient) -> None:
    with pytest.raises(NothingListensError, match=r"nothing listens at .*: there is no such socket"):
        client.call("help")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
    with pytest.raises(NothingListensError, match=r"nothing listens at .*: its server is gone"):
        client.call("help")


@pytest.mark.skipif(os.geteuid() != 0, reason="takes another user's part")
def test_no_permission(service: ControlService, client: ControlClient, directory: str) -> None:
    os.chmod(directory, 0o755)
    os.seteuid(65534)
    try:
        with pytest.raises(ConnectionDeniedError, match="no permission to connect"):
            client.call("help")
    finally:
        os.seteuid(0)


def test_a_path_too_long() -> None:
    with pytest.raises(PathTooLongError):
        ControlClient("/tmp/" + "x" * 120).call("help")


def test_silence(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with (
            ControlClient(path, timeout=0.05) as client,
            pytest.raises(ClientTimeoutError, match=r"has not answered within 0\.05 seconds"),
        ):
            client.call("help")


def test_a_full_backlog_is_waited_for(path: str, service: ControlService, host: Any, call: Any) -> None:
    waiting = []
    try:
        while True:
            sock = socket.socket(socket.AF_UNIX)
            waiting.append(sock)
            sock.setblocking(False)
            try:
                sock.connect(path)
            except BlockingIOError:
                break
        with ControlClient(path, timeout=0.05) as client, pytest.raises(ClientTimeoutError):
            client.call("help")
        assert call("show stats") == host.introspection.stats()
    finally:
        for sock in waiting:
            sock.close()


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "closed the connection without an answer"),
        (b"\x00\x00\x00\x09{", "closed the connection without an answer"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak the control protocol: a message of 1213486160 bytes"),
        (struct.pack(">I", 2) + b"{]", "does not speak the control protocol: the message is not JSON"),
        (encode_frame([]), "does not speak the control protocol: a reply is a JSON object"),
        (encode_frame({"id": 999, "status": "ok", "data": {}}), "the reply is to request 999, asked was 1"),
    ],
)
def test_bad_replies(client: ControlClient, impostor: Callable[[bytes], None], answer: bytes, text: str) -> None:
    impostor(answer)
    with pytest.raises(BadReplyError) as caught:
        client.call("help")
    assert text in str(caught.value)


@pytest.mark.parametrize("timeout", [0, -1])
def test_a_timeout_is_positive(timeout: float) -> None:
    with pytest.raises(ValueError, match="positive number of seconds or None"):
        ControlClient("/x", timeout)
