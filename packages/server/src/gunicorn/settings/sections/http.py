"""Settings of reading requests: limits, and how strict and how trusting the HTTP layer is."""

from gunicorn.settings import validators
from gunicorn.settings.declaration import Declaration

SECURITY = "Security"
MECHANICS = "Server Mechanics"

SETTINGS: tuple[Declaration, ...] = (
    {
        "name": "limit_request_line",
        "section": SECURITY,
        "cli": ("--limit-request-line",),
        "meta": "INT",
        "validator": "pos_int",
        "type": int,
        "default": 4094,
        "desc": "The longest request line in bytes; 0 for no limit.",
    },
    {
        "name": "limit_request_fields",
        "section": SECURITY,
        "cli": ("--limit-request-fields",),
        "meta": "INT",
        "validator": "pos_int",
        "type": int,
        "default": 100,
        "desc": "The largest number of header fields in a request.",
    },
    {
        "name": "limit_request_field_size",
        "section": SECURITY,
        "cli": ("--limit-request-field_size",),
        "meta": "INT",
        "validator": "pos_int",
        "type": int,
        "default": 8190,
        "desc": "The longest header field of a request in bytes; 0 for no limit.",
    },
    {
        "name": "secure_scheme_headers",
        "section": MECHANICS,
        "validator": "dict",
        "default": {"X-FORWARDED-PROTOCOL": "ssl", "X-FORWARDED-PROTO": "https", "X-FORWARDED-SSL": "on"},
        "desc": """\
            Header fields, with their values, by which a trusted proxy says that its client came by HTTPS.

            They set wsgi.url_scheme, and are believed from the addresses in forwarded_allow_ips alone. Values that
            contradict each other are an error of the request.
            """,
    },
    {
        "name": "forwarded_allow_ips",
        "section": MECHANICS,
        "cli": ("--forwarded-allow-ips",),
        "meta": "STRING",
        "validator": validators.validate_string_to_addr_list,
        "default": "127.0.0.1,::1",
        "env": "FORWARDED_ALLOW_IPS",
        "desc": """\
            Addresses and networks of the proxies that are trusted, separated by commas; * trusts everybody.

            The environment variable FORWARDED_ALLOW_IPS gives the default. Clients on unix sockets are trusted.
            """,
    },
    {
        "name": "forwarder_headers",
        "section": MECHANICS,
        "cli": ("--forwarder-headers",),
        "validator": validators.validate_string_to_list,
        "default": "SCRIPT_NAME,PATH_INFO",
        "desc": "Names of header fields that a trusted proxy may use to set the variables of the same name.",
    },
    {
        "name": "header_map",
        "section": MECHANICS,
        "cli": ("--header-map",),
        "validator": validators.validate_header_map_behaviour,
        "default": "drop",
        "desc": """\
            What to do with header fields whose names are ambiguous as variables (with _): drop, refuse, dangerous.
            """,
    },
    {
        "name": "strip_header_spaces",
        "section": MECHANICS,
        "cli": ("--strip-header-spaces",),
        "action": "store_true",
        "validator": "bool",
        "default": False,
        "desc": "Accept white space between a header field's name and the colon. Unsafe: it allows request smuggling.",
    },
    {
        "name": "permit_obsolete_folding",
        "section": MECHANICS,
        "cli": ("--permit-obsolete-folding",),
        "action": "store_true",
        "validator": "bool",
        "default": False,
        "desc": "Accept header fields folded over several lines, as RFC 9112 forbids. Unsafe.",
    },
    {
        "name": "permit_unconventional_http_method",
        "section": MECHANICS,
        "cli": ("--permit-unconventional-http-method",),
        "action": "store_true",
        "validator": "bool",
        "default": False,
        "desc": "Accept methods that nobody registered, such as ones with lower case letters. Unsafe.",
    },
    {
        "name": "permit_unconventional_http_version",
        "section": MECHANICS,
        "cli": ("--permit-unconventional-http-version",),
        "action": "store_true",
        "validator": "bool",
        "default": False,
        "desc": "Accept versions of HTTP other than 1.0 and 1.1 in a request line. Unsafe.",
    },
    {
        "name": "casefold_http_method",
        "section": MECHANICS,
        "cli": ("--casefold-http-method",),
        "action": "store_true",
        "validator": "bool",
        "default": False,
        "desc": "Turn methods into upper case. Unsafe: methods are case-sensitive (RFC 9110, 9.1).",
    },
    {
        "name": "root_path",
        "section": MECHANICS,
        "cli": ("--root-path",),
        "meta": "STRING",
        "validator": "string",
        "default": "",
        "desc": "The path under which a proxy shows the application: root_path of ASGI, SCRIPT_NAME of WSGI.",
    },
)
