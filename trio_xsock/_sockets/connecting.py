"""``connect_tcp`` and ``connect_ssl``: a socket's block and ``connect()`` in one."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TypedDict, Unpack

from trio_xsock._network.interface import NetworkInterface
from trio_xsock._network.tls_options import Path
from trio_xsock._runtime.channel import EventChannel
from trio_xsock._values.connection_types import SSLConnectionTypes

from .ssl import SSLSocket
from .tcp import TCPSocket


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


@asynccontextmanager
async def connect_tcp(
    host: str, port: int, **options: Unpack[TCPOptions]
) -> AsyncGenerator[TCPSocket, None]:
    """A block with a connected ``TCPSocket``: making it and ``connect()`` in one.

    ::

        async with connect_tcp("example.org", 7) as sock:
            await sock.send_all(b"hello")

    Leaving the block closes the socket as leaving ``async with sock`` does: gracefully, or at
    once after an exception or a cancellation. The body's exception is not wrapped.

    Args:
        host: the host name or IP address to reach.
        port: the port to reach, 1..65535.
        options: those of ``TCPSocket``.

    Raises (entering the block):
        TypeError, ValueError, InvalidPortError: an option is of a wrong type, or out of range.
        NameResolutionError, ConnectError, AddressInUseError, OpenDriverError, OutOfMemoryError:
            as for ``TCPSocket.connect``; nothing is left over.

    Cancellation: nothing is left over.
    Events: as for ``TCPSocket.connect``. Xojo has no counterpart.
    """
    async with TCPSocket(host, port, **options) as sock:
        await sock.connect()
        yield sock


@asynccontextmanager
async def connect_ssl(
    host: str, port: int, **options: Unpack[SSLOptions]
) -> AsyncGenerator[SSLSocket, None]:
    """A block with a connected ``SSLSocket``, whose server is verified.

    ::

        async with connect_ssl("example.org", 443, alpn_protocols=["http/1.1"]) as sock:
            await sock.send_all(b"...")

    Args:
        host: the host name or IP address to reach.
        port: the port to reach, 1..65535.
        options: those of ``SSLSocket``.

    Raises (entering the block):
        TLSError: the handshake failed, or the server's certificate is not valid for ``host``.
        TypeError, ValueError, SocketError: as for ``connect_tcp``.

    Cancellation: nothing is left over.
    Events: as for ``SSLSocket.connect``. Xojo has no counterpart.
    """
    async with SSLSocket(host, port, **options) as sock:
        await sock.connect()
        yield sock
