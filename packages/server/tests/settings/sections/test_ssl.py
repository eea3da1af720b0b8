"""The settings of TLS: names, flags and defaults are what people's command lines and files rely on."""

from gunicorn.settings.sections import ssl

EXPECTED: dict[str, tuple[str, object]] = {
    "keyfile": ("--keyfile", None),
    "certfile": ("--certfile", None),
    "ssl_version": ("--ssl-version", 17),
    "cert_reqs": ("--cert-reqs", 0),
    "ca_certs": ("--ca-certs", None),
    "suppress_ragged_eofs": ("--suppress-ragged-eofs", True),
    "do_handshake_on_connect": ("--do-handshake-on-connect", False),
    "ciphers": ("--ciphers", None),
}


def test_names_flags_and_defaults() -> None:
    declared = {item["name"]: (" ".join(item.get("cli", ())), item["default"]) for item in ssl.SETTINGS}
    assert declared == EXPECTED


def test_each_has_a_line_of_help() -> None:
    for item in ssl.SETTINGS:
        assert item["desc"].strip().splitlines()[0].rstrip().endswith("."), item["name"]
