"""Multicast groups as values, and what a socket hears of itself."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from trio_xsock._machines.udp_groups import Group, Memberships, group_address, multicast_group

LOOPBACK = socket.if_nametoindex("lo")


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("224.0.0.0", Group("224.0.0.0", False, 0)),
        ("239.255.255.255", Group("239.255.255.255", False, 0)),
        ("ff02::1", Group("ff02::1", True, 0)),
        ("FF02:0:0::1%lo", Group("ff02::1", True, LOOPBACK)),
        ("ff02::1%77", Group("ff02::1", True, 77)),
    ],
)
def test_groups_are_read(text: str, group: Group) -> None:
    """IPv4's class D, and IPv6 addresses that begin with ff, with or without a zone."""
    assert multicast_group(text) == group


@pytest.mark.parametrize(
    "text",
    ["", "223.255.255.255", "240.0.0.0", "fe80::1", "::", "224.0.0", "group", "ff02::1%no such"],
)
def test_what_is_no_group_is_none(text: str) -> None:
    """Neither other addresses nor names nor unknown zones."""
    assert multicast_group(text) is None


@pytest.mark.parametrize("text", [None, b"224.0.0.1", 224])
def test_a_group_is_a_str(text: Any) -> None:
    """Anything else is a mistake."""
    with pytest.raises(TypeError, match="group must be a str"):
        multicast_group(text)


def member(*addresses: str) -> Memberships:
    memberships = Memberships()
    for address in addresses:
        memberships.add(Group(address, False, 0))
    return memberships


def test_memberships_are_a_set_in_order() -> None:
    """Joined once each, left once."""
    memberships = member("239.0.0.2", "239.0.0.1", "239.0.0.2")
    first, second = memberships.joined()
    assert (first.address, second.address, len(memberships)) == ("239.0.0.2", "239.0.0.1", 2)
    memberships.remove(first)
    assert first not in memberships
    assert second in memberships
    memberships.clear()
    assert len(memberships) == 0


def test_only_what_will_come_back_is_expected() -> None:
    """Of groups that the socket is not in, nothing comes."""
    memberships = member("239.0.0.1")
    memberships.expect_echo("239.0.0.2", b"data")
    assert not memberships.echoes_expected
    memberships.expect_echo("239.0.0.1", b"data")
    assert memberships.echoes_expected
    memberships.clear()
    assert not memberships.echoes_expected


def test_each_echo_is_heard_once() -> None:
    """Of two that are the same, each comes back."""
    memberships = member("239.0.0.1", "239.0.0.2")
    for _ in range(2):
        memberships.expect_echo("239.0.0.1", b"same")
    for _ in range(2):
        assert memberships.find_echo("239.0.0.2", b"same", some_lost=True) is None
        assert memberships.find_echo("239.0.0.1", b"other", some_lost=True) is None
        place = memberships.find_echo("239.0.0.1", b"same", some_lost=False)
        assert place == 0
        memberships.forget_echo(place)
    assert memberships.find_echo("239.0.0.1", b"same", some_lost=False) is None


def test_what_the_os_has_dropped_never_comes_back() -> None:
    """The order is kept: a later one comes only if the earlier ones were lost."""
    memberships = member("239.0.0.1")
    for data in (b"1", b"2", b"3"):
        memberships.expect_echo("239.0.0.1", data)
    assert memberships.find_echo("239.0.0.1", b"2", some_lost=False) is None
    place = memberships.find_echo("239.0.0.1", b"2", some_lost=True)
    assert place == 1
    memberships.forget_echo(place)
    assert memberships.find_echo("239.0.0.1", b"1", some_lost=True) is None
    assert memberships.find_echo("239.0.0.1", b"3", some_lost=False) == 0


def test_what_is_remembered_is_bounded() -> None:
    """Who never reads does not remember for ever."""
    memberships = member("239.0.0.1")
    for number in range(5000):
        memberships.expect_echo("239.0.0.1", b"%d" % number)
    assert memberships.find_echo("239.0.0.1", b"0", some_lost=True) is None
    assert memberships.find_echo("239.0.0.1", b"4999", some_lost=True) == 4095


@pytest.mark.parametrize("group", ["orchard", "a", "ä" * 32])
def test_addresses_are_stable_and_for_one_site(group: str) -> None:
    """RFC 2365: 239.255.0.0/16."""
    address = group_address(group)
    assert address.startswith("239.255.")
    assert address == group_address(group) != group_address(group[1:] + "x")


def test_an_echo_whose_destination_is_unknown() -> None:
    """It is known by what it carries."""
    memberships = Memberships()
    memberships.add(Group("239.0.0.1", False, 0))
    memberships.add(Group("239.0.0.2", False, 0))
    memberships.expect_echo("239.0.0.1", b"1")
    memberships.expect_echo("239.0.0.2", b"2")
    assert memberships.find_echo("", b"other", some_lost=True) is None
    assert memberships.find_echo("", b"2", some_lost=False) is None
    assert memberships.find_echo("", b"2", some_lost=True) == 1
    assert memberships.find_echo("", b"1", some_lost=False) == 0
