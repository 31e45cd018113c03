"""The attributes of ``SSLSocket`` and ``EasyTCPSocket`` that are about TLS: options and facts.

Both classes name them one by one, since they have no base in common that could have them.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Any

from trio_xsock._engine.connection import Connection
from trio_xsock._machines.state import CLOSING, CONNECTED
from trio_xsock._machines.tls import TLSEngine
from trio_xsock._values.connection_types import SSLConnectionTypes

from .tls_option import PathOption, TLSFact, TLSOption

# Options

ssl_connection_type: TLSOption[SSLConnectionTypes, SSLConnectionTypes | int] = TLSOption(
    "connection_type", "Which versions of TLS may be used. Xojo: ``SSLConnectionType``."
)
ca_file: PathOption = TLSOption(
    "ca_file", "The PEM file of the authorities to trust; ``None`` for the system's."
)
certificate_file: PathOption = TLSOption(
    "certificate_file", "The PEM file of our certificate and key. Xojo: ``CertificateFile``."
)
certificate_password: TLSOption[str, str] = TLSOption(
    "certificate_password",
    "Of the key in ``certificate_file``. Xojo: ``CertificatePassword``.",
)
require_client_certificate: TLSOption[bool, bool] = TLSOption(
    "require_client_certificate",
    "Of a server: whether clients have to show a certificate.",
)
alpn_protocols: TLSOption[tuple[str, ...], Sequence[str]] = TLSOption(
    "alpn_protocols", "The application protocols to offer, the preferred one first."
)
verify: TLSOption[bool, bool] = TLSOption("verify", "Of a client: whether the server is verified.")
ssl_context: TLSOption[ssl.SSLContext | None, ssl.SSLContext | None] = TLSOption(
    "context",
    """A context of your own, in place of the seven options above.

    Raises (assignment):
        ValueError: one of them is set.
        TypeError: not an ``ssl.SSLContext``.
    """,
)
certificate_rejection_file: PathOption = TLSOption(
    "rejection_file",
    """The PEM file of certificates to refuse. Xojo: ``CertificateRejectionFile``.

    They are compared as they are: the peer's own, from Python 3.13 on also those that lead
    to its authority.
    """,
)
server_hostname: TLSOption[str | None, str | None] = TLSOption(
    "server_hostname", "Whom to ask for and to expect; ``None`` for ``address``."
)
handshake_timeout: TLSOption[float, float] = TLSOption(
    "handshake_timeout", "Seconds that the handshake may take."
)
https_compatible: TLSOption[bool, bool] = TLSOption(
    "https_compatible",
    "Whether the end of the connection is taken for the end of the stream.",
)

# Facts


@TLSFact
def ssl_connecting(connection: Connection) -> bool:
    """The handshake is going on. Xojo: ``SSLConnecting``."""
    return connection.link.securing


@TLSFact
def ssl_connected(connection: Connection) -> bool:
    """The connection is up and encrypted. Xojo: ``SSLConnected``."""
    return encryption_of(connection) is not None and connection.state in (CONNECTED, CLOSING)


@TLSFact
def tls_version(connection: Connection) -> str | None:
    """The version of TLS in use, such as ``"TLSv1.3"``; ``None`` without TLS."""
    engine = encryption_of(connection)
    return engine.version if engine is not None else None


@TLSFact
def cipher(connection: Connection) -> str | None:
    """The name of the cipher suite in use; ``None`` without TLS."""
    engine = encryption_of(connection)
    return engine.cipher if engine is not None else None


@TLSFact
def selected_alpn_protocol(connection: Connection) -> str | None:
    """The application protocol that ALPN has selected, or ``None``."""
    engine = encryption_of(connection)
    return engine.alpn_protocol if engine is not None else None


@TLSFact
def peer_certificate(connection: Connection) -> dict[str, Any] | None:
    """The peer's certificate, as ``ssl.SSLSocket.getpeercert`` describes it.

    ``None`` if there is none, or no TLS; empty if there is one that was not verified.
    """
    engine = encryption_of(connection)
    return engine.peer_certificate if engine is not None else None


@TLSFact
def peer_certificate_der(connection: Connection) -> bytes | None:
    """The peer's certificate in DER, whether or not it was verified; ``None`` if none."""
    engine = encryption_of(connection)
    return engine.peer_certificate_der if engine is not None else None


def encryption_of(connection: Connection) -> TLSEngine | None:
    """The TLS engine of a connection; ``None`` without TLS, and until the handshake is done."""
    transport = connection.transport
    return None if transport is None or connection.link.securing else transport.encryption
