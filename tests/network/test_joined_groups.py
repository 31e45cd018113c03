"""Memberships that are joined again, on the loopback device; see ``tests/netns`` for real moves."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.datagrams import LOOPBACK_INDEX
from tests.support.peers import LOOPBACK
from trio_xsock._machines.udp_groups import Group, multicast_group
from trio_xsock._network import udp_options as options
from trio_xsock._network.joined_groups import JoinedGroups, Place, address_owner, route_owner

GROUP = Group("239.77.6.6", False, 0)
THERE = Place("", LOOPBACK_INDEX, LOOPBACK_INDEX)


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        yield sock


class Network:
    """Tells where groups are joined."""

    def __init__(self) -> None:
        self.place: Place | None = THERE

    def locate(self, group: Group, zone: str) -> Place:
        if self.place is None:
            raise OSError(errno.ENODEV, "no such device")
        return self.place


def users() -> int:
    """How many sockets are in the group, by what Linux says."""
    packed = f"{struct.unpack('=I', socket.inet_aton(GROUP.address))[0]:08X}"
    for line in Path("/proc/net/igmp").read_text(encoding="ascii").splitlines():
        if line.split()[0] == packed:
            return int(line.split()[1])
    return 0


def test_a_membership_that_holds_is_left_alone(sock: socket.socket) -> None:
    """Looked at again it is the same one; left, it has gone."""
    groups = JoinedGroups(sock, Network().locate)
    groups.join(GROUP)
    assert (len(groups), users()) == (1, 1)
    assert groups.renew() is None
    assert users() == 1
    groups.leave(GROUP)
    groups.leave(GROUP)  # nothing any more
    assert (len(groups), users()) == (0, 0)


def test_a_lost_place_is_told_and_the_membership_joined_again(sock: socket.socket) -> None:
    """As long as the interface cannot be found, and once it is there."""
    network = Network()
    groups = JoinedGroups(sock, network.locate)
    groups.join(GROUP)
    network.place = None
    for _ in range(2):
        trouble = groups.renew()
        assert trouble is not None
        assert trouble.errno == errno.ENODEV
    options = struct.pack("4s4si", socket.inet_aton(GROUP.address), bytes(4), LOOPBACK_INDEX)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, options)  # lost with it
    assert users() == 0
    network.place = THERE
    assert groups.renew() is None
    assert (len(groups), users()) == (1, 1)


def test_what_the_os_refuses_is_not_remembered(sock: socket.socket) -> None:
    """No such interface: nothing was joined, nothing is to be renewed."""
    network = Network()
    network.place = Place("192.0.2.99", 0, 0)
    groups = JoinedGroups(sock, network.locate)
    with pytest.raises(OSError) as caught:
        groups.join(GROUP)
    assert caught.value.errno == errno.ENODEV
    assert len(groups) == 0


def test_the_interface_of_an_address() -> None:
    """Its number, or the error that says that none has it."""
    assert address_owner(LOOPBACK) == LOOPBACK_INDEX
    with pytest.raises(OSError) as caught:
        address_owner("192.0.2.99")
    assert caught.value.errno == errno.EADDRNOTAVAIL


@pytest.mark.parametrize("text", ["ff01::77", "ff02::77", "ff12::77", "ff05::77", "239.77.6.6"])
def test_groups_of_a_link_are_joined_by_the_route(text: str) -> None:
    """As those of wider scope are, where there is a route; the OS does not look these up."""
    group = multicast_group(text)
    assert group is not None
    family = socket.AF_INET6 if group.is_ipv6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            options.join(sock, group, "", 0)
        except OSError:
            pytest.skip("no route leads to groups from here")
        options.leave(sock, group, "", 0)
        groups = JoinedGroups(sock, lambda group, _: Place("", 0, route_owner(group)))
        groups.join(group)
        assert groups.renew() is None
        groups.leave(group)
