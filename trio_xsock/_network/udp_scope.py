"""The interface that a UDP port hears and sends by."""

from __future__ import annotations

import contextlib
import socket as stdlib_socket
from typing import Final

from trio_xsock._machines.endpoint import address_text, packed_address
from trio_xsock._machines.udp_filter import InterfaceFilter
from trio_xsock._machines.udp_groups import Group

from . import udp_options as options
from .interface import NetworkInterface, network_interface
from .joined_groups import Place, address_owner, route_owner

WILDCARDS: Final = ("0.0.0.0", "::")
"""Addresses that stand for all of ours."""


class PortScope:
    """The interface that a port hears and sends by: the chosen one, or that of its address.

    Args:
        sock: the bound socket; its options are set.
        interface: the chosen one; ``None`` for none.

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
        self._wildcard = host in WILDCARDS
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
