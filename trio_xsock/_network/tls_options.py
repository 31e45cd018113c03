"""The options of TLS as values, and their checks."""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias, cast

from trio_xsock._values.connection_types import SSLConnectionTypes

from .options import check_bool

Path: TypeAlias = str | os.PathLike[str]
"""The path of a file."""

_LONGEST_PROTOCOL = 255


class TLSOptions(NamedTuple):
    """The options of a context; see ``SSLSocket`` for the meaning of each."""

    connection_type: SSLConnectionTypes = SSLConnectionTypes.SSLv23
    ca_file: str | None = None
    certificate_file: str | None = None
    certificate_password: str = ""
    require_client_certificate: bool = False
    alpn_protocols: tuple[str, ...] = ()
    verify: bool = True


def checked_options(
    connection_type: Any,
    ca_file: Any,
    certificate_file: Any,
    certificate_password: Any,
    require_client_certificate: Any,
    alpn_protocols: Any,
    verify: Any,
) -> TLSOptions:
    """Check the types and ranges of options.

    Raises:
        TypeError, ValueError: one of them is of a wrong type, or out of its range.
    """
    return TLSOptions(
        check_connection_type(connection_type),
        check_path("ca_file", ca_file),
        check_path("certificate_file", certificate_file),
        check_password(certificate_password),
        check_bool("require_client_certificate", require_client_certificate),
        check_protocols(alpn_protocols),
        check_bool("verify", verify),
    )


def check_connection_type(kind: Any) -> SSLConnectionTypes:
    """One of the types, or Xojo's number of it."""
    if isinstance(kind, SSLConnectionTypes):
        return kind
    if not isinstance(kind, int) or isinstance(kind, bool):
        name = type(kind).__name__
        raise TypeError(f"ssl_connection_type must be one of SSLConnectionTypes, not {name}")
    try:
        return SSLConnectionTypes(kind)
    except ValueError:
        text = f"ssl_connection_type must be one of SSLConnectionTypes, not {kind}"
        raise ValueError(text) from None


def check_path(name: str, path: Any) -> str | None:
    """The path of a file, or ``None``."""
    if path is None:
        return None
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"{name} must be a path or None, not {type(path).__name__}")
    return os.fsdecode(cast("Path", path))


def check_password(password: Any) -> str:
    """Text; empty for none."""
    if isinstance(password, str):
        return password
    raise TypeError(f"certificate_password must be a str, not {type(password).__name__}")


def check_protocols(protocols: Any) -> tuple[str, ...]:
    """Names of protocols, for ALPN (RFC 7301, 3.1): of 1 to 255 bytes."""
    given: object = protocols
    if isinstance(given, str | bytes) or not isinstance(given, Sequence):
        raise TypeError(f"alpn_protocols must be a sequence of str, not {given!r}")
    names: tuple[Any, ...] = tuple(protocols)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"alpn_protocols must be a sequence of str, not of {name!r}")
        if not (name.isascii() and 0 < len(name) <= _LONGEST_PROTOCOL):
            raise ValueError(f"alpn_protocols: a name has 1 to 255 ASCII characters, not {name!r}")
    return names


def check_hostname(name: Any) -> str | None:
    """A host name or an IP address, or ``None``; whether it is valid is checked on connecting."""
    if name is None or isinstance(name, str):
        return name
    raise TypeError(f"server_hostname must be a str or None, not {type(name).__name__}")


def check_context(context: Any, options: TLSOptions) -> ssl.SSLContext | None:
    """A context of the user's own, or ``None``.

    Raises:
        TypeError: neither.
        ValueError: there are other options too, which the context would silently overrule.
    """
    if context is None:
        return None
    if not isinstance(context, ssl.SSLContext):
        raise TypeError(f"ssl_context must be an ssl.SSLContext, not {type(context).__name__}")
    if options != TLSOptions():
        text = "with an ssl_context of your own, set certificates, versions and checks in that"
        raise ValueError(text)
    return context
