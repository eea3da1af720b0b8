"""From the settings of TLS to a context: what it is like, and what each mistake is told."""

import ssl
from pathlib import Path
from typing import Any

import pytest
from gunicorn import tls
from gunicorn.config import Config
from gunicorn.errors import SettingError


def config(**settings: Any) -> Config:
    cfg = Config()
    for name, value in settings.items():
        cfg.set(name, value)
    return cfg


def test_the_default_context(tls_files: Any) -> None:
    context = tls.make_context(config(certfile=tls_files.cert, keyfile=tls_files.key))
    assert context.protocol == ssl.PROTOCOL_TLS_SERVER
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.maximum_version == ssl.TLSVersion.MAXIMUM_SUPPORTED
    assert context.verify_mode == ssl.CERT_NONE
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_IGNORE_UNEXPECTED_EOF


def test_key_and_certificate_in_one_file(tls_files: Any) -> None:
    tls.make_context(config(certfile=tls_files.combined))


def test_what_the_settings_change(tls_files: Any) -> None:
    context = tls.make_context(
        config(
            certfile=tls_files.combined,
            ssl_version="TLSv1_2",
            cert_reqs=2,
            ca_certs=tls_files.ca,
            suppress_ragged_eofs=False,
            ciphers="ECDHE-ECDSA-AES128-GCM-SHA256",
        )
    )
    assert context.maximum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.cert_store_stats()["x509_ca"] == 1
    assert not context.options & ssl.OP_IGNORE_UNEXPECTED_EOF
    assert [c["name"] for c in context.get_ciphers() if c["protocol"] == "TLSv1.2"] == ["ECDHE-ECDSA-AES128-GCM-SHA256"]


def test_the_hook_changes_the_context(tls_files: Any) -> None:
    def hook(cfg: Any, factory: Any) -> Any:
        context = factory()
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return context

    context = tls.make_context(config(certfile=tls_files.combined, ssl_context=hook))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_3


def test_the_hook_may_make_its_own(tls_files: Any) -> None:
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    assert tls.make_context(config(keyfile="unused", ssl_context=lambda cfg, factory: own)) is own


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"keyfile": "k.pem"}, "keyfile is 'k.pem', but no certfile is set: TLS needs a certificate"),
        ({"certfile": "/no/such.pem"}, "certfile '/no/such.pem' cannot be read: No such file or directory"),
        ({"certfile": "@cert", "keyfile": "/no/key"}, "keyfile '/no/key' cannot be read: No such file or directory"),
        ({"certfile": "@cert"}, "cannot be used: pem lib; without keyfile it must contain the private key too"),
        ({"certfile": "@cert", "keyfile": "@other_key"}, "cannot be used: key values mismatch"),
        ({"certfile": "@cert", "keyfile": "@encrypted_key"}, "the key is encrypted, and nobody can be asked"),
        ({"certfile": "@combined", "ca_certs": "/no/ca"}, "ca_certs '/no/ca' cannot be read: No such file"),
        ({"certfile": "@combined", "ca_certs": "@key"}, "' cannot be used: no certificate or crl found"),
        ({"certfile": "@combined", "cert_reqs": 2}, "cert_reqs 2 asks for certificates of clients, but ca_certs names"),
        ({"certfile": "@combined", "ciphers": "NONSENSE"}, "ciphers: 'NONSENSE' selects no cipher"),
        ({"certfile": "@combined", "ssl_context": lambda cfg, factory: None}, "the hook ssl_context returned None"),
    ],
)
def test_mistakes_are_named(tls_files: Any, settings: dict[str, Any], text: str) -> None:
    found = {
        name: getattr(tls_files, value[1:]) if isinstance(value, str) and value.startswith("@") else value
        for name, value in settings.items()
    }
    with pytest.raises(SettingError) as caught:
        tls.make_context(config(**found))
    assert text in str(caught.value)


def test_an_unreadable_key_is_named(tls_files: Any, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"keyfile .* cannot be read: Is a directory"):
        tls.make_context(config(certfile=tls_files.cert, keyfile=str(tmp_path)))


@pytest.mark.parametrize(
    ("error", "level", "reason"),
    [
        (TimeoutError("deadline"), "debug", "gone away"),
        (ssl.SSLEOFError(8, "EOF occurred"), "debug", "gone away"),
        (ConnectionResetError(104, "reset"), "debug", "gone away"),
        (ssl.SSLError(1, "wrong version number"), "warning", "wrong version number"),
    ],
)
def test_a_failed_handshake_is_news_when_the_client_is_still_there(error: OSError, level: str, reason: str) -> None:
    lines: list[tuple[str, str]] = []

    class Log:
        def __getattr__(self, name: str) -> Any:
            return lambda text, *args: lines.append((name, text % args))

    assert tls.report_handshake(Log(), "192.0.2.1", error) == (level == "warning")
    [(logged, line)] = lines
    assert logged == level
    assert "ip=192.0.2.1" in line
    assert reason in line
    assert not tls.speaks_plain_http(error)
