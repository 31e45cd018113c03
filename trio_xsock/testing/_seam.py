"""Where the testing tools reach into a socket; nowhere else do they."""

from __future__ import annotations

from trio_xsock._machines.state import SocketState
from trio_xsock._network.foreign import ForeignNetwork
from trio_xsock._network.transport import Transport
from trio_xsock._network.udp_port import Opener
from trio_xsock._server.server import ServerSocket
from trio_xsock._sockets.connected import ConnectedSocket
from trio_xsock._sockets.datagram_socket import DatagramSocket
from trio_xsock._sockets.easy_udp import EasyUDPSocket
from trio_xsock._sockets.tcp import TCPSocket
from trio_xsock._sockets.udp import UDPSocket
from trio_xsock._values.errors import InvalidStateError


def take_over(sock: TCPSocket, transport: Transport) -> None:
    """Let a socket, closed and in its block, be connected by way of ``transport``."""
    sock._take_over(transport, transport.getpeername())  # pyright: ignore[reportPrivateUsage]


def transport_of(sock: TCPSocket) -> Transport:
    """What moves the socket's bytes now.

    Raises:
        TypeError: not a ``TCPSocket``.
        InvalidStateError: not connected.
    """
    if not isinstance(sock, TCPSocket):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"sock must be a TCPSocket, not {type(sock).__name__}")
    transport = sock._connection.transport  # pyright: ignore[reportPrivateUsage]
    if transport is None:
        raise InvalidStateError(f"{sock!r}: not connected; a fault is one of a connection")
    return transport


def replace_transport(sock: TCPSocket, transport: Transport) -> None:
    """Let a connected socket go on by way of ``transport``."""
    sock._connection.swap(transport)  # pyright: ignore[reportPrivateUsage]


def use_network(sock: object, network: ForeignNetwork) -> None:
    """Let a socket or a server, closed, connect and listen in a network from now on.

    Raises:
        TypeError: neither a socket with a connection nor a server.
        InvalidStateError: it is open.
    """
    if not isinstance(sock, ServerSocket | ConnectedSocket):
        kind = type(sock).__name__
        raise TypeError(f"sock must be a TCP socket or a ServerSocket, not {kind}")
    if isinstance(sock, ConnectedSocket):
        is_open = sock.state is not SocketState.CLOSED
    else:
        is_open = sock.is_listening
    if is_open:
        raise InvalidStateError(f"{sock!r}: it is open already; close it first")
    if isinstance(sock, ConnectedSocket):
        sock._network = network  # pyright: ignore[reportPrivateUsage]
    else:
        sock._binding.use_network(network)  # pyright: ignore[reportPrivateUsage]


def use_ports_of(sock: UDPSocket | EasyUDPSocket, opener: Opener) -> None:
    """Let a socket, closed, be bound to ports of another kind from now on.

    Raises:
        TypeError: neither a ``UDPSocket`` nor an ``EasyUDPSocket``.
        InvalidStateError: it is bound.
    """
    if not isinstance(sock, DatagramSocket):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"sock must be a UDPSocket or an EasyUDPSocket, not {type(sock).__name__}")
    if sock.is_connected:
        raise InvalidStateError(f"{sock!r}: it is bound already; close() it first")
    sock._datagrams.open_by(opener)  # pyright: ignore[reportPrivateUsage]
