"""Validators: what they take, what they make of it, and what they refuse."""

import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gunicorn.settings import validators as v


@pytest.mark.parametrize(
    ("validate", "value", "expected"),
    [
        (v.validate_bool, True, True),
        (v.validate_bool, "true", True),
        (v.validate_bool, " On ", True),
        (v.validate_bool, "0", False),
        (v.validate_bool, "no", False),
        (v.validate_bool, None, None),
        (v.validate_pos_int, 0, 0),
        (v.validate_pos_int, "42", 42),
        (v.validate_pos_int, "0x10", 16),
        (v.validate_pos_int, "0o17", 15),
        (v.validate_pos_int, "022", 18),
        (v.validate_pos_int, True, 1),
        (v.validate_string, " text ", "text"),
        (v.validate_string, None, None),
        (v.validate_list_string, None, []),
        (v.validate_list_string, "a", ["a"]),
        (v.validate_list_string, (" a", "b"), ["a", "b"]),
        (v.validate_string_to_list, "a, b,,c ", ["a", "b", "c"]),
        (v.validate_string_to_list, ["a"], ["a"]),
        (v.validate_string_to_addr_list, "127.0.0.1, 10.0.0.0/8,::1,*", ["127.0.0.1", "10.0.0.0/8", "::1", "*"]),
        (v.validate_string_to_addr_list, "", []),
        (v.validate_dict, {"a": 1}, {"a": 1}),
        (v.validate_class, " sync ", "sync"),
        (v.validate_class, dict, dict),
        (v.validate_class, lambda: dict, dict),
        (v.validate_user, 5, 5),
        (v.validate_user, "5", 5),
        (v.validate_user, "root", 0),
        (v.validate_user, None, os.geteuid()),
        (v.validate_statsd_address, "statsd.example:8126", ("statsd.example", 8126)),
        (v.validate_statsd_address, "statsd.example", ("statsd.example", 8125)),
        (v.validate_statsd_address, "[::1]:1", ("::1", 1)),
        (v.validate_statsd_address, ("host", 1), ("host", 1)),
        (v.validate_statsd_address, "unix:///run/statsd", "/run/statsd"),
        (v.validate_statsd_address, None, None),
        (v.validate_group, "5", 5),
        (v.validate_group, "root", 0),
        (v.validate_group, None, os.getegid()),
        (v.validate_header_map_behaviour, " Refuse", "refuse"),
        (v.validate_asgi_loop, "uvloop", "uvloop"),
        (v.validate_asgi_lifespan, "ON", "on"),
    ],
)
def test_accepted(validate: Callable[[Any], Any], value: Any, expected: Any) -> None:
    assert validate(value) == expected


@pytest.mark.parametrize(
    ("validate", "value", "reason"),
    [
        (v.validate_bool, "maybe", "not a boolean: 'maybe'"),
        (v.validate_bool, 3, "not a boolean: 3"),
        (v.validate_pos_int, -1, "must not be negative: -1"),
        (v.validate_pos_int, "-3", "must not be negative: -3"),
        (v.validate_pos_int, "many", "not an integer: 'many'"),
        (v.validate_pos_int, 1.5, "not an integer: 1.5"),
        (v.validate_pos_int, None, "not an integer: None"),
        (v.validate_string, 5, "not a string: 5"),
        (v.validate_list_string, [1], "not a string: 1"),
        (v.validate_list_string, 7, "not a list of strings: 7"),
        (v.validate_string_to_addr_list, "10.0.0.1/8", "10.0.0.1/8 has host bits set"),
        (v.validate_string_to_addr_list, "proxy.example", "proxy.example"),
        (v.validate_dict, [], "not a dictionary"),
        (v.validate_user, "nobody-of-this-name", "no such user: 'nobody-of-this-name'"),
        (v.validate_statsd_address, "unix://", "has no path"),
        (v.validate_statsd_address, "host:port", "is neither HOST:PORT nor unix://PATH"),
        (v.validate_statsd_address, "unix:/run/statsd", "is neither HOST:PORT nor unix://PATH"),
        (v.validate_group, "nobody-of-this-name", "no such group: 'nobody-of-this-name'"),
        (v.validate_chdir, "/nowhere/at/all", "no such directory: '/nowhere/at/all'"),
        (v.validate_header_map_behaviour, "keep", "'keep' is none of: drop, refuse, dangerous"),
        (v.validate_asgi_loop, None, "None is none of"),
    ],
)
def test_refused_with_a_reason(validate: Callable[[Any], Any], value: Any, reason: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        validate(value)
    assert reason in str(caught.value)


def test_chdir_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PWD", raising=False)
    assert v.validate_chdir("sub") == str(tmp_path / "sub")
    assert v.validate_chdir(str(tmp_path)) == str(tmp_path)


def test_a_hook_must_take_its_arguments() -> None:
    validate = v.validate_callable(2)

    def two(server: Any, worker: Any) -> None: ...
    def any_number(*args: Any) -> None: ...
    def with_default(server: Any, worker: Any = None, more: Any = None) -> None: ...
    def one(server: Any) -> None: ...

    for hook in (two, any_number, with_default, print):
        assert validate(hook) is hook
    with pytest.raises(TypeError, match="takes 2 arguments"):
        validate(one)
    with pytest.raises(TypeError, match="not callable: 5"):
        validate(5)
    assert v.validate_callable(-1)(one) is one


def test_a_hook_can_be_named() -> None:
    assert v.validate_callable(1)("os.path.basename") is os.path.basename
    with pytest.raises(TypeError, match=r"'basename' is not 'module\.function'"):
        v.validate_callable(1)("basename")
    with pytest.raises(TypeError, match="not callable: None"):
        v.validate_callable(1)("os.path.nothing")


def test_older_hooks_after_a_request_are_adapted() -> None:
    seen: list[Any] = []
    hooks: list[Any] = [
        lambda worker, req: seen.append((worker, req)),
        lambda worker, req, environ: seen.append((worker, req, environ)),
        lambda worker, req, environ, resp: seen.append((worker, req, environ, resp)),
    ]
    for hook in hooks:
        v.validate_post_request(hook)(1, 2, 3, 4)
    assert seen == [(1, 2), (1, 2, 3), (1, 2, 3, 4)]
    with pytest.raises(TypeError, match=r"\(worker, req, environ, resp\)"):
        v.validate_post_request(lambda worker: None)


def test_validators_by_name() -> None:
    assert v.by_name("pos_int") is v.validate_pos_int
    assert v.by_name("callable:1")(print) is print
    with pytest.raises(KeyError):
        v.by_name("nothing")


@pytest.mark.parametrize("val", ["TLS", "tls", "PROTOCOL_TLS", "SSLv23", "2", 2, 17, ssl.PROTOCOL_TLS_SERVER])
def test_the_negotiated_version_of_tls(val: object) -> None:
    assert v.validate_ssl_version(val) == ssl.PROTOCOL_TLS_SERVER == v.TLS_NEGOTIATED


@pytest.mark.parametrize("val", ["TLSv1_2", "PROTOCOL_TLSv1_2", "5", 5])
def test_one_version_of_tls(val: object) -> None:
    assert v.validate_ssl_version(val) == ssl.PROTOCOL_TLSv1_2


@pytest.mark.parametrize("val", ["TLSv1", "TLSv1_1", "SSLv3", 1, 3, "TLSv1_3", ""])
def test_other_versions_of_tls_are_refused(val: object) -> None:
    with pytest.raises(ValueError, match="is neither TLS nor TLSv1_2"):
        v.validate_ssl_version(val)


def test_what_is_no_version_of_tls() -> None:
    for val in (None, True, 1.2):
        with pytest.raises(TypeError, match="not a TLS version"):
            v.validate_ssl_version(val)


def test_certificates_of_clients() -> None:
    assert [v.validate_cert_reqs(val) for val in (0, "1", ssl.CERT_REQUIRED)] == [0, 1, 2]
    with pytest.raises(ValueError, match=r"3 is none of: 0 \(no certificate\), 1 \(optional\), 2 \(required\)"):
        v.validate_cert_reqs(3)


def test_paths() -> None:
    assert [v.validate_path(val) for val in (None, "", " /healthz ")] == [None, None, "/healthz"]
    for val in ("healthz", "/a b", "/a?b", "/\u00e9"):
        with pytest.raises(ValueError, match="is not a path: it begins with /"):
            v.validate_path(val)
