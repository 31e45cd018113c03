"""Which of the datagrams that the OS delivers are meant for this socket.

On Linux a socket receives multicasts and broadcasts only if it is bound to all addresses, and then
it receives the datagrams of every interface. So the OS is asked to add to each datagram the address
that it was sent to and the interface by which it arrived (ip(7): IP_PKTINFO, ipv6(7):
IPV6_RECVPKTINFO), and this module decides. Nothing here does I/O.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

from trio_xsock._platform.sockets import IP_PKTINFO, IPV6_PKTINFO

from .endpoint import address_text

PACKET_INFO_4: Final = (0, IP_PKTINFO)
"""Level and type of the ancillary data that tell an IPv4 datagram's destination."""
PACKET_INFO_6: Final = (41, IPV6_PKTINFO)
"""The same of IPv6; for sockets of both kinds, of IPv4 as well, in mapped form."""
_LARGEST_INFO: Final = 64

_MAPPED = bytes(10) + b"\xff\xff"
_EVERYBODY = b"\xff\xff\xff\xff"
_LINK_LOCAL = b"\xfe\x80"

ANCILLARY_SPACE: Final = 2 * _LARGEST_INFO

Ancillary = list[tuple[int, int, bytes]]


class Arrival(NamedTuple):
    """The address and the interface by which a datagram arrived."""

    destination: bytes
    """The address that it was sent to, 4 or 16 bytes; empty if it is not known."""
    interface: int
    """The number of the interface."""


def arrival(ancillary: Ancillary) -> Arrival:
    """Read the ancillary data of a datagram."""
    for level, kind, data in ancillary:
        if (level, kind) == PACKET_INFO_6:
            destination = data[:16]
            if destination.startswith(_MAPPED):
                destination = destination[12:]
            return Arrival(destination, struct.unpack_from("i", data, 16)[0])
        if (level, kind) == PACKET_INFO_4:
            return Arrival(data[8:12], struct.unpack_from("i", data)[0])
    return Arrival(b"", 0)


def destination_text(came: Arrival) -> str:
    """The address that a datagram was sent to, as text; ``""`` if it is not known."""
    packed = came.destination
    if not packed:
        return ""
    text = str(ipaddress.ip_address(packed))
    needs_zone = packed.startswith(_LINK_LOCAL) or (len(packed) == 16 and packed[:2] == b"\xff\x02")
    return address_text((text, 0, 0, came.interface)) if needs_zone else text


def is_group(destination: bytes) -> bool:
    """Whether an address is a multicast group's."""
    if len(destination) == 4:
        return destination[0] >> 4 == 0xE
    return destination[:1] == b"\xff"


class InterfaceFilter:
    """Selects the datagrams for a socket that is bound to one interface.

    These are the datagrams that arrive by the interface, and those that programs on this machine
    sent to one of its addresses, which arrive by loopback.

    Args:
        index: the interface's number.
        addresses: its addresses, 4 or 16 bytes each.
        is_loopback: whether it only reaches this very machine.
    """

    __slots__ = ("_addresses", "_is_loopback", "index")

    def __init__(self, index: int, addresses: Iterable[bytes], is_loopback: bool) -> None:
        self.index = index
        self._addresses = frozenset(addresses)
        self._is_loopback = is_loopback

    def accepts(self, came: Arrival) -> bool:
        """Whether a datagram is for the socket; all are whose destination is unknown."""
        destination = came.destination
        if not destination:
            return True
        if came.interface != self.index:
            # Each interface has its own link-local addresses, which may be the same.
            return destination in self._addresses and not destination.startswith(_LINK_LOCAL)
        if not self._is_loopback:
            return True
        # Datagrams from this machine to its other addresses arrive by this interface, too.
        return (
            destination in self._addresses
            or destination[:1] == b"\x7f"
            or destination == _EVERYBODY
            or is_group(destination)
        )
