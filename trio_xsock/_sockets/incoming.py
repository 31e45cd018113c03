"""``Incoming``: the beginning of a connection that the peer, or other code, has opened.

It listens for the peer, or takes over a transport. With TLS, the handshake comes before the
connection is announced. A server's connections begin in the server, see ``_server.admission``.
"""

from __future__ import annotations

import math
import socket as stdlib_socket
from collections.abc import Sequence
from typing import Any

import trio

from trio_xsock._engine.connection import Connection
from trio_xsock._engine.losing import lose
from trio_xsock._engine.security import Security
from trio_xsock._machines.endpoint import address_text
from trio_xsock._machines.state import LISTENING
from trio_xsock._network.acceptor import Acceptor
from trio_xsock._network.foreign import ForeignNetwork, Listener
from trio_xsock._network.interface import NetworkInterface
from trio_xsock._network.listen import listen_addresses, open_listeners
from trio_xsock._network.transport import Transport
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._values.errors import SocketError

from .securing import secure


@protect_from_ki
class Incoming:
    """The beginning of one connection that is not dialled.

    Args:
        connection: one whose state is LISTENING.
        security: the TLS options, if it is encrypted before it is announced; else ``None``.
        address: for a client, the host, whose name is verified.
    """

    __slots__ = ("_acceptor", "_address", "_connection", "_security")

    def __init__(self, connection: Connection, security: Security | None, address: str) -> None:
        self._connection = connection
        self._security = security
        self._address = address
        self._acceptor: Acceptor | None = None

    # Listening

    @property
    def listeners(self) -> Sequence[stdlib_socket.socket | Listener]:
        """The listening sockets; empty before and afterwards."""
        return () if self._acceptor is None else self._acceptor.listeners

    async def listen(
        self, port: int, interface: NetworkInterface | None, network: ForeignNetwork | None
    ) -> bool:
        """Begin to listen for the peer.

        Args:
            port: 0 lets the OS choose.
            interface: the interface; ``None`` for all addresses of the machine.
            network: a simulated one in place of the OS's; ``None`` for the OS.

        Returns:
            Whether it listens; False if the socket was closed meanwhile.

        Raises:
            SocketError: it is not possible; the attempt has failed.

        Cancellation: the attempt has failed, and nothing is left over.
        """
        connection = self._connection
        attempt = connection.attempt()
        scope = attempt.open_scope()
        try:
            with scope:
                if network is not None:
                    await network.resolve()
                    addresses = []
                else:
                    addresses = await listen_addresses("", port, interface=interface)
                if connection.state is LISTENING:
                    if network is not None:
                        self.listen_with(network.listen(port))
                    else:
                        self.listen_with(open_listeners(addresses, backlog=1))
                    attempt.close_scope(scope)
                    return True
        finally:
            if connection.state is LISTENING and self._acceptor is None:  # failed, or cancelled
                connection.fail(None)
        await trio.lowlevel.checkpoint_if_cancelled()  # by the failure that closed the socket
        return False

    def listen_with(self, listeners: Sequence[stdlib_socket.socket | Listener]) -> None:
        """Wait for the peer.

        Args:
            listeners: listening, non-blocking; owned from now on.
        """
        self._acceptor = Acceptor(
            self._connection.delivery.require_keeper(),
            listeners,
            may_accept=lambda: self._connection.state is LISTENING,
            welcome=self.take_over,
            failed=self._accepting_failed,
        )
        self._acceptor.update()

    def retry(self) -> float:
        """Accept again if a pause is over; returns when to call this again, on Trio's clock."""
        return math.inf if self._acceptor is None else self._acceptor.tick()

    def stop_listening(self) -> None:
        """Stop listening. Idempotent."""
        acceptor, self._acceptor = self._acceptor, None
        if acceptor is not None:
            acceptor.close()

    def _accepting_failed(self, error: SocketError, final: bool) -> None:
        if final:
            self.stop_listening()
            self._connection.fail(error)
        else:
            self._connection.delivery.post_error(error)

    # The peer has connected

    def take_over(self, transport: Transport, peer: tuple[Any, ...]) -> None:
        """The peer has connected, or other code has opened the connection.

        Args:
            transport: a connected one; owned from now on.
            peer: the peer's address.
        """
        self.stop_listening()
        connection = self._connection
        secured = self._security is not None
        connection.open(transport, (address_text(peer), peer[1]), hold=secured)
        if secured:
            keeper = connection.delivery.require_keeper()
            keeper.serve(self._encrypt, "trio_xsock handshake")
        else:
            connection.announce()
            connection.delivery.schedule()

    async def _encrypt(self) -> None:
        """Do the handshake, and announce the connection; a task of its own."""
        connection, security = self._connection, self._security
        try:
            assert security is not None
            setup = security.setup(self._address, server_side=connection.accepted)
            await secure(connection, setup, connection.delivery.socket)
        except SocketError as error:
            if connection.transport is not None:
                lose(connection, error)
        else:
            connection.announce()
        connection.delivery.run(connection)
        await trio.lowlevel.cancel_shielded_checkpoint()
