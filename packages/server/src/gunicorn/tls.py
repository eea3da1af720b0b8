"""TLS: from the settings of the section SSL to a context.

Called through ``gunicorn.sock.ssl_context``, by the master before it forks workers, which use what it has made; and by
drivers, for what an application is told of its connection, and the log of a handshake that failed.

Not imported while TLS is off, so that ``ssl`` and its library are not either.
"""

from __future__ import annotations

import ssl
from typing import Any, Final, NoReturn

from gunicorn.errors import SettingError

ALPN: Final = ["http/1.1"]


def make_context(cfg: Any) -> ssl.SSLContext:
    """The server's context that the settings ask for: the hook ``ssl_context`` may replace or change the default one.

    :raises ConfigError: which names the setting and the file.
    """

    def default() -> ssl.SSLContext:
        return default_context(cfg)

    context = cfg.settings["ssl_context"].get()(cfg, default)
    if not isinstance(context, ssl.SSLContext):
        raise SettingError("ssl_context", f"the hook ssl_context returned {context!r}, not an ssl.SSLContext")
    return context


def default_context(cfg: Any) -> ssl.SSLContext:
    """What the hook gets from its factory. TLS 1.2 or newer, no renegotiation, the library's choice of ciphers."""
    if not cfg.certfile:
        raise SettingError("certfile", f"keyfile is {cfg.keyfile!r}, but no certfile is set: TLS needs a certificate")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cfg.ssl_version == ssl.PROTOCOL_TLSv1_2:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_COMPRESSION
    ignore = getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", ssl.Options(0))  # OpenSSL 1 ignores it anyway
    context.options = context.options | ignore if cfg.suppress_ragged_eofs else context.options & ~ignore
    context.set_alpn_protocols(ALPN)
    if cfg.ciphers:
        try:
            context.set_ciphers(cfg.ciphers)
        except ssl.SSLError as exc:
            raise SettingError("ciphers", f"ciphers: {cfg.ciphers!r} selects no cipher (see openssl ciphers)") from exc
    _load_certificate(context, cfg)
    _load_authorities(context, cfg)
    return context


def _load_certificate(context: ssl.SSLContext, cfg: Any) -> None:
    _check_readable("certfile", cfg.certfile)
    if cfg.keyfile:
        _check_readable("keyfile", cfg.keyfile)
    named = f"certfile {cfg.certfile!r}" + (f" with keyfile {cfg.keyfile!r}" if cfg.keyfile else "")

    def password() -> NoReturn:
        raise SettingError(
            "keyfile",
            f"{named}: the key is encrypted, and nobody can be asked for its password; "
            "decrypt it, or load it in the hook ssl_context",
        )

    try:
        context.load_cert_chain(cfg.certfile, cfg.keyfile, password)
    except ssl.SSLError as exc:
        hint = "" if cfg.keyfile else "; without keyfile it must contain the private key too"
        raise SettingError("certfile", f"{named} cannot be used: {_reason(exc)}{hint}") from exc


def _load_authorities(context: ssl.SSLContext, cfg: Any) -> None:
    if cfg.ca_certs:
        _check_readable("ca_certs", cfg.ca_certs)
        try:
            context.load_verify_locations(cafile=cfg.ca_certs)
        except ssl.SSLError as exc:
            raise SettingError("ca_certs", f"ca_certs {cfg.ca_certs!r} cannot be used: {_reason(exc)}") from exc
    elif cfg.cert_reqs != ssl.CERT_NONE and cfg.own_hook("ssl_context") is None:
        raise SettingError(
            "cert_reqs",
            f"cert_reqs {cfg.cert_reqs} asks for certificates of clients, but ca_certs names no authorities that may "
            "have issued them",
        )
    context.verify_mode = ssl.VerifyMode(cfg.cert_reqs)


def _check_readable(setting: str, path: str) -> None:
    """The library's own errors do not name the file."""
    try:
        with open(path, "rb"):
            pass
    except OSError as exc:
        raise SettingError(setting, f"{setting} {path!r} cannot be read: {exc.strerror}") from exc


def _reason(exc: ssl.SSLError) -> str:
    """``key values mismatch`` of ``[SSL: KEY_VALUES_MISMATCH] key values mismatch (_ssl.c:3926)``."""
    return str(exc).partition("] ")[2].partition(" (_ssl")[0].lower() or str(exc)


def speaks_plain_http(error: OSError) -> bool:
    """Whether a handshake failed with *error* because the client has sent HTTP where TLS is spoken."""
    return isinstance(error, ssl.SSLError) and getattr(error, "reason", None) == "HTTP_REQUEST"  # loops make some bare


def report_handshake(log: Any, host: str, error: BaseException) -> bool:
    """Log that the handshake with *host* failed; whether the client is still there, and it was its mistake.

    One that has gone away, or took too long (TimeoutError), is no news.
    """
    if not isinstance(error, ssl.SSLError) or isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        log.debug("The client ip=%s has gone away in the TLS handshake: %s", host, error)
        return False
    reason = "it is plain HTTP" if speaks_plain_http(error) else error
    log.warning("Invalid TLS handshake from ip=%s: %s", host, reason)
    return True


def connection_variables(sock: Any) -> dict[str, str]:
    """What the environ of a WSGI request says of its TLS connection, under the names of Apache's mod_ssl.

    *sock* is an ``ssl.SSLSocket`` or ``ssl.SSLObject`` after its handshake. The certificate of the client, if it has
    shown one (and then it was verified), is in ``SSL_CLIENT_CERT`` in PEM form.
    """
    cipher = sock.cipher()
    variables = {"HTTPS": "on", "SSL_PROTOCOL": sock.version() or "", "SSL_CIPHER": cipher[0] if cipher else ""}
    certificate = sock.getpeercert(binary_form=True)
    variables["SSL_CLIENT_VERIFY"] = "SUCCESS" if certificate else "NONE"
    if certificate:
        variables["SSL_CLIENT_CERT"] = ssl.DER_cert_to_PEM_cert(certificate)
    return variables
