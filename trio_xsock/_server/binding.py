"""``Binding``: the address of a server, and how its listening sockets are opened."""

from __future__ import annotations

import socket as stdlib_socket
from collections.abc import Sequence
from typing import Any

from trio_xsock._engine.core import check_interface
from trio_xsock._machines.endpoint import (
    ResolvedAddress,
    address_text,
    check_address,
    check_port,
)
from trio_xsock._network.foreign import ForeignNetwork, Listener
from trio_xsock._network.interface import NetworkInterface
from trio_xsock._network.listen import check_backlog, is_listening, listen_addresses, open_listeners
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._values.errors import InvalidStateError
from trio_xsock._values.typing import Address


@protect_from_ki
class Binding:
    """Where to listen.

    Args:
        port: the port; 0 lets the OS pick one.
        address: a local address or name; ``""`` for all.
        interface: the interface.
        backlog: how many connections may wait in the OS; ``None`` for its maximum.
        reuse_port: let other programs of this user listen on the same port.

    Attributes:
        address, interface, port: as above.

    Raises:
        InvalidPortError: ``port`` is outside 0..65535.
        TypeError, ValueError: something else is of a wrong type, or out of its range.
    """

    __slots__ = (
        "_backlog",
        "_given",
        "_network",
        "_reuse_port",
        "address",
        "interface",
        "port",
    )

    def __init__(
        self,
        port: int,
        address: str,
        interface: NetworkInterface | None,
        backlog: int | None,
        reuse_port: bool,
    ) -> None:
        check_backlog(backlog)
        self.set_port(port)
        self.address: str = check_address(address)
        self.set_interface(interface)
        self._backlog = backlog
        self._reuse_port = reuse_port
        self._network: ForeignNetwork | None = None
        self._given: tuple[stdlib_socket.socket, ...] = ()

    def set_port(self, port: int) -> None:
        """Listen on another port the next time; raises as the constructor does."""
        self.port: int = check_port(port, allow_zero=True)

    def set_interface(self, interface: NetworkInterface | None) -> None:
        """Listen on another interface the next time; raises as the constructor does."""
        self.interface: NetworkInterface | None = check_interface(interface)

    def use_network(self, network: ForeignNetwork) -> None:
        """Listen in a simulated network."""
        self._network = network

    def give(self, socks: tuple[stdlib_socket.socket, ...]) -> None:
        """Use these sockets the next time, and bind the same address after that.

        Raises:
            TypeError: not a ``socket.socket``, or none at all.
            ValueError: not a listening stream socket.
        """
        if not socks:
            raise TypeError("from_socket() needs at least one listening socket")
        for sock in socks:
            if not isinstance(sock, stdlib_socket.socket):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(f"sock must be a socket.socket, not {type(sock).__name__}")
            if sock.type != stdlib_socket.SOCK_STREAM or not is_listening(sock):
                raise ValueError(f"sock must be a listening stream socket, not {sock!r}")
        self._given = socks
        address = address_of(socks[0])
        self.address, self.port = address_text(address), address[1]

    async def find(self) -> list[ResolvedAddress]:
        """Look up the addresses to listen on; see ``listen_addresses``.

        Cancellation: changes nothing.
        """
        if self._network is not None:
            await self._network.resolve()
            return []
        return await listen_addresses(self.address, self.port, interface=self.interface)

    def open(
        self, addresses: list[ResolvedAddress], server: object
    ) -> Sequence[stdlib_socket.socket | Listener]:
        """The listening sockets: those that were given, or new ones.

        Args:
            addresses: what ``find`` has returned.
            server: for the messages of errors.

        Raises:
            InvalidStateError: one that was given was closed meanwhile.
            SocketError: as for ``open_listeners``.
        """
        given, self._given = self._given, ()
        for sock in given:
            if not is_listening(sock):
                text = "a socket given to from_socket() was closed, or listens no more"
                raise InvalidStateError(f"{server!r}: {text}")
            sock.setblocking(False)
        if given:
            return given
        if self._network is not None:
            return self._network.listen(self.port)
        return open_listeners(addresses, backlog=self._backlog, reuse_port=self._reuse_port)


def address_of(sock: stdlib_socket.socket | Listener) -> Address:
    """The address of a socket; an empty one for a Unix socket, which has no IP address."""
    address: Any = sock.getsockname()
    return ("", 0) if isinstance(address, str | bytes) else address
