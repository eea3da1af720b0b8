"""What ASGI's extension ``tls`` says of a connection; the asyncio driver asks once per connection.

Source: the ASGI specification, "TLS Extension" 0.2. ``server_cert`` is None, as Python's ssl does not tell which
certificate was sent: with SNI it is one of several.
"""

from __future__ import annotations

import re
import ssl
from typing import Any, Final

_VERSIONS: Final = {"TLSv1": 0x0301, "TLSv1.1": 0x0302, "TLSv1.2": 0x0303, "TLSv1.3": 0x0304}
_SHORT_NAMES: Final = {  # RFC 4514 section 3
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}
_SPECIAL: Final = re.compile(r'^[ #]| $|["+,;<>\\]')

Certificate = dict[str, Any]
"""A certificate as :meth:`ssl.SSLSocket.getpeercert` gives it."""


def tls_extension(connection: ssl.SSLObject | ssl.SSLSocket) -> dict[str, Any]:
    """The value of ``scope["extensions"]["tls"]`` for a connection whose handshake is done."""
    chain = _chain(connection)
    return {
        "server_cert": None,
        "client_cert_chain": [ssl.DER_cert_to_PEM_cert(each) for each in chain],
        "client_cert_name": distinguished_name(connection.getpeercert() or {}) if chain else None,
        "client_cert_error": None,  # a certificate that does not verify ends the handshake
        "tls_version": _VERSIONS.get(connection.version() or ""),
        "cipher_suite": _cipher_suite(connection),
    }


def distinguished_name(certificate: Certificate) -> str:
    """The certificate's subject as RFC 4514 writes it: ``CN=client,O=Example``, the most specific part first."""
    parts = []
    for attributes in reversed(certificate.get("subject", ())):
        parts.append("+".join(f"{_SHORT_NAMES.get(name, name)}={_escape(value)}" for name, value in attributes))
    return ",".join(parts)


def _escape(value: str) -> str:
    """RFC 4514 section 2.4."""
    return _SPECIAL.sub(lambda found: "\\" + found[0], value).replace("\0", "\\00")


def _chain(connection: Any) -> list[bytes]:
    """The certificates that the client has sent, in DER, its own first; before Python 3.13 that one only."""
    own = connection.getpeercert(binary_form=True)
    if own is None:
        return []
    whole = getattr(connection, "get_unverified_chain", None)
    return list(whole()) if whole else [own]


def _cipher_suite(connection: ssl.SSLObject | ssl.SSLSocket) -> int | None:
    cipher = connection.cipher()
    if cipher is not None:
        for known in connection.context.get_ciphers():
            if known["name"] == cipher[0]:
                return int(known["id"]) & 0xFFFF
    return None
