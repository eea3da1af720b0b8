"""JSONFormatter: records of the error log, exceptions, extra fields; responses by atoms that others have made."""

import datetime
import json
import logging
import os
import sys
from types import SimpleNamespace
from typing import Any

from gunicorn.atoms import ResponseAtoms, SafeAtoms
from gunicorn.json_log import JSONFormatter


def record(msg: str = "said %s", args: Any = ("so",), **fields: Any) -> logging.LogRecord:
    made = logging.LogRecord("gunicorn.error", logging.WARNING, __file__, 1, msg, args, fields.pop("exc_info", None))
    vars(made).update(fields)
    return made


def formatted(entry: logging.LogRecord, **arguments: Any) -> dict[str, Any]:
    line = JSONFormatter(**arguments).format(entry)
    assert "\n" not in line
    found = json.loads(line)
    assert isinstance(found, dict)
    return found


def test_a_message() -> None:
    found = formatted(record("li\nne %s", ('"x"',), created=1.5))
    assert found == {
        "time": "1970-01-01T00:00:01.500Z",
        "level": "warning",
        "logger": "gunicorn.error",
        "pid": os.getpid(),
        "message": 'li\nne "x"',
    }
    assert list(found) == ["time", "level", "logger", "pid", "message"]


def test_an_exception_and_a_stack() -> None:
    try:
        raise LookupError("mine")
    except LookupError:
        found = formatted(record(exc_info=sys.exc_info(), stack_info="Stack: here"))
    assert found["message"] == "said so"
    assert found["exception"].startswith("Traceback (most recent call last):\n")
    assert found["exception"].endswith("LookupError: mine")
    assert found["stack"] == "Stack: here"


def test_extra_fields_that_do_not_hide_ours() -> None:
    found = formatted(record(metric="m", when=datetime.date(2026, 11, 23), pid="theirs"))
    assert (found["metric"], found["when"], found["pid"]) == ("m", "2026-11-23", os.getpid())


def test_responses_by_atoms_of_any_kind() -> None:
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": '/"',
        "QUERY_STRING": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.1",
    }
    response = SimpleNamespace(status="204 No Content", sent=0, headers=[])
    atoms = ResponseAtoms(response, [("X", 'a"')], environ, datetime.timedelta(microseconds=5))
    expected = {
        "method": "GET",
        "query": "",
        "protocol": "HTTP/1.1",
        "remote_address": "192.0.2.1",
        "user": None,
        "status": 204,
        "bytes": 0,
        "duration_us": 5,
        "referer": None,
        "user_agent": None,
    }
    found = formatted(record("%(h)s", (atoms,)), fields={"x": "{x}i"})
    assert found.items() >= {**expected, "path": '/"', "x": 'a"'}.items()
    assert "message" not in found
    escaped = SafeAtoms(atoms.all())
    assert formatted(record("%(h)s", (escaped,)), fields={"x": "{x}i"}).items() >= expected.items()
    nothing = ResponseAtoms(SimpleNamespace(status="", sent=None, headers=[]), [], {}, datetime.timedelta())
    assert formatted(record("%(h)s", (nothing,)))["status"] is None


def test_a_mapping_that_is_no_response_is_a_message() -> None:
    assert formatted(record("%(a)s", ({"a": "b"},)))["message"] == "b"


def test_it_can_be_named_in_a_logging_configuration() -> None:
    assert formatted(record(), fmt="%(message)s", datefmt=None, style="%")["message"] == "said so"
