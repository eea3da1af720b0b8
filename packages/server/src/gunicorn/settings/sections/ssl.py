"""Settings of TLS; ``gunicorn.tls`` honours them. TLS is on when ``certfile`` (or ``keyfile``) is set."""

from gunicorn.settings import validators
from gunicorn.settings.declaration import Declaration

SECTION = "SSL"

SETTINGS: tuple[Declaration, ...] = (
    {
        "name": "keyfile",
        "section": SECTION,
        "cli": ("--keyfile",),
        "meta": "FILE",
        "validator": "string",
        "default": None,
        "desc": "The private key of certfile, in PEM form; not needed when it stands in certfile too.",
    },
    {
        "name": "certfile",
        "section": SECTION,
        "cli": ("--certfile",),
        "meta": "FILE",
        "validator": "string",
        "default": None,
        "desc": """\
            The certificate, in PEM form, followed by those between it and its authority's root. It turns TLS on.

            The master reads it, so that only it needs the right to; HUP reads it again.
            """,
    },
    {
        "name": "ssl_version",
        "section": SECTION,
        "cli": ("--ssl-version",),
        "validator": validators.validate_ssl_version,
        "default": validators.TLS_NEGOTIATED,
        "desc": """\
            TLS (the newest version that the client knows, at least 1.2) or TLSv1_2 (that one alone).

            For anything else make a context in the hook ssl_context.
            """,
    },
    {
        "name": "cert_reqs",
        "section": SECTION,
        "cli": ("--cert-reqs",),
        "validator": validators.validate_cert_reqs,
        "default": 0,
        "desc": """\
            Whether clients show a certificate: 0 they are not asked, 1 they may, 2 they must (as ssl.CERT_REQUIRED).

            What they show must come from an authority of ca_certs.
            """,
    },
    {
        "name": "ca_certs",
        "section": SECTION,
        "cli": ("--ca-certs",),
        "meta": "FILE",
        "validator": "string",
        "default": None,
        "desc": "The certificates of the authorities that may have issued those of clients, in PEM form.",
    },
    {
        "name": "suppress_ragged_eofs",
        "section": SECTION,
        "cli": ("--suppress-ragged-eofs",),
        "action": "store_true",
        "validator": "bool",
        "default": True,
        "desc": """\
            Take the end of a connection without TLS's own goodbye for an orderly one, as many clients go so.

            When false, such a connection is cut off at once, requests of it that are complete included.
            """,
    },
    {
        "name": "do_handshake_on_connect",
        "section": SECTION,
        "cli": ("--do-handshake-on-connect",),
        "action": "store_true",
        "validator": "bool",
        "default": False,
        "desc": """\
            Begin the handshake as soon as a connection is accepted, not when its first bytes have come.

            A handshake never makes other connections wait, whatever this says.
            """,
    },
    {
        "name": "ciphers",
        "section": SECTION,
        "cli": ("--ciphers",),
        "validator": "string",
        "default": None,
        "desc": "The ciphers to allow with TLS 1.2, as `openssl ciphers` takes them; else the library's choice.",
    },
)
