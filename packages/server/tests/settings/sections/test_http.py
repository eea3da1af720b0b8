"""The settings of reading requests: names, flags and defaults are what people's command lines and files rely on."""

from gunicorn.settings.sections import http

EXPECTED: dict[str, tuple[str, object]] = {
    "limit_request_line": ("--limit-request-line", 4094),
    "limit_request_fields": ("--limit-request-fields", 100),
    "limit_request_field_size": ("--limit-request-field_size", 8190),
    "secure_scheme_headers": (
        "",
        {"X-FORWARDED-PROTOCOL": "ssl", "X-FORWARDED-PROTO": "https", "X-FORWARDED-SSL": "on"},
    ),
    "forwarded_allow_ips": ("--forwarded-allow-ips", "127.0.0.1,::1"),
    "forwarder_headers": ("--forwarder-headers", "SCRIPT_NAME,PATH_INFO"),
    "header_map": ("--header-map", "drop"),
    "strip_header_spaces": ("--strip-header-spaces", False),
    "permit_obsolete_folding": ("--permit-obsolete-folding", False),
    "permit_unconventional_http_method": ("--permit-unconventional-http-method", False),
    "permit_unconventional_http_version": ("--permit-unconventional-http-version", False),
    "casefold_http_method": ("--casefold-http-method", False),
    "root_path": ("--root-path", ""),
}


def test_names_flags_and_defaults() -> None:
    declared = {item["name"]: (" ".join(item.get("cli", ())), item["default"]) for item in http.SETTINGS}
    assert declared == EXPECTED


def test_each_has_a_line_of_help() -> None:
    for item in http.SETTINGS:
        assert item["desc"].strip().splitlines()[0].rstrip().endswith("."), item["name"]
