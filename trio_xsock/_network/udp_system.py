"""UDP ports of the OS: one descriptor, what comes in by it, the ways out, and its groups."""

from __future__ import annotations

import errno as errnos
import socket as stdlib_socket

from trio_xsock._machines.endpoint import ResolvedAddress, address_text
from trio_xsock._machines.udp_groups import Group, Memberships
from trio_xsock._machines.udp_queue import Packet
from trio_xsock._platform import sockets as platform
from trio_xsock._runtime.keeper import Keeper
from trio_xsock._runtime.readiness import Watch, watch_socket
from trio_xsock._runtime.steps import Steps
from trio_xsock._values.typing import Address

from . import udp_options as options
from .interface import NetworkInterface
from .joined_groups import JoinedGroups
from .socket_view import Descriptor
from .udp_arrivals import Arrivals
from .udp_departures import Departures
from .udp_port import Port, Route, Sharing
from .udp_scope import WILDCARDS, PortScope


def open_port(
    local: ResolvedAddress | None,
    port: int,
    interface: NetworkInterface | None,
    memberships: Memberships,
    /,
    *,
    sharing: Sharing,
) -> SystemPort:
    """Bind to a port.

    Sockets that are in a multicast group share their port, because all of them receive what is sent
    to the group. So a port that is taken may be had all the same.

    Args:
        local: the address to bind to; ``None`` for all.
        port: 0 for a free one.
        interface: what to hear and to send by; ``None`` for all.
        memberships: of the socket.
        sharing: when others may have the port, too. If it is to be shared, and certain that a group
            will be joined, ``AT_ONCE``: two programs may begin at the same moment, and one would
            find the port before the other has joined.

    Raises:
        OSError: what the OS says; nothing stays open.
    """
    try:
        sock = options.open_socket(local, port, shared=sharing is Sharing.AT_ONCE)
    except OSError as exc:
        if exc.errno != errnos.EADDRINUSE or sharing is not Sharing.IN_A_GROUP:
            raise
        sock = options.open_socket(local, port, shared=True)
    try:
        return SystemPort(sock, PortScope(sock, interface), memberships, sharing)
    except BaseException:
        sock.close()
        raise


class SystemPort:
    """A port of the OS; see ``Port`` for its methods.

    Args:
        sock: the bound socket, which is the port's from now on.
        scope: its interface.
        memberships: the groups that the port's user is in.
        sharing: when others may have the port, too.
        is_extra: whether the socket is bound to a group's address, beside the user's own port.
        send_to_self: whether to hear what was sent to groups from here.
    """

    def __init__(
        self,
        sock: stdlib_socket.socket,
        scope: PortScope,
        memberships: Memberships,
        sharing: Sharing,
        *,
        is_extra: bool = False,
        send_to_self: bool = False,
    ) -> None:
        self._sock = sock
        self._scope = scope
        self._memberships = memberships
        self._sharing = sharing
        self._send_to_self = send_to_self
        name: Address = sock.getsockname()
        is_wildcard = name[0] in WILDCARDS
        self._hears_groups = is_wildcard or not platform.BINDS_TO_GROUPS
        self.own_address = "" if is_wildcard else address_text(name)
        self._groups = JoinedGroups(sock, scope.locate)
        self._arrivals = Arrivals(
            sock, scope, memberships, self.own_address, is_extra, send_to_self
        )
        self._departures = Departures(sock, scope, self.own_address, self._arrivals.expect_echo)

    @property
    def family(self) -> int:
        """See ``Port``."""
        if self._departures.speaks_ipv4 and self._departures.speaks_ipv6:
            return stdlib_socket.AF_UNSPEC
        return self._sock.family

    def fileno(self) -> int:
        """See ``Port``."""
        return self._sock.fileno()

    def getsockname(self) -> Address:
        """See ``Port``."""
        address: Address = self._sock.getsockname()
        return address

    def descriptor(self) -> Descriptor:
        """See ``Port``."""
        return self._sock

    def watch(self, keeper: Keeper, steps: Steps) -> Watch:
        """See ``Port``."""
        return watch_socket(keeper, self._sock, steps)

    def dropped(self) -> int:
        """See ``Port``."""
        return options.dropped_by_system(self._sock)

    def close(self) -> None:
        """See ``Port``."""
        self._sock.close()

    # In and out

    def receive(self) -> list[Packet]:
        """See ``Port``."""
        return self._arrivals.receive()

    def set_send_to_self(self, wanted: bool) -> None:
        """See ``Port``."""
        self._send_to_self = wanted
        self._arrivals.set_send_to_self(wanted)

    def route(self, address: ResolvedAddress, source: str = "") -> Route:
        """See ``Port``."""
        return self._departures.route(address, source)

    def set_hops(self, hops: int, unicast: bool) -> None:
        """See ``Port``."""
        self._departures.set_hops(hops, unicast)

    # Groups

    def join(self, group: Group) -> Port | None:
        """See ``Port``."""
        self._departures.check_family(is_ipv6=group.is_ipv6)
        if not self._hears_groups:
            return self._open_group(group)
        self._groups.join(group)
        if self._sharing is Sharing.IN_A_GROUP:
            options.share_port(self._sock)
        return None

    def _open_group(self, group: Group) -> Port:
        """What is bound to one address hears only what is for that: bind to the group's as well."""
        family = self._sock.family
        address = (group.address, 0, 0, group.zone or self._scope.index)
        local = ResolvedAddress(
            stdlib_socket.AddressFamily(family), address if group.is_ipv6 else address[:2]
        )
        sock = options.open_socket(local, self.getsockname()[1], shared=True)
        try:
            port = SystemPort(
                sock,
                self._scope,
                self._memberships,
                Sharing.AT_ONCE,
                is_extra=True,
                send_to_self=self._send_to_self,
            )
            port._groups.join(group)
        except BaseException:
            sock.close()
            raise
        return port

    def leave(self, group: Group) -> None:
        """See ``Port``."""
        self._groups.leave(group)

    def refresh(self) -> bool:
        """See ``Port``."""
        try:
            is_new = self._scope.apply(self._sock)
        except OSError:  # it is not there
            return False
        if is_new:
            self._groups.renew()
        return is_new

    @property
    def needs_renewal(self) -> bool:
        """See ``Port``."""
        return len(self._groups) > 0

    def renew(self) -> OSError | None:
        """See ``Port``."""
        trouble: OSError | None = None
        try:
            self._scope.apply(self._sock)
        except OSError as exc:
            trouble = exc
        return self._groups.renew() or trouble
