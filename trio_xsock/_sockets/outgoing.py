"""The beginning of a client's connection: a transport to the peer, encrypted if wanted."""

from __future__ import annotations

import socket as stdlib_socket
from collections.abc import Callable
from typing import NamedTuple

import trio

from trio_xsock._engine.connection import Connection
from trio_xsock._machines.endpoint import address_text, format_endpoint
from trio_xsock._machines.state import CLOSED, CONNECTING
from trio_xsock._network.dial import dial
from trio_xsock._network.foreign import ForeignNetwork
from trio_xsock._network.handshake import TLSSetup, shake_hands, wrap
from trio_xsock._network.one_route import Begun, begin, checkpoint_with
from trio_xsock._network.routes import Origin
from trio_xsock._network.transport import PlainTransport, Transport
from trio_xsock._values.errors import SocketError
from trio_xsock._values.typing import Address


class Target(NamedTuple):
    """What to connect to, and how."""

    address: str
    """The host name or IP address."""
    port: int
    origin: Origin
    """Where to connect from."""
    network: ForeignNetwork | None
    """A simulated network in place of the OS's; ``None`` for the OS."""
    setup: TLSSetup | None
    """The parameters of the handshake; ``None`` for no TLS."""


async def connect(connection: Connection, find_target: Callable[[], Target]) -> bool:
    """Connect, do the handshake, and announce the connection.

    Args:
        connection: one whose state is CONNECTING.
        find_target: returns the peer, or raises a ``SocketError``.

    Returns:
        Whether it was connected; False if the socket was closed meanwhile.

    Raises:
        SocketError: it is not possible; the attempt has failed with this error.

    Cancellation: the attempt has failed, and nothing is left over.
    """
    attempt = connection.attempt()
    try:
        await trio.lowlevel.checkpoint_if_cancelled()
        target = find_target()
        begun, reached = _begin(target)
        if reached is not None:  # no scope then, which would cost a twentieth of a connection
            await checkpoint_with(reached[0])
        else:
            with attempt.open_scope():
                reached = await _open(connection, target, begun)
        if reached is not None:
            _establish(connection, *reached)
    except SocketError as error:
        if connection.state is CONNECTING:
            connection.fail(error)
            raise
    finally:
        if connection.state is CONNECTING:  # cancelled
            connection.fail(None)
    if connection.state is CLOSED:
        await trio.lowlevel.checkpoint_if_cancelled()  # by the failure that closed the socket
        return False
    return True  # noqa: ASYNC910 - dialling is a checkpoint


def _begin(target: Target) -> tuple[Begun | None, tuple[Transport, tuple[str, int]] | None]:
    """Begin to connect; returns also what ``_open`` does if that is all that there is to do."""
    if target.network is not None or target.setup is not None:
        return None, None
    begun = begin(target.address, target.port, target.origin)
    sock = None if begun is None else begun.connected()
    if begun is None or sock is None:
        return begun, None
    return None, _dialled(sock, begun.route.target.address)


def _establish(connection: Connection, transport: Transport, peer: tuple[str, int]) -> None:
    """Continue with a connected transport, unless ``close()`` was called meanwhile."""
    if connection.state is not CONNECTING:
        transport.close()
        return
    delivery = connection.delivery
    delivery.held = True  # handlers are called when the socket's connect() returns, not by a task
    try:
        connection.open(transport, peer)
        connection.announce()
    finally:
        delivery.held = False


async def _open(
    connection: Connection, target: Target, begun: Begun | None
) -> tuple[Transport, tuple[str, int]]:
    """A transport that is ready for use, and the peer."""
    transport, peer = await _reach(target, begun)
    if target.setup is None:
        return transport, peer
    keeper = connection.delivery.require_keeper()
    endpoint = format_endpoint(target.address, target.port)
    encrypted = wrap(transport, target.setup, endpoint)
    connection.link.begin_handshake()
    try:
        await shake_hands(keeper, encrypted, target.setup, endpoint)
    finally:
        connection.link.end_handshake()
    return encrypted, peer


async def _reach(target: Target, begun: Begun | None) -> tuple[Transport, tuple[str, int]]:
    """A connected transport, and the peer."""
    address, port, origin, network, _ = target
    if network is not None:
        return await network.connect(address, port, origin)
    reached: list[Address] = []
    sock = await dial(address, port, origin=origin, reached=reached.append, begun=begun)
    return _dialled(sock, reached[-1])


def _dialled(sock: stdlib_socket.socket, peer: Address) -> tuple[Transport, tuple[str, int]]:
    # The peer may have reset it since; earlier input can be read, and then the loss is seen.
    return PlainTransport.dialled(sock), (address_text(peer), peer[1])
