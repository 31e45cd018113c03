"""``connect_tcp`` and ``connect_ssl``: a socket's block and ``connect()`` in one."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Unpack

from .constructing import SSLOptions, TCPOptions
from .ssl import SSLSocket
from .tcp import TCPSocket


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
        NameResolutionError, ConnectError, AddressInUseError, OpenDriverError,
        OutOfMemoryError: as for ``TCPSocket.connect``; nothing is left over.

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
