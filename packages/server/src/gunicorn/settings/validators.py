"""Validators: from what a user wrote (in Python or on a command line) to the value that the server uses.

Each takes the raw value and returns the final one, or raises TypeError or ValueError with the reason; who called adds
the name of the setting and where it was written. Public names are importable from ``gunicorn.config``.
"""

import grp
import inspect
import ipaddress
import os
import pwd
from collections.abc import Callable, Iterable
from typing import Any

from gunicorn import util


def validate_bool(val: Any) -> bool | None:
    if val is None:
        return None
    if isinstance(val, bool):
        return val
    if not isinstance(val, str):
        raise TypeError(f"not a boolean: {val!r}")
    text = val.strip().lower()
    if text in ("true", "1", "yes", "on"):
        return True
    if text in ("false", "0", "no", "off", ""):
        return False
    raise ValueError(f"not a boolean: {val!r}; write true or false")


def validate_pos_int(val: Any) -> int:
    if isinstance(val, str):
        val = auto_int(val)
    elif not isinstance(val, int):
        raise TypeError(f"not an integer: {val!r}")
    if val < 0:
        raise ValueError(f"must not be negative: {val}")
    return int(val)


def auto_int(text: str) -> int:
    """An integer in any of Python's notations, and octal with a leading zero, as modes and umasks are written."""
    text = text.strip()
    try:
        return int(text, 8 if len(text) > 1 and text[0] == "0" and text.isdigit() else 0)
    except ValueError:
        raise ValueError(f"not an integer: {text!r}") from None


def validate_string(val: Any) -> str | None:
    if val is None:
        return None
    if not isinstance(val, str):
        raise TypeError(f"not a string: {val!r}")
    return val.strip()


def validate_list_string(val: Any) -> list[str]:
    if not val:
        return []
    if isinstance(val, str):
        val = [val]
    if not isinstance(val, Iterable):
        raise TypeError(f"not a list of strings: {val!r}")
    return [text for text in map(validate_string, val) if text is not None]


def validate_string_to_list(val: Any) -> list[str]:
    """A list of strings, also written as one string with commas."""
    if isinstance(val, str):
        val = val.split(",")
    return [text for text in validate_list_string(val) if text]


def validate_string_to_addr_list(val: Any) -> list[str]:
    """Addresses and networks (CIDR) as the user wrote them, ``*`` for all; host bits in a network are an error."""
    addresses = validate_string_to_list(val)
    for address in addresses:
        if address != "*":
            ipaddress.ip_network(address)  # raises ValueError, and says which part is wrong
    return addresses


def validate_dict(val: Any) -> dict[Any, Any]:
    if not isinstance(val, dict):
        raise TypeError(f"not a dictionary: {val!r}")
    return val


def validate_class(val: Any) -> Any:
    """A class, a function or method that returns one, or a string that names one."""
    if inspect.isfunction(val) or inspect.ismethod(val):
        val = val()
    if inspect.isclass(val):
        return val
    return validate_string(val)


def validate_callable(arity: int) -> Callable[[Any], Any]:
    """A validator for hooks called with ``arity`` positional arguments (-1: any number); a string is imported."""

    def validate(val: Any) -> Any:
        if isinstance(val, str):
            module, _, name = val.strip().rpartition(".")
            if not module:
                raise TypeError(f"{val!r} is not 'module.function'")
            val = getattr(util.import_module(module), name, None)
        if not callable(val):
            raise TypeError(f"not callable: {val!r}")
        if arity != -1 and not _takes(val, arity):
            raise TypeError(f"a callable that takes {arity} arguments is needed, not {val!r}")
        return val

    return validate


def _takes(function: Callable[..., Any], arity: int) -> bool:
    try:
        inspect.signature(function).bind(*range(arity))
    except TypeError:
        return False
    except ValueError:  # no signature to be had: a builtin; trust the user
        return True
    return True


def validate_post_request(val: Any) -> Any:
    """The hook after a request: four arguments; older hooks that take the first two or three are adapted."""
    val = validate_callable(-1)(val)
    if _takes(val, 4):
        return val
    if _takes(val, 3):
        return lambda worker, req, environ, resp: val(worker, req, environ)
    if _takes(val, 2):
        return lambda worker, req, environ, resp: val(worker, req)
    raise TypeError(f"a callable that takes (worker, req, environ, resp) is needed, not {val!r}")


def validate_user(val: Any) -> int:
    """A user id; a user name is looked up."""
    if val is None:
        return os.geteuid()
    if isinstance(val, int):
        return val
    text = str(val).strip()
    if text.isdigit():
        return int(text)
    try:
        return pwd.getpwnam(text).pw_uid
    except KeyError:
        raise ValueError(f"no such user: {text!r}") from None


def validate_group(val: Any) -> int:
    """A group id; a group name is looked up."""
    if val is None:
        return os.getegid()
    if isinstance(val, int):
        return val
    text = str(val).strip()
    if text.isdigit():
        return int(text)
    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        raise ValueError(f"no such group: {text!r}") from None


def validate_statsd_address(val: Any) -> tuple[str, int] | str | None:
    """Host and port of a statsd server, or the path of its unix socket, which is written ``unix://PATH``."""
    if val is None or isinstance(val, tuple):
        return val
    text = validate_string(val) or ""
    if text.startswith("unix://"):
        path = text.removeprefix("unix://")
        if not path:
            raise ValueError(f"{val!r} has no path; write unix://PATH")
        return path
    try:
        address = util.parse_address(text, default_port=8125)
    except ValueError:
        address = ""
    if not isinstance(address, tuple) or not text:
        raise ValueError(f"{val!r} is neither HOST:PORT nor unix://PATH")
    return address


def validate_chdir(val: Any) -> str:
    """An existing directory, made absolute."""
    text = validate_string(val) or ""
    path = os.path.abspath(os.path.normpath(os.path.join(util.getcwd(), text)))
    if not os.path.isdir(path):
        raise ValueError(f"no such directory: {path!r}")
    return path


def one_of(*choices: str) -> Callable[[Any], str]:
    """A validator for one of a few words, in any case."""

    def validate(val: Any) -> str:
        text = (validate_string(val) or "").lower()
        if text not in choices:
            raise ValueError(f"{val!r} is none of: {', '.join(choices)}")
        return text

    return validate


validate_header_map_behaviour = one_of("drop", "refuse", "dangerous")
validate_reload_engine = one_of("auto", "poll", "inotify")
validate_asgi_loop = one_of("auto", "asyncio", "uvloop")
validate_asgi_lifespan = one_of("auto", "on", "off")


def validate_path(val: Any) -> str | None:
    """A path of URLs as clients send it, from the slash on."""
    text = validate_string(val)
    if text and (not text.startswith("/") or not text.isascii() or any(char in text for char in " ?#")):
        raise ValueError(f"{val!r} is not a path: it begins with / and has no query, space or non-ASCII character")
    return text or None


TLS_NEGOTIATED = 17  # ssl.PROTOCOL_TLS_SERVER; as a number, so that ssl need not be imported
_SSL_VERSIONS = {
    "TLS": TLS_NEGOTIATED,
    "TLS_SERVER": TLS_NEGOTIATED,
    "SSLV23": TLS_NEGOTIATED,  # what it was called before
    "2": TLS_NEGOTIATED,
    "17": TLS_NEGOTIATED,
    "TLSV1_2": 5,  # ssl.PROTOCOL_TLSv1_2
    "5": 5,
}


def validate_ssl_version(val: Any) -> int:
    """A protocol of the module ssl, by number or name: either the negotiated one, or TLS 1.2 alone."""
    if isinstance(val, bool) or not isinstance(val, int | str):
        raise TypeError(f"not a TLS version: {val!r}")
    text = str(int(val)) if isinstance(val, int) else val.strip().upper().removeprefix("PROTOCOL_")
    try:
        return _SSL_VERSIONS[text]
    except KeyError:
        raise ValueError(
            f"{val!r} is neither TLS nor TLSv1_2; older versions are not secure (RFC 8996), and for TLS 1.3 alone set "
            "minimum_version in the hook ssl_context"
        ) from None


def validate_cert_reqs(val: Any) -> int:
    """0, 1 or 2: the values of ssl.CERT_NONE, CERT_OPTIONAL and CERT_REQUIRED."""
    number = validate_pos_int(val)
    if number > 2:
        raise ValueError(f"{val!r} is none of: 0 (no certificate), 1 (optional), 2 (required)")
    return number


_BY_NAME: dict[str, Callable[[Any], Any]] = {
    "bool": validate_bool,
    "pos_int": validate_pos_int,
    "string": validate_string,
    "list_string": validate_list_string,
    "string_to_list": validate_string_to_list,
    "dict": validate_dict,
    "class": validate_class,
    "user": validate_user,
    "group": validate_group,
}


def by_name(name: str) -> Callable[[Any], Any]:
    """The validator that a declaration names: one of the table above, or ``callable:N`` for a hook of N arguments.

    :raises KeyError: for any other name.
    """
    if name.startswith("callable:"):
        return validate_callable(int(name.partition(":")[2]))
    return _BY_NAME[name]
