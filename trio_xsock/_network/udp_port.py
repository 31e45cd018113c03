"""What a ``UDPSocket`` needs of a network: a bound port, what comes in by it, the ways out.

The OS's is ``SystemPort``; a network that exists only in a test has ports of its own.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import NamedTuple, Protocol

from trio_xsock._machines.endpoint import ResolvedAddress
from trio_xsock._machines.udp_groups import Group, Memberships
from trio_xsock._machines.udp_queue import Packet
from trio_xsock._runtime.keeper import Keeper
from trio_xsock._runtime.readiness import Watch
from trio_xsock._runtime.steps import Steps
from trio_xsock._values.typing import Address, Buffer

from .interface import NetworkInterface
from .socket_view import Descriptor


class Sharing(enum.Enum):
    """When other sockets that share a port, too, may bind to it."""

    NEVER = "never"
    IN_A_GROUP = "from when a group is joined"
    AT_ONCE = "from the beginning"


class Route(NamedTuple):
    """The way to one address: a function that never waits, and what to give it after the data.

    The function returns how many bytes went, which is all of them, or raises ``OSError``.
    """

    send: Callable[[Buffer, Address], int]
    address: Address


class Port(Protocol):
    """A bound UDP port."""

    @property
    def family(self) -> int:
        """Which addresses can be reached: ``AF_INET``, ``AF_INET6``, or ``AF_UNSPEC`` for both."""
        ...

    def fileno(self) -> int:
        """The descriptor."""
        ...

    def getsockname(self) -> Address:
        """The local address and port."""
        ...

    @property
    def own_address(self) -> str:
        """The IP address that it is bound to, ``""`` if that is all of them."""
        ...

    def descriptor(self) -> Descriptor:
        """What users may ask, and set options of."""
        ...

    def watch(self, keeper: Keeper, steps: Steps) -> Watch:
        """See ``watch_socket``."""
        ...

    def receive(self) -> list[Packet]:
        """Take what has arrived, a bounded number of datagrams; never waits or raises.

        Those without the address that they were sent to were sent to ``own_address``.
        """
        ...

    def route(self, address: ResolvedAddress, source: str = "") -> Route:
        """The way to an address.

        Args:
            address: the address.
            source: our IP address to send from; with ``""``, or where it is that of a group or
                a broadcast, the network chooses.

        Raises:
            OSError, SocketError: there is none from here.
        """
        ...

    def join(self, group: Group) -> Port | None:
        """Join a group.

        Returns:
            A further port that hears it, where this one cannot.

        Raises:
            OSError: what the OS says.
        """
        ...

    def leave(self, group: Group) -> None:
        """Leave a group that was joined; never raises."""
        ...

    def set_hops(self, hops: int, unicast: bool) -> None:
        """See ``UDPSocket.router_hops``; unicasts only if they are meant as well."""
        ...

    def set_send_to_self(self, wanted: bool) -> None:
        """See ``UDPSocket.send_to_self``."""
        ...

    def dropped(self) -> int:
        """Datagrams that the OS has dropped since the port was opened."""
        ...

    def refresh(self) -> bool:
        """Look again for the interface, which may have gone and come back; whether it has."""
        ...

    @property
    def needs_renewal(self) -> bool:
        """Whether groups are joined here that have to be joined again when the network changes."""
        ...

    def renew(self) -> OSError | None:
        """Join the groups again whose interface, or the route to them, has changed.

        Returns:
            What keeps a group from being joined now, ``None`` if all are joined.
        """
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


class Opener(Protocol):
    """What opens ports: ``open_port`` of the OS's, or a network of another kind."""

    def __call__(
        self,
        local: ResolvedAddress | None,
        port: int,
        interface: NetworkInterface | None,
        memberships: Memberships,
        /,
        *,
        sharing: Sharing,
    ) -> Port:
        """Bind to a port; see ``open_port``.

        Raises:
            OSError: it cannot be had.
        """
        ...
