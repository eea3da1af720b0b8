"""The master with real processes: signals, replacement, reload, drain, and what it leaves behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Serve = Callable[..., Any]
Eventually = Callable[..., Any]


def test_importing_the_master_loads_no_event_loop_no_pool_and_no_service() -> None:
    code = "import sys, gunicorn.arbiter, gunicorn.app.wsgiapp; print(*sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "gunicorn.arbiter" in output
    for name in ("asyncio", "concurrent.futures", "ssl", "gunicorn.dirty", "gunicorn.control", "importlib.metadata"):
        assert name not in output


def test_serves_from_workers_that_are_children_of_the_master(serve: Serve) -> None:
    server = serve("-w", "2")
    pids = server.wait_for_children(2)
    assert int(server.get()) in pids


def test_term_drains_and_exits_with_0(serve: Serve, eventually: Eventually, short_path: Path) -> None:
    server = serve()
    port = server.port
    client = subprocess.Popen(
        [sys.executable, "-c", f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{port}/slow').read())"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        eventually((short_path / "slow-started").exists, "start of the request")
        worker = server.children()[0]
        server.send(signal.SIGTERM)
        server.wait_for("Handling signal: term")
        (short_path / "slow-release").touch()
        assert str(worker) in client.communicate(timeout=20)[0]
    finally:
        client.kill()
        client.communicate()
    assert server.wait() == 0
    assert server.group() == []
    assert "Shutting down: Master" in server.output


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGQUIT])
def test_int_and_quit_do_not_wait_for_requests(
    serve: Serve, eventually: Eventually, short_path: Path, signum: signal.Signals
) -> None:
    server = serve("--graceful-timeout", "60")
    client = subprocess.Popen(
        [sys.executable, "-c", f"import urllib.request as u; u.urlopen('http://127.0.0.1:{server.port}/slow')"],
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually((short_path / "slow-started").exists, "start of the request")
        server.send(signum)
        assert server.wait() == 0
        assert server.group() == []
    finally:
        client.kill()
        client.wait()


def test_int_hurries_a_master_that_drains(serve: Serve, eventually: Eventually, short_path: Path) -> None:
    server = serve("--graceful-timeout", "600")
    client = subprocess.Popen(
        [sys.executable, "-c", f"import urllib.request as u; u.urlopen('http://127.0.0.1:{server.port}/slow')"],
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually((short_path / "slow-started").exists, "start of the request")
        server.send(signal.SIGTERM)
        server.wait_for("Handling signal: term")
        server.send(signal.SIGINT)
        assert server.wait() == 0
    finally:
        client.kill()
        client.wait()


def test_a_worker_that_does_not_stop_is_killed_after_the_graceful_timeout(serve: Serve, eventually: Eventually) -> None:
    server = serve("--graceful-timeout", "0", "--timeout", "0")
    client = subprocess.Popen(
        [sys.executable, "-c", f"import urllib.request as u; u.urlopen('http://127.0.0.1:{server.port}/hang-hard')"],
        stderr=subprocess.DEVNULL,
    )
    try:
        worker = server.wait_for_children(1).pop()
        eventually(lambda: _blocks(worker, signal.SIGABRT), "deafness of the worker")
        server.send(signal.SIGTERM)
        assert server.wait() == 0
        assert f"Worker (pid:{worker}) does not end; it is killed" in server.output
        assert server.group() == []
    finally:
        client.kill()
        client.wait()


def _blocks(pid: int, signum: int) -> bool:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigBlk:"):
            return bool(int(line.split()[1], 16) >> (signum - 1) & 1)
    return False


def test_a_killed_worker_is_replaced_in_the_same_slot(serve: Serve, eventually: Eventually) -> None:
    server = serve("-w", "2")
    pids = server.wait_for_children(2)
    os.kill(max(pids), signal.SIGKILL)
    replaced = server.wait_for_children(2, {max(pids)})
    assert min(pids) in replaced
    server.wait_for(rf"Worker \(pid:{max(pids)}\) was killed by SIGKILL")
    seen = set()

    def both_slots() -> bool:
        seen.add(server.try_get("/slot"))
        return seen >= {"0", "1"}

    eventually(both_slots, "answers from both slots")
    assert seen <= {"0", "1"}


def test_a_worker_that_hangs_is_aborted_and_replaced(serve: Serve) -> None:
    server = serve("--timeout", "1")
    worker = server.wait_for_children(1)
    with pytest.raises(OSError):  # noqa: PT011 - reset or closed without an answer
        server.get("/hang")
    server.wait_for(rf"WORKER TIMEOUT \(pid:{worker.copy().pop()}\)")
    server.wait_for(r"The worker was aborted here(?s:.*?)probe.py\", line \d+, in app\n +time.sleep\(0.01\)")
    assert "in manage_workers" not in server.output
    server.wait_for_children(1, worker)
    assert int(server.get()) not in worker


def test_a_worker_that_hangs_deaf_to_abort_is_killed(serve: Serve) -> None:
    server = serve("--timeout", "1")
    worker = server.wait_for_children(1)
    with pytest.raises(OSError):  # noqa: PT011
        server.get("/hang-hard")
    server.wait_for("does not end; it is killed")
    server.wait_for_children(1, worker)


def test_workers_end_when_the_master_is_killed(serve: Serve, eventually: Eventually) -> None:
    server = serve("-w", "3")
    server.wait_for_children(3)
    assert server.get()
    server.send(signal.SIGKILL)
    server.process.wait()
    eventually(lambda: not server.group(), "end of the workers", patience=10)


def test_ttin_and_ttou_scale(serve: Serve) -> None:
    server = serve()
    server.wait_for_children(1)
    server.send(signal.SIGTTIN)
    server.wait_for_children(2)
    server.send(signal.SIGTTOU)
    pids = server.wait_for_children(1)
    server.send(signal.SIGTTOU)  # never below one
    server.wait_for("Handling signal: ttou", count=2)
    assert int(server.get()) in pids


def test_hup_replaces_workers_and_reads_the_configuration_again(serve: Serve, short_path: Path) -> None:
    config = short_path / "gunicorn.conf.py"
    config.write_text("workers = 1\nraw_env = ['COLOUR=red']\n")
    server = serve()
    first = server.wait_for_children(1)
    assert server.get("/env/COLOUR") == "red"
    config.write_text("workers = 2\nraw_env = ['SHAPE=round']\n")
    server.send(signal.SIGHUP)
    server.wait_for_children(2, first)
    assert server.get("/env/COLOUR") == ""
    assert server.get("/env/SHAPE") == "round"


def test_hup_keeps_answering_throughout(serve: Serve, short_path: Path) -> None:
    server = serve("-w", "2")
    first = server.wait_for_children(2)
    port = server.port
    server.send(signal.SIGHUP)
    while set(server.children()) & first or len(server.children()) != 2:
        assert int(server.get())
    assert server.port == port


def test_hup_with_a_broken_configuration_changes_nothing(serve: Serve, short_path: Path) -> None:
    config = short_path / "gunicorn.conf.py"
    config.write_text("raw_env = ['COLOUR=red']\n")
    server = serve()
    first = server.wait_for_children(1)
    config.write_text("raw_env = ['COLOUR=blue']\nworkers = 'many'\n")
    server.send(signal.SIGHUP)
    server.wait_for("Reload failed, the old configuration stays in use: .*workers.*'many'")
    config.write_text("raw_env = ['COLOUR=blue']\nlogconfig = 'missing.ini'\n")
    server.send(signal.SIGHUP)
    server.wait_for("Reload failed, .*'missing.ini' does not exist")
    assert set(server.children()) == first
    assert server.get("/env/COLOUR") == "red"


def test_hup_with_an_application_that_no_longer_loads_leaves_the_old_workers_serving(
    serve: Serve, short_path: Path
) -> None:
    module = short_path / "changing.py"
    module.write_text("from probe import app\n")
    server = serve(app="changing:app")
    first = server.wait_for_children(1).pop()
    assert int(server.get()) == first
    module.write_text("raise LookupError('broken')\n")
    server.send(signal.SIGHUP)
    server.wait_for("Worker failed to boot. The other workers go on serving")
    assert int(server.get()) == first
    module.write_text("from probe import app\n")
    server.send(signal.SIGHUP)
    server.wait_for_children(1, {first})


def test_hup_moves_to_new_addresses(serve: Serve, eventually: Eventually, short_path: Path) -> None:
    config = short_path / "gunicorn.conf.py"
    old, new = str(short_path / "old.sock"), str(short_path / "new.sock")
    config.write_text(f"bind = ['unix:{old}']\n")
    server = serve(bind=None)
    server.wait_for("Booting worker")
    assert server.get(address=old)
    config.write_text(f"bind = ['unix:{new}']\n")
    server.send(signal.SIGHUP)
    server.wait_for(f"Listening at: unix:{new}")
    assert server.get(address=new)
    assert not os.path.exists(old)
    server.send(signal.SIGTERM)
    assert server.wait() == 0
    assert not os.path.exists(new)


def test_hup_tries_an_address_that_was_in_use_again(serve: Serve, short_path: Path) -> None:
    config = short_path / "gunicorn.conf.py"
    new = str(short_path / "new.sock")
    config.write_text("bind = ['127.0.0.1:0']\n")
    server = serve(bind=None)
    assert server.get()
    (short_path / "new.sock").mkdir()
    config.write_text(f"bind = ['unix:{new}']\n")
    server.send(signal.SIGHUP)
    server.wait_for("The old listening sockets stay in use: ")
    (short_path / "new.sock").rmdir()
    server.send(signal.SIGHUP)
    server.wait_for(f"Listening at: unix:{new}")
    assert server.get(address=new)


def test_usr1_opens_the_logs_again_in_master_and_workers(
    serve: Serve, eventually: Eventually, short_path: Path
) -> None:
    log = short_path / "error.log"
    server = serve("--error-logfile", str(log), "--pid", "pid")
    eventually(lambda: log.exists() and "Booting worker" in log.read_text(), "boot")
    eventually(server.children, "worker")
    eventually(lambda: _catches(server.children()[0], signal.SIGUSR1), "handlers of the worker")
    log.rename(short_path / "rotated.log")
    server.send(signal.SIGUSR1)
    eventually(log.exists, "a new log file")
    server.send(signal.SIGTERM)
    assert server.wait() == 0
    text = log.read_text()
    assert "Worker exiting" in text
    assert "Shutting down: Master" in text


def _catches(pid: int, signum: int) -> bool:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (signum - 1) & 1)
    return False


def test_an_application_that_does_not_load_ends_the_master_with_4(serve: Serve) -> None:
    server = serve(app="nothing_here:app")
    assert server.wait() == 4
    assert "there is no module 'nothing_here'" in server.output
    assert "App failed to load." in server.output


def test_a_worker_that_does_not_boot_ends_the_master_with_3(serve: Serve, short_path: Path) -> None:
    (short_path / "broken.py").write_text("raise LookupError('deep inside')\n")
    server = serve("-w", "2", app="broken:app")
    assert server.wait() == 3
    assert "deep inside" in server.output
    assert "Worker failed to boot." in server.output
    assert server.group() == []


def test_workers_that_die_young_are_replaced_more_and_more_slowly(serve: Serve) -> None:
    server = serve(app="probe:quits")
    for _ in range(4):
        server.try_get()
    server.wait_for(r"Worker \(pid:\d+\) exited with code 7", count=4)
    server.wait_for("Workers die young; the next one is started in 0.5 seconds")


def test_max_requests_replaces_a_worker_without_an_error(serve: Serve) -> None:
    server = serve("--max-requests", "2")
    pids = [int(server.get()) for _ in range(6)]
    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4] == pids[5]
    assert "ERROR" not in server.output


def test_an_address_in_use_ends_the_master_with_1(serve: Serve) -> None:
    first = serve()
    second = serve(bind=f"127.0.0.1:{first.port}")
    second.wait_for("Connection in use")
    assert second.wait() == 1
    assert "the address is in use" in second.output


def test_settings_that_disappoint_are_warned_about(serve: Serve, short_path: Path) -> None:
    (short_path / "c.py").write_text("tmp_upload_dir = '/nowhere'\n")
    server = serve("-w", "0", "--log-level", "loud", "-c", "c.py")
    server.wait_for("workers is 0: nothing is served until TTIN adds a worker")
    server.wait_for("tmp_upload_dir '/nowhere' is no directory: large uploads will fail")
    server.wait_for("loglevel 'loud' is none of critical, error, warning, info, debug: info is used")
    server.send(signal.SIGTTIN)
    assert server.get()


def test_preload_loads_the_application_once_in_the_master(serve: Serve, short_path: Path) -> None:
    (short_path / "counted.py").write_text(
        "import os\nopen('loads', 'a').write(f'{os.getpid()} ')\nfrom probe import app\n"
    )
    server = serve("--preload", "-w", "2", app="counted:app")
    server.wait_for_children(2)
    assert server.get()
    assert (short_path / "loads").read_text().split() == [str(server.pid)]


def test_the_hooks_are_called_in_the_right_process_and_order(serve: Serve, short_path: Path) -> None:
    one = ("on_starting", "when_ready", "on_reload", "on_exit")
    two = ("pre_fork", "post_fork", "child_exit", "worker_exit")
    lines = ["import os", "def note(name, *rest):", "    open('hooks', 'a').write(f'{os.getpid()} {name}\\n')"]
    lines += [f"def {name}(server): note('{name}')" for name in one]
    lines += [f"def {name}(server, worker): note('{name}', worker.pid)" for name in two]
    lines += ["def post_worker_init(worker): note('post_worker_init')"]
    lines += ["def nworkers_changed(server, new_value, old_value): note(f'nworkers {old_value}->{new_value}')"]
    (short_path / "gunicorn.conf.py").write_text("\n".join(lines))
    server = serve()
    worker = server.wait_for_children(1).pop()
    assert int(server.get()) == worker
    server.send(signal.SIGTERM)
    assert server.wait() == 0
    entries = [line.split(" ", 1) for line in (short_path / "hooks").read_text().splitlines()]
    master = [name for pid, name in entries if int(pid) == server.pid]
    assert master == ["nworkers None->1", "on_starting", "when_ready", "pre_fork", "child_exit", "on_exit"]
    assert [name for pid, name in entries if int(pid) == worker] == ["post_fork", "post_worker_init", "worker_exit"]


def test_workers_hold_no_descriptor_of_the_master(serve: Serve) -> None:
    server = serve("-w", "2")
    server.wait_for_children(2)
    of_master = {os.readlink(f"/proc/{server.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{server.pid}/fd")}
    held = server.get("/fds").split("\n")
    assert not [target for target in held if "eventpoll" in target]
    pipes = [target.rsplit(" ", 1) for target in held if target.startswith("pipe:") and target.split()[0] in of_master]
    read = {name for name, mode in pipes if mode == "r"}
    written = {name for name, mode in pipes if mode == "w"}
    assert read  # the one by which a worker learns that the master has gone; nobody else may keep its other end open
    assert len(written) == 1  # the one that wakes the master
    assert not read & written
    assert len(read | written) == 2


def test_the_pid_file_is_written_and_removed(serve: Serve, eventually: Eventually, short_path: Path) -> None:
    server = serve("--pid", "master.pid")
    assert server.get()
    assert (short_path / "master.pid").read_text() == f"{server.pid}\n"
    other = serve("--pid", "master.pid")
    assert other.wait() == 1
    assert f"process {server.pid} is running" in server.output
    server.send(signal.SIGTERM)
    server.wait()
    assert not (short_path / "master.pid").exists()


def test_services_are_hosted(serve: Serve, eventually: Eventually, short_path: Path) -> None:
    (short_path / "svc.py").write_text(SERVICE)
    server = serve("--colour", "red", TEST_SERVICES="svc.Colours", PYTHONPATH=str(short_path) + ":" + _support())
    child = int(eventually(lambda: _read(short_path / "service-child"), "the service's child"))
    worker = server.wait_for(r"Booting worker with pid: (\d+)")
    assert int(server.get()) == int(worker[0])
    os.kill(child, signal.SIGKILL)
    server.wait_for(rf"svc: child {child} exited")
    server.send(signal.SIGHUP)
    server.wait_for("svc: reload red")
    server.send(signal.SIGTERM)
    assert server.wait() == 0
    state = json.loads((short_path / "state").read_text())
    assert {worker["slot"] for worker in state["workers"]} <= {0, 1}
    assert state["stats"]["workers_target"] == 1
    steps = [line for line in server.output.splitlines() if "svc:" in line]
    assert "svc: start red" in steps[0]
    assert "svc: stop True" in steps[-2]
    assert "svc: close" in steps[-1]
    assert server.group() == []
    output = server.output
    assert output.index("svc: stop True") > output.rindex("Worker exiting")


def _support() -> str:
    return str(Path(__file__).parent / "support")


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


SERVICE = """
import json, os, time

class Colours:
    name = "colours"
    settings = [{"name": "colour", "section": "Colours", "cli": ["--colour"], "default": "grey",
                 "validator": "string", "desc": "A colour."}]

    def start(self, host):
        self.host, self.stopping, self.forks = host, False, 0
        host.log.info("svc: start %s", host.cfg.colour)
        read, self.write = os.pipe()
        self.read = read
        host.register(read, 1, self.readable)
        self.pid = host.spawn(self.child, "colours [test]")

    def child(self):
        with open("service-child.tmp", "w") as file:
            file.write(str(os.getpid()))
        os.rename("service-child.tmp", "service-child")
        while os.getppid() == self.host.pid:
            time.sleep(0.01)

    def readable(self, mask):
        os.read(self.read, 1)

    def child_exited(self, pid, status):
        if pid != self.pid:
            return False
        self.host.log.info("svc: child %d exited", pid)
        self.pid = None
        return True

    def tick(self, now):
        state = {"workers": self.host.introspection.workers(), "stats": self.host.introspection.stats()}
        if state["workers"]:
            with open("state", "w") as file:
                json.dump(state, file)
        return now + 0.05

    def reload(self, host):
        host.log.info("svc: reload %s", host.cfg.colour)

    def stop(self, graceful):
        self.host.log.info("svc: stop %s", graceful)
        self.stopping = True

    @property
    def stopped(self):
        return self.stopping

    def close(self):
        self.host.log.info("svc: close")
        self.host.unregister(self.read)
        os.close(self.read)
        os.close(self.write)

    def forked(self):
        os.close(self.read)
        os.close(self.write)

    def snapshot(self):
        return {"pid": self.pid}
"""


def test_a_subclass_can_manage_workers_its_own_way(short_path: Path, serve: Serve, eventually: Eventually) -> None:
    # What Airflow does: manage_workers is called at least once a second; it spawns one more and stops the oldest.
    (short_path / "rolling.py").write_text(
        "import signal\n"
        "from gunicorn.arbiter import Arbiter\n"
        "import gunicorn.arbiter\n"
        "class Rolling(Arbiter):\n"
        "    done = False\n"
        "    def manage_workers(self):\n"
        "        super().manage_workers()\n"
        "        workers = sorted(self.WORKERS.items(), key=lambda item: item[1].age)\n"
        "        if not self.done and workers and workers[0][1].age == 1:\n"
        "            if len(workers) < self.num_workers + 1:\n"
        "                self.spawn_worker()\n"
        "            else:\n"
        "                self.kill_worker(workers[0][0], signal.SIGTERM)\n"
        "                self.done = True\n"
        "gunicorn.arbiter.Arbiter = Rolling\n"
        "from probe import app\n"
    )
    (short_path / "gunicorn.conf.py").write_text("import rolling\n")
    server = serve("-w", "2")
    server.wait_for("Booting worker", count=3)
    eventually(lambda: len(server.children()) == 2, "two workers again")
    assert "ERROR" not in server.output


def test_under_systemd_it_takes_its_sockets_and_tells_its_state(
    short_path: Path, eventually: Eventually, serve: Serve
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(short_path / "notify"))
        manager.settimeout(20)
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        command = [sys.executable, f"{_support()}/launch.py", "-k", "probe.ProbeWorker", "probe:app"]
        become = (
            f"import os, sys; os.dup2({listener.fileno()}, 3)\n"
            "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))\n"
            "os.execv(sys.argv[1], sys.argv[1:])"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", become, *command],
            env={**os.environ, "PYTHONPATH": _support(), "NOTIFY_SOCKET": str(short_path / "notify")},
            pass_fds=[listener.fileno()],
            cwd=short_path,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            listener.close()
            assert manager.recv(1000).startswith(b"READY=1\n")
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/env/LISTEN_FDS", timeout=20) as answer:
                assert answer.read() == b""
            process.send_signal(signal.SIGHUP)
            assert manager.recv(1000).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
            assert manager.recv(1000) == b"READY=1"
        finally:
            process.terminate()
            output = process.communicate(timeout=20)[1]
        assert process.returncode == 0
        assert manager.recv(1000) == b"STOPPING=1"
        assert f"Listening at: http://127.0.0.1:{port}" in output


def test_a_daemon_serves_from_the_background(short_path: Path, eventually: Eventually) -> None:
    subprocess.run(
        [
            sys.executable,
            f"{_support()}/launch.py",
            "-D",
            "-p",
            "pid",
            "--log-file",
            "log",
            "-b",
            f"unix:{short_path}/s",
            "-k",
            "probe.ProbeWorker",
            "probe:app",
        ],
        env={**os.environ, "PYTHONPATH": _support()},
        cwd=short_path,
        check=True,
        timeout=20,
    )
    pid = int(eventually(lambda: _read(short_path / "pid"), "the pid file"))
    try:
        assert os.getsid(pid) != os.getsid(0)
        eventually(lambda: "Booting worker" in _read(short_path / "log"), "the worker")
        os.kill(pid, signal.SIGWINCH)
        eventually(lambda: "Worker exiting" in _read(short_path / "log"), "the end of the worker")
        assert os.path.exists(f"/proc/{pid}")
        os.kill(pid, signal.SIGTTIN)
        eventually(lambda: _read(short_path / "log").count("Booting worker") == 2, "a new worker")
    finally:
        os.kill(pid, signal.SIGTERM)
        eventually(lambda: not os.path.exists(f"/proc/{pid}"), "the end of the daemon")
    assert not (short_path / "pid").exists()
    assert not (short_path / "s").exists()


def test_check_config_serves_nothing(serve: Serve) -> None:
    server = serve("--check-config")
    assert server.wait() == 0
    assert server.output == ""


def test_a_flag_of_a_distribution_that_is_not_installed_names_the_extra(serve: Serve) -> None:
    server = serve("--dirty-app", "module:Class")
    assert server.wait() == 2
    assert 'pip install "gunicorn-server[dirty]"' in server.output


def test_a_certificate_that_cannot_be_used_ends_the_master_before_it_forks(serve: Serve) -> None:
    server = serve("--certfile", "/no/such.pem")
    assert server.wait() == 1
    assert "Error: certfile '/no/such.pem' cannot be read: No such file or directory" in server.output
    assert "Booting" not in server.output


def test_hup_with_a_certificate_that_cannot_be_used_changes_nothing(
    serve: Serve, short_path: Path, tls_files: Any
) -> None:
    certificate = short_path / "site.pem"
    certificate.write_bytes(Path(tls_files.combined).read_bytes())
    server = serve("--certfile", str(certificate))
    server.wait_for("Listening at: https://127")
    before = server.wait_for_children(1)
    certificate.write_text("nonsense")
    server.send(signal.SIGHUP)
    server.wait_for("Reload failed, the old configuration stays in use: certfile '.*site.pem' cannot be used")
    assert set(server.children()) == before
