"""What this server accepts, once for all protocols and workers: limits, header rules, trusted proxies.

Parsers read bytes; the policy says which readings are allowed. One :class:`Policy` is made from the configuration when
a worker starts, and shared by all of its connections.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

DEFAULT_SECURE_SCHEME_HEADERS = {
    "X-FORWARDED-PROTOCOL": "ssl",
    "X-FORWARDED-PROTO": "https",
    "X-FORWARDED-SSL": "on",
}


@dataclass
class Policy:
    """The rules for requests. Sizes are bytes, times are seconds; a limit of 0 is no limit."""

    limit_request_line: int = 4094
    limit_request_fields: int = 100
    limit_request_field_size: int = 8190
    permit_obsolete_folding: bool = False
    strip_header_spaces: bool = False
    permit_unconventional_http_method: bool = False
    permit_unconventional_http_version: bool = False
    casefold_http_method: bool = False
    header_map: str = "drop"
    forwarder_headers: frozenset[str] = frozenset({"SCRIPT_NAME", "PATH_INFO"})
    secure_scheme_headers: Mapping[str, str] = field(default_factory=lambda: dict(DEFAULT_SECURE_SCHEME_HEADERS))
    forwarded_allow_ips: tuple[str, ...] = ("127.0.0.1", "::1")
    keepalive: float = 2.0
    """How long an idle connection waits for its next request; 0 closes it after every response."""
    head_timeout: float = 30.0
    """How long a peer may take from the first byte of a request to the end of its head."""
    body_timeout: float = 30.0
    """How long a peer may pause within a request body."""

    def __post_init__(self) -> None:
        self._trusts_all = "*" in self.forwarded_allow_ips
        self._networks: list[Network] = [
            ipaddress.ip_network(text) for text in self.forwarded_allow_ips if text and text != "*"
        ]

    @classmethod
    def from_config(cls, cfg: Any) -> Policy:
        """The policy that the settings of *cfg* ask for (:class:`gunicorn.config.Config`)."""
        return cls(
            limit_request_line=cfg.limit_request_line,
            limit_request_fields=cfg.limit_request_fields,
            limit_request_field_size=cfg.limit_request_field_size,
            permit_obsolete_folding=cfg.permit_obsolete_folding,
            strip_header_spaces=cfg.strip_header_spaces,
            permit_unconventional_http_method=cfg.permit_unconventional_http_method,
            permit_unconventional_http_version=cfg.permit_unconventional_http_version,
            casefold_http_method=cfg.casefold_http_method,
            header_map=cfg.header_map,
            forwarder_headers=frozenset(upper_names(cfg.forwarder_headers)),
            secure_scheme_headers={name.upper(): value for name, value in cfg.secure_scheme_headers.items()},
            forwarded_allow_ips=tuple(cfg.forwarded_allow_ips),
            keepalive=cfg.keepalive,
        )

    def trusts(self, host: str | None) -> bool:
        """Whether the peer at *host* (an IP address; None on a unix socket) may speak for its clients.

        A unix socket's peers are trusted: whoever may open the socket was let in by its file's permissions.
        """
        if self._trusts_all or host is None:
            return True
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)


def upper_names(names: Iterable[str] | str) -> list[str]:
    """Header names as the settings give them (a list, or one comma-separated string), in upper case."""
    if isinstance(names, str):
        names = names.split(",")
    return [name.strip().upper() for name in names if name.strip()]
