"""Fixtures of the server's tests: real masters in directories of their own, of which nothing is left at the end."""

import http.client
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SUPPORT = Path(__file__).parent / "support"
PATIENCE = 20.0


def eventually(condition: Callable[[], Any], what: str = "condition", patience: float = PATIENCE) -> Any:
    """Poll ``condition`` until it is true, and return its value."""
    deadline = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"{what} did not happen within {patience} seconds")
        time.sleep(0.005)


def alive(pid: int) -> bool:
    """Whether a process lives; a zombie does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter when it ends between opening and reading
        return False


class Server:
    """A master in a process of its own, with its output in a file."""

    def __init__(self, directory: Path, args: list[str], env: dict[str, str]) -> None:
        self.directory = directory
        self.log_path = directory / "output.log"
        with open(self.log_path, "ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(SUPPORT / "launch.py"), "--pythonpath", str(SUPPORT), *args],
                cwd=directory,
                env={**os.environ, "PYTHONPATH": str(SUPPORT), **env},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self.process.pid

    @property
    def output(self) -> str:
        return self.log_path.read_text()

    def wait_for(self, pattern: str, count: int = 1) -> list[Any]:
        """Wait until the output has ``count`` matches of ``pattern``, and return all."""

        def found() -> list[Any] | None:
            matches = re.findall(pattern, self.output)
            return matches if len(matches) >= count else None

        try:
            return list(eventually(found, f"{count} x {pattern!r} in the output"))
        except AssertionError as exc:
            raise AssertionError(f"{exc}:\n{self.output}") from None

    @property
    def port(self) -> int:
        return int(self.wait_for(r"Listening at: http://127\.0\.0\.1:(\d+)")[-1])

    def get(self, path: str = "/", address: str | None = None) -> str:
        """The body of an answer."""
        if address is None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        else:
            connection = http.client.HTTPConnection("localhost", timeout=PATIENCE)
            connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.sock.connect(address)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def try_get(self, path: str = "/") -> str | None:
        """The same, or None while nobody answers."""
        try:
            return self.get(path)
        except (OSError, http.client.HTTPException):
            return None

    def send(self, signum: signal.Signals) -> None:
        os.kill(self.pid, signum)

    def children(self) -> list[int]:
        """The living children of the master."""
        with open(f"/proc/{self.pid}/task/{self.pid}/children") as file:
            return [pid for pid in map(int, file.read().split()) if alive(pid)]

    def wait_for_children(self, count: int, without: set[int] | None = None) -> set[int]:
        """Wait until the master has ``count`` children, none of ``without``; returns their pids."""

        def complete() -> set[int] | None:
            pids = set(self.children())
            return pids if len(pids) == count and not pids & (without or set()) else None

        return set(eventually(complete, f"{count} children"))

    def wait(self) -> int:
        """Wait for the end of the master; returns its exit status."""
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the master does not end:\n{self.output}") from None

    def group(self) -> list[int]:
        """All living processes of the master's session."""
        result = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    with open(f"/proc/{entry}/stat") as file:
                        fields = file.read().rpartition(")")[2].split()
                except (FileNotFoundError, ProcessLookupError):
                    continue
                if int(fields[3]) == self.pid and fields[0] != "Z":
                    result.append(int(entry))
        return result

    def kill(self) -> None:
        """End whatever is left of the session."""
        for pid in self.group():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()
        eventually(lambda: not self.group(), "end of the session")


class TLSFiles:
    """Paths of PEM files: an authority of our own, certificates of a server and a client by it, and what is wrong."""

    def __init__(self, directory: Path) -> None:
        import trustme
        from cryptography.hazmat.primitives import serialization

        authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        server = authority.issue_cert("localhost", "127.0.0.1", "::1", key_type=trustme.KeyType.ECDSA)
        other = authority.issue_cert("other.test", key_type=trustme.KeyType.ECDSA)
        client = authority.issue_cert("client@example.test", common_name="client", key_type=trustme.KeyType.ECDSA)

        def write(name: str, *contents: bytes) -> str:
            path = directory / f"{name}.pem"
            path.write_bytes(b"".join(contents))
            return str(path)

        def both(name: str, cert: trustme.LeafCert) -> str:
            return write(name, cert.private_key_pem.bytes(), *(blob.bytes() for blob in cert.cert_chain_pems))

        self.ca = write("ca", authority.cert_pem.bytes())
        self.cert = write("cert", *(blob.bytes() for blob in server.cert_chain_pems))
        self.key = write("key", server.private_key_pem.bytes())
        self.combined = both("combined", server)  # for localhost, 127.0.0.1 and ::1
        self.other = both("other", other)  # for other.test
        self.other_key = write("other_key", other.private_key_pem.bytes())
        self.client = both("client", client)
        key = serialization.load_pem_private_key(server.private_key_pem.bytes(), None)
        self.encrypted_key = write(
            "encrypted_key",
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"secret"),
            ),
        )

    def context(self, client_certificate: bool = False) -> ssl.SSLContext:
        """A client's context that trusts the authority."""
        context = ssl.create_default_context(cafile=self.ca)
        if client_certificate:
            context.load_cert_chain(self.client)
        return context


@pytest.fixture(scope="session")
def tls_files(tmp_path_factory: pytest.TempPathFactory) -> TLSFiles:
    """Certificates for TLS, made once."""
    return TLSFiles(tmp_path_factory.mktemp("tls"))


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[..., Any]:
    return eventually


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory with a short name, for unix sockets."""
    directory = tempfile.mkdtemp(prefix="g-")
    yield Path(directory)
    shutil.rmtree(directory)


@pytest.fixture
def serve(short_path: Path) -> Iterator[Callable[..., Server]]:
    """Start a master with a probe worker (support/probe.py) on an ephemeral port; further arguments are flags."""
    servers: list[Server] = []

    def start(*args: str, app: str = "probe:app", bind: str | None = "127.0.0.1:0", **env: str) -> Server:
        common = ["-k", "probe.ProbeWorker", *([] if bind is None else ["-b", bind])]
        server = Server(short_path, [*common, *args, *([app] if app else [])], env)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.kill()
