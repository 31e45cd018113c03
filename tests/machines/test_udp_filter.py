"""What is for a socket, decided from what the OS tells of each datagram."""

from __future__ import annotations

import socket
import struct

import pytest

from trio_xsock._machines.endpoint import packed_address
from trio_xsock._machines.udp_filter import Arrival, InterfaceFilter, arrival, is_group

ETH, LO, OTHER = 2, 1, 3


def came(destination: str, interface: int) -> Arrival:
    return Arrival(packed_address(destination), interface)


def test_the_destination_is_read_from_ancillary_data() -> None:
    """As Linux writes it for IPv4 sockets, for IPv6 ones, and for mapped addresses."""
    info = struct.pack("i4s4s", 7, bytes(4), socket.inet_aton("239.1.2.3"))
    assert arrival([(0, 8, info)]) == came("239.1.2.3", 7)
    packed = socket.inet_pton(socket.AF_INET6, "ff02::1")
    assert arrival([(41, 50, packed + struct.pack("i", 9))]) == came("ff02::1", 9)
    packed = socket.inet_pton(socket.AF_INET6, "::ffff:192.0.2.1")
    assert arrival([(41, 50, packed + struct.pack("i", 9))]) == came("192.0.2.1", 9)


def test_other_ancillary_data_are_passed_over() -> None:
    """And without any the destination is unknown."""
    info = struct.pack("i4s4s", 7, bytes(4), socket.inet_aton("192.0.2.1"))
    assert arrival([(1, 40, b"1234"), (0, 8, info)]) == came("192.0.2.1", 7)
    assert arrival([]) == arrival([(0, 2, b"1234")]) == Arrival(b"", 0)


@pytest.mark.parametrize(
    ("address", "expected"),
    [("239.1.2.3", True), ("192.0.2.1", False), ("ff05::1", True), ("fe80::1", False), ("", False)],
)
def test_groups_are_known_by_their_address(address: str, expected: bool) -> None:
    """Of both families."""
    assert is_group(packed_address(address)) is expected


@pytest.mark.parametrize(
    ("destination", "interface", "expected"),
    [
        ("192.0.2.2", ETH, True),
        ("192.0.2.255", ETH, True),
        ("239.1.2.3", ETH, True),
        ("198.51.100.1", ETH, True),  # for another of our addresses, but it came this way
        ("192.0.2.2", LO, True),  # from this machine
        ("127.0.0.1", LO, False),
        ("192.0.2.2", OTHER, True),
        ("198.51.100.1", OTHER, False),
        ("239.1.2.3", OTHER, False),
        ("fe80::2", ETH, True),
        ("fe80::2", OTHER, False),  # that interface has the same address
        ("2001:db8::2", LO, True),
    ],
)
def test_what_an_interface_hears(destination: str, interface: int, expected: bool) -> None:
    """What came by it, and what this machine sends to its addresses."""
    addresses = map(packed_address, ("192.0.2.2", "2001:db8::2", "fe80::2%7"))
    heard = InterfaceFilter(ETH, addresses, is_loopback=False)
    assert heard.accepts(came(destination, interface)) is expected


@pytest.mark.parametrize(
    ("destination", "interface", "expected"),
    [
        ("127.0.0.1", LO, True),
        ("127.9.9.9", LO, True),
        ("127.255.255.255", LO, True),
        ("255.255.255.255", LO, True),
        ("239.1.2.3", LO, True),
        ("::1", LO, True),
        ("192.0.2.2", LO, False),  # this machine, to its own other address
        ("2001:db8::2", LO, False),
        ("192.0.2.2", ETH, False),
    ],
)
def test_what_loopback_hears(destination: str, interface: int, expected: bool) -> None:
    """Only what is for its own addresses, though all local traffic passes through it."""
    addresses = map(packed_address, ("127.0.0.1", "::1"))
    heard = InterfaceFilter(LO, addresses, is_loopback=True)
    assert heard.accepts(came(destination, interface)) is expected


@pytest.mark.parametrize("is_loopback", [False, True])
def test_what_came_nobody_knows_where_is_heard(is_loopback: bool) -> None:
    """Some systems do not tell; then a socket of one interface hears all."""
    heard = InterfaceFilter(ETH, [packed_address("192.0.2.1")], is_loopback=is_loopback)
    assert heard.accepts(Arrival(b"", 0))
