"""What comes in by a UDP port of the OS, less what is not meant for it."""

from __future__ import annotations

import socket as stdlib_socket
from typing import Final

from trio_xsock._machines.udp_filter import (
    ANCILLARY_SPACE,
    Ancillary,
    Arrival,
    arrival,
    destination_text,
    is_group,
)
from trio_xsock._machines.udp_groups import Memberships
from trio_xsock._machines.udp_queue import Packet
from trio_xsock._platform import sockets as platform
from trio_xsock._values.typing import Address

from . import udp_options as options
from .udp_scope import WILDCARDS, PortScope

_MOST_AT_ONCE: Final = 64
"""Datagrams to take per wake-up, before other sockets have their turn."""
_LARGEST: Final = 65536
_MOST_DESTINATIONS: Final = 256


class Arrivals:
    """Takes in datagrams from one socket of the OS.

    Args:
        sock: the bound socket.
        scope: its interface.
        memberships: the groups that the port's user is in.
        own_address: the address that it is bound to, ``""`` if that is all of them.
        is_extra: whether it is bound to a group's address, beside the user's port.
        send_to_self: whether to hear what was sent to groups from here.
    """

    __slots__ = (
        "_bound_to",
        "_destinations",
        "_dropped_before",
        "_filters",
        "_is_plain",
        "_memberships",
        "_number",
        "_own_address",
        "_receive_message",
        "_scope",
        "_send_to_self",
        "_sock",
    )

    def __init__(
        self,
        sock: stdlib_socket.socket,
        scope: PortScope,
        memberships: Memberships,
        own_address: str,
        is_extra: bool,
        send_to_self: bool,
    ) -> None:
        self._sock = sock
        self._receive_message = platform.receive_message(sock)
        self._scope = scope
        self._memberships = memberships
        self._bound_to = own_address
        self._send_to_self = send_to_self
        host, self._number = sock.getsockname()[:2]
        self._own_address = ""  # of ours, one that a datagram came from
        self._dropped_before = 0
        self._destinations: dict[bytes, str] = {}  # texts of addresses that datagrams came to
        # What comes to one address needs no look at where it was sent to.
        self._is_plain = not is_extra
        if host in WILDCARDS:
            self._is_plain = not options.tell_arrivals(sock)
        self._filters = False
        self._look_at_filters()

    def receive(self) -> list[Packet]:
        """See ``Port``."""
        packets: list[Packet] = []
        add = packets.append
        try:
            if self._filters:
                self._receive_filtered(packets)
            elif self._is_plain:
                receive = self._sock.recvfrom
                for _ in range(_MOST_AT_ONCE):
                    add(receive(_LARGEST))
            else:
                receive_message, known = self._receive_message, self._destinations
                for _ in range(_MOST_AT_ONCE):
                    data, ancillary, _, source = receive_message(_LARGEST, ANCILLARY_SPACE)
                    local = known.get(ancillary[0][2]) if ancillary else self._bound_to
                    if local is None:
                        local = self._destination(ancillary)
                    add((data, source, local))
        except OSError:
            # There are no more for now. Or it is the error of a datagram of ours that somebody
            # would not have (ICMP), which is no matter of the others; the kernel forgets it.
            pass
        return packets

    def _receive_filtered(self, packets: list[Packet]) -> None:
        receive = self._receive_message
        for _ in range(_MOST_AT_ONCE):
            data, ancillary, _, source = receive(_LARGEST, ANCILLARY_SPACE)
            if self._is_wanted(data, arrival(ancillary), source):
                packets.append((data, source, self._destination(ancillary) or self._bound_to))

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

    def set_send_to_self(self, wanted: bool) -> None:
        """See ``Port``."""
        self._send_to_self = wanted
        self._look_at_filters()

    def expect_echo(self, group: str, data: bytes) -> None:
        """``data`` was sent to a group and to our own port's number, so it may come back."""
        if not self._send_to_self:
            self._memberships.expect_echo(group, data)

    # What is not meant for the port

    def _look_at_filters(self) -> None:
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
        destination, group = came.destination, ""
        if source[1] != self._number or (destination and not is_group(destination)):
            return True
        if destination:
            family = stdlib_socket.AF_INET if len(destination) == 4 else stdlib_socket.AF_INET6
            group = stdlib_socket.inet_ntop(family, destination)
        dropped = options.dropped_by_system(self._sock)
        some_lost = dropped > self._dropped_before or not platform.SO_MEMINFO
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
