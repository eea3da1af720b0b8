"""What the benchmarks share: peers installed from PyPI, servers as measured processes, rounds that alternate, tables.

http.py and dirty.py call it. Nothing here knows what is measured.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
APPS = HERE / "apps"
PATIENCE = 60.0  # seconds for a server to answer, or to end

# What we are compared with. Each set goes into one environment; the optional ones need a C compiler and libraries.
PEERS = ("gunicorn[gevent]==27.0.1", "granian", "uvicorn", "uvloop", "httptools")
OPTIONAL_PEERS = ("bjoern",)


# Peers --------------------------------------------------------------------------------------------------------------


class Peers:
    """The environment with the other servers, made once and kept: outside of the repository, never shared with ours.

    :param folder: where; None is a folder in the user's cache, by Python version
    """

    def __init__(self, folder: Path | None = None) -> None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        self.folder = folder or cache / "gunicorn-benchmarks" / f"peers-{version}"
        self.python = str(self.folder / "bin" / "python")

    def install(self) -> None:
        """Install what is missing. Raises subprocess.CalledProcessError for a peer that is not optional."""
        stamp = self.folder / "installed.json"
        if stamp.exists() and json.loads(stamp.read_text()) == [*PEERS, *OPTIONAL_PEERS]:
            return
        say(f"installing {', '.join(PEERS)} into {self.folder}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(self.folder)], check=True)
        pip = [self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *PEERS], check=True)
        for peer in OPTIONAL_PEERS:
            if subprocess.run([*pip, peer], capture_output=True, check=False).returncode:
                say(f"{peer} cannot be built here and is left out (it needs a C compiler; bjoern also libev's headers)")
        stamp.write_text(json.dumps([*PEERS, *OPTIONAL_PEERS]))

    def versions(self) -> dict[str, str]:
        """The installed peers by name."""
        command = [self.python, "-m", "pip", "list", "--format=json", "--disable-pip-version-check"]
        listed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        wanted = {re.split(r"[\[=]", peer)[0] for peer in (*PEERS, *OPTIONAL_PEERS)}
        return {entry["name"]: entry["version"] for entry in listed if entry["name"] in wanted}


def compiled(cache: Path) -> str:
    """The Python of an environment in `cache` where this checkout's server and dirty pool are compiled
    (docs/compiled.md).

    Raises subprocess.CalledProcessError where there is no C compiler.
    """
    folder = cache / f"compiled-{sys.version_info.major}.{sys.version_info.minor}"
    python = str(folder / "bin" / "python")
    say(f"compiling our packages into {folder}")
    if not Path(python).exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "gevent", "uvloop"], check=True)
    packages = [str(ROOT / "packages" / name) for name in ("server", "dirty-protocol", "dirty", "control")]
    again = ["--force-reinstall", "--no-deps", "--no-cache-dir", *packages]
    subprocess.run([*pip, *again], check=True, env={**os.environ, "HATCH_BUILD_HOOK_ENABLE_CUSTOM": "1"})
    return python


# Servers ------------------------------------------------------------------------------------------------------------


@dataclass
class Server:
    """A server under test.

    :ivar name: as the tables show it
    :ivar command: `{port}` stands for the port
    :ivar cores: the cores that it and all its children may use
    """

    name: str
    command: Sequence[str]
    cores: set[int]
    port: int = 0
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _log: Any = field(default=None, repr=False)

    def start(self) -> None:
        """Start it; it does not answer yet."""
        self.port = free_port()
        self._log = tempfile.TemporaryFile("ab+")  # noqa: SIM115 - stop() closes it; appending, so that it can be cut
        environ = {name: value for name, value in os.environ.items() if not name.startswith("GUNICORN_")}
        folder = tempfile.gettempdir()  # not this one: http.py would hide the standard library's http
        with pinned(self.cores):
            self._process = subprocess.Popen(
                [word.format(port=self.port) for word in self.command],
                cwd=folder,
                env={**environ, "PYTHONPATH": str(APPS)},
                stdout=self._log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Wait until it answers. Raises RuntimeError, with its output, when it does not."""
        assert self._process is not None
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.get("/")
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{self.name} does not serve:\n{self.output()}") from None
                time.sleep(0.05)
            else:
                return

    def get(self, path: str, timeout: float = PATIENCE) -> bytes:
        """One answer. Raises OSError."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=timeout) as response:
            body: bytes = response.read()
            return body

    def output(self) -> str:
        self._log.seek(0)
        return str(self._log.read().decode(errors="replace"))

    def forget_output(self) -> None:
        """Empty the file that its output, and with it an access log, goes to."""
        self._log.truncate(0)

    def processes(self) -> dict[int, float]:
        """Its processes, with the CPU seconds that each, and its children that ended, has used in user and kernel."""
        assert self._process is not None
        found = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                except (FileNotFoundError, ProcessLookupError):
                    continue
                if int(fields[3]) == self._process.pid:  # its session
                    found[int(entry)] = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
        return found

    def cpu(self) -> float:
        """CPU seconds that all its processes have used so far."""
        return sum(self.processes().values())

    def arbiter(self) -> Process:
        """The arbiter of its dirty pool: the one child of the master that has children itself.

        :raises RuntimeError: there is none
        """
        assert self._process is not None
        parents = {pid: parent_of(pid) for pid in self.processes()}
        for pid, parent in parents.items():
            if parent == self._process.pid and pid in parents.values():
                return Process(pid)
        raise RuntimeError(f"{self.name} has no dirty arbiter:\n{self.output()}")

    def memory(self) -> tuple[int, int]:
        """Bytes (PSS: shared pages by their share) of the process that works most, the worker, and of all together."""
        used = self.processes()
        sizes = {}
        for pid in used:
            found = re.search(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
            sizes[pid] = int(found[1]) * 1024 if found else 0
        return sizes[max(used, key=lambda pid: used[pid])], sum(sizes.values())

    def stop(self) -> None:
        """End it and all its children."""
        if self._process is None:
            return
        try:
            self._process.terminate()
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            pass
        finally:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self._process.wait()
            self._log.close()
            self._process = None


class Process(NamedTuple):
    """One process of a server."""

    pid: int

    def seconds(self) -> float:
        """The CPU time that its threads have used so far, to the nanosecond."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@contextmanager
def running(*servers: Server) -> Iterator[None]:
    """Both run for as long as they are compared: only one is under load at a time."""
    try:
        for server in servers:
            server.start()
        for server in servers:
            server.wait()
        yield
    finally:
        for server in servers:
            server.stop()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def pinned(cores: set[int]) -> Iterator[None]:
    """What is started in this block may use these cores only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cores() -> tuple[set[int], set[int]]:
    """One core for the server, and the others for the load; the same one when there is no other."""
    available = sorted(os.sched_getaffinity(0))
    return {available[-1]}, set(available[:-1]) or {available[-1]}


# Rounds -------------------------------------------------------------------------------------------------------------


class Sample(NamedTuple):
    """What one round of one server gave.

    :ivar score: of what is measured, the median counts
    :ivar cpu: microseconds of CPU time per request or call
    """

    score: float
    cpu: float


# Reports ------------------------------------------------------------------------------------------------------------


def say(text: str) -> None:
    """Progress, apart from the result on standard output."""
    print(text, file=sys.stderr, flush=True)


def about(peers: Peers, began: float) -> dict[str, Any]:
    """The circumstances of a run that began at this monotonic time."""
    model = platform.processor()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    ours = subprocess.run(
        [sys.executable, "-c", "import gunicorn; print(gunicorn.__version__)"],
        capture_output=True, text=True, check=True, cwd=tempfile.gettempdir(),
    ).stdout.strip()  # fmt: skip
    root = ["git", "-C", str(HERE), "describe", "--always", "--dirty"]
    commit = subprocess.run(root, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="minutes"),
        "minutes": round((time.monotonic() - began) / 60, 1),
        "machine": f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "load": os.getloadavg(),
        "python": platform.python_version(),
        "gunicorn-server": f"{ours} ({commit})" if commit else ours,
        "peers": peers.versions(),
    }
