"""What people see for each command's data."""

from typing import Any

from gunicornc.views import render

Data = dict[str, Any]

WORKERS = [
    {
        "pid": 11,
        "slot": 0,
        "state": "busy",
        "last_heartbeat": 0.5,
        "requests": 1200,
        "busy_for": 2.5,
        "current": "GET",
    },
    {"pid": 12, "slot": 1, "state": "idle", "last_heartbeat": 75.0, "requests": 7, "busy_for": 0.0, "current": ""},
]


def lines(command: str, data: Data, width: int | None = None) -> list[str]:
    return render(command, data, width).splitlines()


def test_workers() -> None:
    assert lines("show workers", {"workers": WORKERS, "count": 2}) == [
        "PID  SLOT  STATE  HEARTBEAT  REQUESTS  BUSY  CURRENT",
        " 11     0  busy        0.5s      1200  2.5s  GET",
        " 12     1  idle      1m 15s         7     -  -",
        "2 workers",
    ]
    assert lines("show workers", {"workers": [], "count": 0}) == ["no workers"]
    assert all(len(line) <= 20 for line in lines("show workers", {"workers": WORKERS, "count": 2}, 20))


def test_listeners() -> None:
    data = {"listeners": [{"url": "http://127.0.0.1:8000", "fd": 5}], "count": 1}
    assert lines("show listeners", data) == ["URL                    FD", "http://127.0.0.1:8000   5", "1 listener"]


def test_stats() -> None:
    data = {"uptime": 3725.25, "pid": 10, "dirty_arbiter_pid": None}
    assert lines("show stats", data) == ["uptime             1h 02m", "pid                10", "dirty_arbiter_pid  -"]


def test_config() -> None:
    data = {"control_socket_mode": 0o600, "umask": 0, "timeout": 30, "reload": False}
    assert lines("show config", data) == [
        "control_socket_mode  0o600",
        "umask                0o000",
        "timeout              30",
        "reload               no",
    ]


def test_dirty_without_a_pool() -> None:
    (line,) = lines("show dirty", {"enabled": False, "pid": None})
    assert "no dirty pool" in line
    assert "--dirty-app" in line


def test_dirty() -> None:
    data = {
        "enabled": True,
        "pid": 20,
        "arbiter_pid": 20,
        "state": "running",
        "apps": ["m:A"],
        "workers": [{"pid": 21, "age": 1, "booted": True, "last_heartbeat": 2.0, "apps": ["m:A", "m:B"]}],
        "worker_count": 1,
    }
    assert lines("show dirty", data) == [
        "pid    20",
        "state  running",
        "apps   m:A",
        "",
        "PID  AGE  BOOTED  HEARTBEAT  APPS",
        " 21    1  yes          2.0s  m:A, m:B",
        "1 dirty worker",
    ]


def test_what_dirty_workers_run() -> None:
    slots = [
        {"slot": 0, "busy": True, "call": 17, "app": "m:A", "action": "go", "seconds": 2.0},
        {"slot": 1, "busy": False},
    ]
    data = {
        "pid": 20,
        "apps": [{"import_path": "m:A", "worker_count": None, "current_workers": 2, "queued": 3}],
        "seats": [
            {"number": 1, "failures": 0, "given_up": False, "error": ""},
            {"number": 2, "failures": 5, "given_up": True, "error": "no model"},
        ],
        "workers": [
            {"pid": 21, "calls": 9, "apps": ["m:A"], "slots": slots},
            {"pid": 22, "calls": 7, "apps": [], "slots": slots[1:]},
        ],
    }
    assert lines("show dirty", data) == [
        "pid  20",
        "",
        "APP  WORKERS  LIMIT  QUEUED",
        "m:A        2  -           3",
        "1 app",
        "",
        "PID  CALLS  BUSY  APPS  RUNNING",
        " 21      9  1/2   m:A   #17 m:A.go 2.0s",
        " 22      7  0/1   -     -",
        "2 dirty workers",
        "",
        "WORKER  FAILED STARTS  GIVEN UP  ERROR",
        "     2              5  yes       no model",
    ]


def test_what_waits_for_dirty_workers() -> None:
    one = {"app": "m:A", "priority": 0, "caller_pid": 7}
    data = {
        "workers": [],
        "queued": 103,
        "waiting": [
            {**one, "call": 17, "action": "go", "seconds": 2.0, "remaining": 3.5},
            {**one, "call": 9, "action": "a\nb", "seconds": 70.0, "remaining": None},
        ],
    }
    assert lines("show dirty", data)[6:] == [
        "ID  APP  ACTION  PRIORITY   WAITS  TIME LEFT  CALLER",
        "17  m:A  go             0    2.0s  3.5s            7",
        " 9  m:A  a\\nb           0  1m 10s  -               7",
        "2 waiting calls",
        "and 101 more",
    ]


def test_what_the_calls_of_dirty_apps_were_like() -> None:
    app = {"import_path": "m:A", "queued": 0, "calls": 200, "errors": 2, "timeouts": 1, "refused": 7}
    cases = [
        ({"0.001": 0, "0.0025": 150, "60.0": 49, "inf": 1}, "2.5ms", "60s"),
        ({"0.001": 0, "0.0025": 0, "60.0": 100, "inf": 100}, "60s", "over 60s"),
        ({"inf": 0, "1.0": 198, "0.25": 2}, "1s", "1s"),
        ({"0.001": 0, "inf": 0}, "-", "-"),
        (None, "-", "-"),
    ]
    for latency, half, most in cases:
        head, row, *_ = lines("show dirty", {"apps": [{**app, "latency": latency}], "workers": []})[1:]
        assert head == "APP  QUEUED  CALLS  ERRORS  TIMEOUTS  REFUSED  HALF WITHIN  99% WITHIN"
        assert row.split(None, 6)[:6] == ["m:A", "0", "200", "2", "1", "7"]
        assert row[head.index("HALF") :].split("  ")[0] == half
        assert row[head.index("99%") :] == most


def test_stacks() -> None:
    stack = '  File "/srv/app.py", line 7, in work\n    lock.acquire()  # \x1b]0;owned\x07\n'
    data = {"pid": 21, "stacks": {"MainThread (1)": stack, "dirty-slot-0 (2)": "  File …\n"}}
    assert lines("dirty stacks", data, 20) == [
        "dirty worker 21",
        "",
        "MainThread (1)",
        '  File "/srv/app.py", line 7, in work',
        "    lock.acquire()  # \\x1b]0;owned\\x07",
        "",
        "dirty-slot-0 (2)",
        "  File …",
    ]


def test_all() -> None:
    data: Data = {
        "arbiter": {"pid": 10, "uptime": 61},
        "web_workers": WORKERS[:1],
        "listeners": [{"url": "http://127.0.0.1:8000"}],
        "dirty_arbiter": None,
        "dirty_workers": [],
    }
    assert lines("show all", data) == [
        "master 10, up 1m 01s",
        "listening at http://127.0.0.1:8000",
        "",
        "PID  SLOT  STATE  HEARTBEAT  REQUESTS  BUSY  CURRENT",
        " 11     0  busy        0.5s      1200  2.5s  GET",
        "1 HTTP worker",
        "",
        "no dirty pool",
    ]
    data["dirty_arbiter"] = {"pid": 20, "state": "running"}
    data["dirty_workers"] = [{"pid": 21, "apps": ["m:A"]}]
    assert lines("show all", data)[-4:] == ["dirty arbiter 20, running", "PID  APPS", " 21  m:A", "1 dirty worker"]
    data["dirty_arbiter"] = {"pid": None, "state": "restarting", "error": "it does not answer"}
    assert lines("show all", data)[-2:] == ["dirty arbiter -, restarting", "it does not answer"]


def test_help() -> None:
    data = {"commands": {"help": "what there is", "worker add [N]": "more"}}
    assert lines("help", data) == ["help            what there is", "worker add [N]  more"]


def test_data_of_commands_without_a_view() -> None:
    data = {
        "queues": [{"app": "m:A", "length": 3}, {"app": "m:B", "oldest": 1.5}],
        "total": 3,
        "flags": {"a": 1, "b": True},
        "nested": {"uptime": 90, "deep": {"x": 1}, "list": [1, 2]},
    }
    assert lines("show queues", data) == [
        "total  3",
        "flags  a=1, b=yes",
        "",
        "queues:",
        "APP  LENGTH  OLDEST",
        "m:A  3       -",
        "m:B  -       1.5",
        "",
        "nested:",
        "  uptime  1m 30s",
        "  deep    x=1",
        "  list    1, 2",
    ]
    assert lines("new", {"only": [{"a": 1}]}) == ["only:", "A", "1"]
    assert render("", {}) == ""


def test_control_characters_do_not_reach_the_terminal() -> None:
    hostile = "\x1b]0;owned\x07"
    examples: list[tuple[str, Data]] = [
        ("show workers", {"workers": [{"pid": 1, "current": hostile}]}),
        ("show listeners", {"listeners": [{"url": hostile}]}),
        ("help", {"commands": {hostile: hostile}}),
        ("", {hostile: hostile, "list": [{hostile: hostile}], "nested": {hostile: {hostile: hostile}}}),
        ("show all", {"arbiter": {"pid": hostile}, "web_workers": [], "dirty_arbiter": {"pid": 1, "error": hostile}}),
    ]
    for command, data in examples:
        assert "\x1b" not in render(command, data)
        assert "\\x1b" in render(command, data)
