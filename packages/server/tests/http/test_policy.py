"""Policy: what the configuration allows, and whom it trusts."""

import pytest
from gunicorn.config import Config
from gunicorn.http.policy import DEFAULT_SECURE_SCHEME_HEADERS, Policy, upper_names


@pytest.mark.parametrize(
    ("allowed", "host", "trusted"),
    [
        (("127.0.0.1", "::1"), "127.0.0.1", True),
        (("127.0.0.1", "::1"), "::1", True),
        (("127.0.0.1", "::1"), "10.0.0.1", False),
        (("10.0.0.0/8",), "10.20.30.40", True),
        (("10.0.0.0/8",), "11.0.0.1", False),
        (("fd00::/8",), "fd12::1", True),
        (("127.0.0.1",), "::ffff:127.0.0.1", True),  # an IPv4 peer on a dual-stack listener
        (("127.0.0.1",), "::ffff:10.0.0.1", False),
        (("fe80::/10",), "fe80::1%eth0", True),
        (("*",), "203.0.113.7", True),
        ((), "127.0.0.1", False),
        (("",), "127.0.0.1", False),
        (("127.0.0.1",), "no address", False),
        ((), None, True),  # a unix socket
    ],
)
def test_trusts(allowed: tuple[str, ...], host: str | None, trusted: bool) -> None:
    assert Policy(forwarded_allow_ips=allowed).trusts(host) is trusted


def test_a_network_with_host_bits_is_an_error() -> None:
    with pytest.raises(ValueError, match="host bits"):
        Policy(forwarded_allow_ips=("10.0.0.1/8",))


@pytest.mark.parametrize(
    ("names", "upper"),
    [
        ("SCRIPT_NAME,PATH_INFO", ["SCRIPT_NAME", "PATH_INFO"]),
        (" remote_user , ,", ["REMOTE_USER"]),
        (["a", " B "], ["A", "B"]),
        ("", []),
    ],
)
def test_upper_names(names: str | list[str], upper: list[str]) -> None:
    assert upper_names(names) == upper


def test_the_defaults_are_those_of_the_settings() -> None:
    policy = Policy.from_config(Config())
    assert policy == Policy()
    assert policy.secure_scheme_headers == DEFAULT_SECURE_SCHEME_HEADERS


def test_from_config() -> None:
    cfg = Config()
    cfg.set("limit_request_line", 100)
    cfg.set("limit_request_fields", 5)
    cfg.set("limit_request_field_size", 200)
    cfg.set("permit_obsolete_folding", True)
    cfg.set("strip_header_spaces", True)
    cfg.set("permit_unconventional_http_method", True)
    cfg.set("permit_unconventional_http_version", True)
    cfg.set("casefold_http_method", True)
    cfg.set("header_map", "refuse")
    cfg.set("forwarder_headers", "remote_user")
    cfg.set("secure_scheme_headers", {"x-https": "on"})
    cfg.set("forwarded_allow_ips", "10.0.0.0/8")
    cfg.set("keepalive", 7)
    assert Policy.from_config(cfg) == Policy(
        limit_request_line=100,
        limit_request_fields=5,
        limit_request_field_size=200,
        permit_obsolete_folding=True,
        strip_header_spaces=True,
        permit_unconventional_http_method=True,
        permit_unconventional_http_version=True,
        casefold_http_method=True,
        header_map="refuse",
        forwarder_headers=frozenset({"REMOTE_USER"}),
        secure_scheme_headers={"X-HTTPS": "on"},
        forwarded_allow_ips=("10.0.0.0/8",),
        keepalive=7,
    )
