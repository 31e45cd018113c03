"""UDP ports of the OS: one descriptor, which takes in many datagrams per wake-up."""

from __future__ import annotations

import contextlib
import errno as errnos
import functools
import os
import socket as stdlib_socket
from collections.abc import Callable
from typing import Final, TypeAlias

from trio_xsock._machines.endpoint import (
    ResolvedAddress,
    address_text,
    is_link_local,
    is_multicast,
    literal_address,
    packed_address,
)
from trio_xsock._machines.udp_filter import (
    ANCILLARY_SPACE,
    Ancillary,
    Arrival,
    InterfaceFilter,
    arrival,
    destination_text,
    is_group,
)
from trio_xsock._machines.udp_groups import Group, Memberships
from trio_xsock._machines.udp_queue import Packet
from trio_xsock._runtime.keeper import Keeper
from trio_xsock._runtime.readiness import Step, Watch, watch_socket
from trio_xsock._values.errors import SocketError
from trio_xsock._values.typing import Address, Buffer

from . import udp_options as options
from .interface import NetworkInterface, broadcast_addresses, network_interface
from .joined_groups import JoinedGroups, Place, address_owner, route_owner
from .udp_port import Port, Route

_MOST_AT_ONCE: Final = 64
"""Datagrams to take per wake-up, before other sockets have their turn."""
_LARGEST: Final = 65536
_MOST_DESTINATIONS: Final = 256
_Send: TypeAlias = Callable[[Buffer, Address], int]
_WILDCARDS: Final = ("0.0.0.0", "::")


def open_port(
    local: ResolvedAddress | None,
    port: int,
    interface: NetworkInterface | None,
    memberships: Memberships,
    /,
    *,
    may_share: bool,
) -> SystemPort:
    """Bind to a port.

    The port is ours alone at first. Who joins a multicast group shares it with others that do
    so: they are there to be heard by all. Hence a port that is taken may be had all the same.

    Args:
        local: the address to bind to; ``None`` for all.
        port: 0 for a free one.
        interface: what to hear and to send by; ``None`` for all.
        memberships: of the socket.
        may_share: whether to share the port at all.

    Raises:
        OSError: what the OS says; nothing stays open.
    """
    try:
        sock = options.open_socket(local, port)
    except OSError as exc:
        if exc.errno != errnos.EADDRINUSE or not may_share:
            raise
        sock = options.open_socket(local, port, shared=True)
    try:
        return SystemPort(sock, _Scope(sock, interface), memberships, may_share)
    except BaseException:
        sock.close()
        raise


class _Scope:
    """The interface that a port hears and sends by.

    Attributes:
        source: where IPv4 groups are joined and multicasts sent from; ``""`` where ``index``
            tells, or the routes.
        index: the interface's number, 0 for what the routes tell.
        filter: what to hear; ``None`` for everything.
    """

    __slots__ = ("_host", "_interface", "_wildcard", "filter", "index", "source")

    def __init__(self, sock: stdlib_socket.socket, interface: NetworkInterface | None) -> None:
        host = sock.getsockname()[0]
        self._interface = interface
        self._wildcard = host in _WILDCARDS
        self._host = ""  # whose interface is meant where none is chosen
        self.source = ""
        self.index = 0
        self.filter: InterfaceFilter | None = None
        if interface is not None:
            self.apply(sock)
        elif not self._wildcard:
            self._apply_owner(sock, host)

    def locate(self, group: Group, zone: str) -> Place:
        """Where to join a group.

        Args:
            group: the group.
            zone: the name of the interface that the user gave with the group, or ``""``.

        Raises:
            OSError: there is no such interface, or no route.
        """
        if zone:
            return Place("", 0, stdlib_socket.if_nametoindex(zone))
        if self._interface is not None:
            owner = stdlib_socket.if_nametoindex(self._interface.name)
        elif self._host:
            owner = address_owner(self._host)
        else:
            owner = route_owner(group)
        by_index = self.index and not group.zone
        return Place(self.source, owner if by_index else self.index, owner)

    def apply(self, sock: stdlib_socket.socket) -> bool:
        """Use the chosen interface, by the number that it has now; whether that is a new one.

        Raises:
            OSError: there is no such interface.
        """
        interface, before = self._interface, self.index
        if interface is None:
            if self._host and not self.source:
                self._follow_address(sock)
            return False
        self.index = stdlib_socket.if_nametoindex(interface.name)
        if self.index == before:
            return False
        options.send_by(sock, self.index, unicasts=self._wildcard)
        if self._wildcard:
            with contextlib.suppress(KeyError):  # its addresses may be others by now
                interface = network_interface(interface.name)
            addresses = map(packed_address, interface.addresses)
            self.filter = InterfaceFilter(self.index, addresses, interface.is_loopback)
        return True

    def _apply_owner(self, sock: stdlib_socket.socket, host: str) -> None:
        """Without a chosen interface, multicasts go by the one whose address we have."""
        self._host = address_text(sock.getsockname())
        if sock.family == stdlib_socket.AF_INET:
            self.source = host
            options.send_multicasts_from(sock, host)
            return
        self._follow_address(sock)

    def _follow_address(self, sock: stdlib_socket.socket) -> None:
        """Send multicasts by the interface that has our IPv6 address now, if one has it."""
        index = sock.getsockname()[3]  # of link-local addresses
        if not index:
            with contextlib.suppress(OSError):
                index = address_owner(self._host)
        if index != self.index:
            self.index = index
            options.send_by(sock, index, unicasts=False)


class SystemPort:
    """A port of the OS; see ``Port`` for its methods.

    Args:
        sock: the bound socket, which is the port's from now on.
        scope: its interface.
        memberships: the groups that the port's user is in.
        may_share: whether others may have the port, too, once a group is joined.
        send_to_self: whether to hear what was sent to groups from here.
    """

    def __init__(
        self,
        sock: stdlib_socket.socket,
        scope: _Scope,
        memberships: Memberships,
        may_share: bool,
        send_to_self: bool = False,
    ) -> None:
        self._sock = sock
        self._scope = scope
        self._memberships = memberships
        self._may_share = may_share
        self._send_to_self = send_to_self
        self._speaks_ipv4, self._speaks_ipv6 = options.speaks(sock)
        name: Address = sock.getsockname()
        self._hears_groups = name[0] in _WILDCARDS
        self._number = name[1]
        self._groups = JoinedGroups(sock, scope.locate)
        self._own_address = ""
        self._dropped_before = 0
        self._hops = b""
        self._broadcasts: frozenset[str] = frozenset()
        self._bound_address = "" if self._hears_groups else address_text(name)
        self._destinations: dict[bytes, str] = {}  # texts of addresses that datagrams came to
        self._filters = False
        self._tells_destination = self._hears_groups and options.tell_arrivals(sock)
        self.look_at_arrivals()

    @property
    def family(self) -> int:
        """See ``Port``."""
        if self._speaks_ipv4 and self._speaks_ipv6:
            return stdlib_socket.AF_UNSPEC
        return self._sock.family

    def fileno(self) -> int:
        """See ``Port``."""
        return self._sock.fileno()

    def getsockname(self) -> Address:
        """See ``Port``."""
        address: Address = self._sock.getsockname()
        return address

    def watch(self, keeper: Keeper, read_step: Step, write_step: Step) -> Watch:
        """See ``Port``."""
        return watch_socket(keeper, self._sock, read_step, write_step)

    def dropped(self) -> int:
        """See ``Port``."""
        return options.dropped_by_system(self._sock)

    def close(self) -> None:
        """See ``Port``."""
        self._sock.close()

    # In

    def receive(self) -> list[Packet]:
        """See ``Port``."""
        packets: list[Packet] = []
        add = packets.append
        try:
            if self._filters:
                self._receive_filtered(packets)
            elif self._tells_destination:
                receive_message, destination = self._sock.recvmsg, self._destination
                for _ in range(_MOST_AT_ONCE):
                    data, ancillary, _, source = receive_message(_LARGEST, ANCILLARY_SPACE)
                    add((data, source, destination(ancillary)))
            else:
                receive, local = self._sock.recvfrom, self._bound_address
                for _ in range(_MOST_AT_ONCE):
                    data, source = receive(_LARGEST)
                    add((data, source, local))
        except OSError:
            # There are no more for now. Or it is the error of a datagram of ours that somebody
            # would not have (ICMP), which is no matter of the others; the kernel forgets it.
            pass
        return packets

    def _receive_filtered(self, packets: list[Packet]) -> None:
        receive = self._sock.recvmsg
        for _ in range(_MOST_AT_ONCE):
            data, ancillary, _, source = receive(_LARGEST, ANCILLARY_SPACE)
            if self._is_wanted(data, arrival(ancillary), source):
                local = self._destination(ancillary)
                packets.append((data, source, local or self._bound_address))

    def _destination(self, ancillary: Ancillary) -> str:
        """The address that a datagram was sent to, as users see it; ``""`` if it is unknown."""
        if not ancillary:
            return ""
        key = ancillary[0][2]
        known = self._destinations.get(key)
        if known is None:
            if len(self._destinations) >= _MOST_DESTINATIONS:
                self._destinations.clear()
            known = self._destinations[key] = destination_text(arrival(ancillary))
        return known

    def look_at_arrivals(self) -> None:
        """Have the OS tell where datagrams were sent to, if that matters as things are."""
        memberships = self._memberships
        to_itself = len(memberships) > 0 and not self._send_to_self
        hears_itself = to_itself or memberships.echoes_expected
        self._filters = self._scope.filter is not None or hears_itself
        if self._filters:
            options.tell_arrivals(self._sock)

    def _is_wanted(self, data: bytes, came: Arrival, source: Address) -> bool:
        if self._scope.filter is not None and not self._scope.filter.accepts(came):
            return False
        if source[1] != self._number or not is_group(came.destination):
            return True
        family = stdlib_socket.AF_INET if len(came.destination) == 4 else stdlib_socket.AF_INET6
        group = stdlib_socket.inet_ntop(family, came.destination)
        dropped = self.dropped()
        some_lost = dropped > self._dropped_before
        place = self._memberships.find_echo(group, data, some_lost=some_lost)
        if place is None or not self._is_own_address(source):
            return True
        self._memberships.forget_echo(place)
        if place:
            self._dropped_before = dropped
        return False

    def _is_own_address(self, source: Address) -> bool:
        """Whether this machine has the address; only then can we bind to it."""
        if source[0] != self._own_address:
            try:
                with stdlib_socket.socket(self._sock.family, stdlib_socket.SOCK_DGRAM) as probe:
                    probe.bind((source[0], 0, *source[2:]))
            except OSError:
                return False
            self._own_address = source[0]
        return True

    def set_send_to_self(self, wanted: bool) -> None:
        """See ``Port``."""
        self._send_to_self = wanted
        self.look_at_arrivals()

    # Out

    def route(self, address: ResolvedAddress, source: str = "") -> Route:
        """See ``Port``."""
        is_ipv6 = address.family == stdlib_socket.AF_INET6
        if not (self._speaks_ipv6 if is_ipv6 else self._speaks_ipv4):
            raise OSError(errnos.EAFNOSUPPORT, os.strerror(errnos.EAFNOSUPPORT))
        host, port = address.address[:2]
        target: Address = address.address
        if is_ipv6 and is_link_local(address) and len(target) == 4 and not target[3]:
            if not self._scope.index:
                raise SocketError(
                    f"cannot send to {host}: a link-local address needs a zone, as in {host}%eth0",
                    errno=errnos.EINVAL,
                )
            target = (host, port, 0, self._scope.index)
        elif not is_ipv6 and self._speaks_ipv6:
            target = (f"::ffff:{host}", port)
        send: _Send = self._sock.sendto
        from_source = self._source_info(source, is_ipv6=is_ipv6)
        if from_source is not None:
            send = functools.partial(self._send_with, [from_source])
        if is_multicast(address):
            if port == self._number:
                return Route(functools.partial(self._send_to_own_port, host, send), target)
        elif not is_ipv6 and self._is_broadcast(host):
            return Route(functools.partial(self._send_broadcast, from_source), target)
        return Route(send, target)

    def _source_info(self, source: str, *, is_ipv6: bool) -> tuple[int, int, bytes] | None:
        """What makes a datagram leave from an address; ``None`` where the OS is to choose.

        Raises:
            OSError: the address is of the other family.
        """
        if not source or source == self._bound_address or not hasattr(self._sock, "sendmsg"):
            return None
        literal = literal_address(source, 0)
        if literal is None or is_multicast(literal) or literal.address[0] in _WILDCARDS:
            return None
        if is_ipv6 is (literal.family == stdlib_socket.AF_INET):
            raise OSError(errnos.EINVAL, os.strerror(errnos.EINVAL))
        if not is_ipv6 and self._is_broadcast(literal.address[0]):
            return None
        return options.source_info(literal)

    def _send_with(
        self, ancillary: list[tuple[int, int, bytes]], data: Buffer, address: Address
    ) -> int:
        return self._sock.sendmsg([data], ancillary, 0, address)

    def _send_to_own_port(self, group: str, send: _Send, data: Buffer, address: Address) -> int:
        """Send to a group from which we may hear ourselves."""
        sent = send(data, address)
        if not self._send_to_self:
            self._memberships.expect_echo(group, bytes(data))
        return sent

    def _is_broadcast(self, host: str) -> bool:
        if int(host.rpartition(".")[2]) & 3 != 3:  # the last address of a network ends in ones
            return False
        if not self._broadcasts:  # asking for it takes a millisecond
            self._broadcasts = broadcast_addresses()
        return host in self._broadcasts

    def _send_broadcast(
        self, from_source: tuple[int, int, bytes] | None, data: Buffer, address: Address
    ) -> int:
        ancillary = [(stdlib_socket.IPPROTO_IP, stdlib_socket.IP_TTL, self._hops)]
        if from_source is not None:
            ancillary.append(from_source)
        return self._sock.sendmsg([data], ancillary, 0, address)

    def set_hops(self, hops: int, unicast: bool) -> None:
        """See ``Port``."""
        self._hops = options.hops_value(hops)
        options.set_hops(self._sock, hops, unicast=unicast)

    # Groups

    def join(self, group: Group) -> Port | None:
        """See ``Port``."""
        if not (self._speaks_ipv6 if group.is_ipv6 else self._speaks_ipv4):
            raise OSError(errnos.EAFNOSUPPORT, os.strerror(errnos.EAFNOSUPPORT))
        if not self._hears_groups:
            return self._open_group(group)
        self._groups.join(group)
        if self._may_share:
            options.share_port(self._sock)
        return None

    def _open_group(self, group: Group) -> Port:
        """What is bound to one address hears only what is for that: bind to the group's as well."""
        family = self._sock.family
        address = (group.address, 0, 0, group.zone or self._scope.index)
        local = ResolvedAddress(
            stdlib_socket.AddressFamily(family), address if group.is_ipv6 else address[:2]
        )
        sock = options.open_socket(local, self._number, shared=True)
        try:
            port = SystemPort(sock, self._scope, self._memberships, True, self._send_to_self)
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
