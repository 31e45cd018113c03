"""Where the testing tools reach into a socket; nowhere else do they."""

from __future__ import annotations

import socket as stdlib_socket
from typing import cast

from trio_xsock._network.udp_port import Opener
from trio_xsock._sockets.tcp import TCPSocket
from trio_xsock._sockets.udp import UDPSocket
from trio_xsock._values.errors import InvalidStateError

from ._faulty import FaultyTransport, Inner


def take_over(sock: TCPSocket, transport: Inner) -> None:
    """Let a socket, closed and in its block, be connected by way of ``transport``."""
    sock._take_over(_as_socket(transport))  # pyright: ignore[reportPrivateUsage]


def transport_of(sock: TCPSocket) -> Inner | FaultyTransport:
    """What moves the socket's bytes now.

    Raises:
        TypeError: not a ``TCPSocket``.
        InvalidStateError: not connected.
    """
    if not isinstance(sock, TCPSocket):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"sock must be a TCPSocket, not {type(sock).__name__}")
    transport = sock._transport  # pyright: ignore[reportPrivateUsage]
    if transport is None:
        raise InvalidStateError(f"{sock!r}: not connected; a fault is one of a connection")
    return cast("Inner | FaultyTransport", transport)


def replace_transport(sock: TCPSocket, transport: Inner | FaultyTransport) -> None:
    """Let a connected socket go on by way of ``transport``."""
    sock._replace_transport(_as_socket(transport))  # pyright: ignore[reportPrivateUsage]


def _as_socket(transport: object) -> stdlib_socket.socket:
    """Sockets are written for the standard library's; ours have what of it they use."""
    return cast("stdlib_socket.socket", transport)


def use_ports_of(sock: UDPSocket, opener: Opener) -> None:
    """Let a socket, closed, be bound to ports of another kind from now on.

    Raises:
        TypeError: not a ``UDPSocket``.
        InvalidStateError: it is bound.
    """
    if not isinstance(sock, UDPSocket):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"sock must be a UDPSocket, not {type(sock).__name__}")
    if sock.is_connected:
        raise InvalidStateError(f"{sock!r}: it is bound already; close() it first")
    sock._opener = opener  # pyright: ignore[reportPrivateUsage]
