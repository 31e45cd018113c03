"""The common part of the constructors of the TCP sockets: the check of their options.

Their signatures are written out, for readers, editors and type checkers; a constructor passes its
arguments as its ``locals()``.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypedDict, cast

from trio_xsock._engine.security import Security
from trio_xsock._network.interface import NetworkInterface
from trio_xsock._network.tls_options import Path
from trio_xsock._runtime.channel import EventChannel
from trio_xsock._values.connection_types import SSLConnectionTypes


class TCPOptions(TypedDict, total=False):
    """The options of a ``TCPSocket``; see there."""

    handler: object
    events: EventChannel | None
    network_interface: NetworkInterface | None
    bind_address: str
    bind_port: int
    receive_buffer_limit: int
    send_buffer_limit: int
    progress_interval: int
    allow_half_close: bool | None
    keepalive: tuple[int, int, int] | None
    unacknowledged_timeout: float | None
    idle_timeout: float | None


class SSLOptions(TCPOptions, total=False):
    """The options of a ``SSLSocket``; see there."""

    ssl_enabled: bool
    ssl_connection_type: SSLConnectionTypes | int
    ca_file: Path | None
    certificate_file: Path | None
    certificate_password: str
    certificate_rejection_file: Path | None
    require_client_certificate: bool
    server_hostname: str | None
    alpn_protocols: Sequence[str]
    ssl_context: ssl.SSLContext | None
    verify: bool
    handshake_timeout: float
    https_compatible: bool


_OF_TCP: Final = tuple(TCPOptions.__annotations__)

_OF_SECURITY: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ssl_connection_type": "connection_type",
        "ca_file": "ca_file",
        "certificate_file": "certificate_file",
        "certificate_password": "certificate_password",
        "certificate_rejection_file": "rejection_file",
        "require_client_certificate": "require_client_certificate",
        "server_hostname": "server_hostname",
        "alpn_protocols": "alpn_protocols",
        "verify": "verify",
        "handshake_timeout": "handshake_timeout",
        "https_compatible": "https_compatible",
    }
)
"""The options about TLS, and their names in ``Security``."""


def tcp_options(given: Mapping[str, Any]) -> TCPOptions:
    """Those of the arguments that are options of every TCP socket."""
    return cast("TCPOptions", dict(zip(_OF_TCP, map(given.__getitem__, _OF_TCP), strict=True)))


def security(given: Mapping[str, Any], *, enabled: object) -> Security:
    """The arguments about TLS.

    Args:
        given: the arguments.
        enabled: whether connections are encrypted from their beginning on.

    Raises:
        TypeError, ValueError: one is of a wrong type, or out of its range; or there is a
            context together with options that it replaces.
    """
    options = zip(_OF_SECURITY.values(), map(given.__getitem__, _OF_SECURITY), strict=True)
    return Security(given["ssl_context"], enabled=enabled, **dict(options))
