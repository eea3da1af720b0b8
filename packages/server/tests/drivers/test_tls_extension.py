"""The extension ``tls``: names as RFC 4514 writes them, and what a real handshake leads to."""

import ssl
from typing import Any

import pytest
from gunicorn.drivers.tls_extension import distinguished_name, tls_extension


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        ((), ""),
        (((("commonName", "client"),),), "CN=client"),
        (((("countryName", "DE"),), (("organizationName", "A"),), (("commonName", "b"),)), "CN=b,O=A,C=DE"),
        (((("commonName", "a"), ("userId", "1")),), "CN=a+UID=1"),
        (((("emailAddress", "a@b"),),), "emailAddress=a@b"),
        (((("commonName", 'a,b+c"d\\e<f>;'),),), 'CN=a\\,b\\+c\\"d\\\\e\\<f\\>\\;'),
        (((("commonName", " a "),),), "CN=\\ a\\ "),
        (((("commonName", "#a"),),), "CN=\\#a"),
        (((("commonName", "a\0b"),),), "CN=a\\00b"),
    ],
)
def test_distinguished_names(subject: Any, text: str) -> None:
    assert distinguished_name({"subject": subject}) == text


def shaken_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends of a connection in memory, after the handshake."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(up, down, server_side=True)
    theirs = client.wrap_bio(down, up, server_hostname="localhost")
    waiting = [theirs, ours]
    while waiting:
        side = waiting.pop(0)
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            waiting.append(side)
    return ours, theirs


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("certified", [False, True])
def test_of_a_handshake(tls_files: Any, version: ssl.TLSVersion, certified: bool) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tls_files.combined)
    server.load_verify_locations(tls_files.ca)
    server.verify_mode = ssl.CERT_OPTIONAL
    client = tls_files.context(client_certificate=certified)
    client.maximum_version = version
    ours, _ = shaken_hands(server, client)
    found = tls_extension(ours)
    assert found["tls_version"] == version.value
    name = ours.cipher()[0]  # type: ignore[index]
    [known] = [each for each in server.get_ciphers() if each["name"] == name]
    assert found["cipher_suite"] == known["id"] & 0xFFFF
    assert found["server_cert"] is None
    assert found["client_cert_error"] is None
    if certified:
        assert "CN=client" in found["client_cert_name"].split(",")
        with open(tls_files.client) as file:
            assert found["client_cert_chain"][0].strip() in file.read()
    else:
        assert (found["client_cert_chain"], found["client_cert_name"]) == ([], None)
