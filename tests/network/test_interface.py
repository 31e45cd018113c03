"""What the machine's interfaces are, compared with what ``ip`` says of them."""

from __future__ import annotations

import dataclasses
import json
import socket
import subprocess
from typing import Any, NamedTuple

import psutil
import pytest

from trio_xsock._machines.endpoint import literal_address
from trio_xsock._network import interface as _interface
from trio_xsock._network.interface import (
    NetworkInterface,
    bindable_addresses,
    broadcast_address,
    default_route_address,
    local_address_of,
    network_interface,
    network_interfaces,
)


class FakeAddress(NamedTuple):
    """What psutil tells of one address."""

    family: int
    address: str
    netmask: str | None = None


class FakeStats(NamedTuple):
    """What psutil tells of one interface."""

    isup: bool
    mtu: int
    flags: str = ""


def make(ip_address: str = "", subnet_mask: str = "", *addresses: str) -> NetworkInterface:
    every = addresses or ((ip_address,) if ip_address else ())
    return NetworkInterface("eth7", ip_address, subnet_mask, "", every, True, False, 1500)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have psutil and the system tell something else."""

    def install(
        stats: dict[str, FakeStats],
        addresses: dict[str, list[FakeAddress]],
        names: list[tuple[int, str]] | None = None,
    ) -> None:
        index = names or [(place, name) for place, name in enumerate(stats, start=1)]
        monkeypatch.setattr(psutil, "net_if_stats", lambda: stats)
        monkeypatch.setattr(psutil, "net_if_addrs", lambda: addresses)
        monkeypatch.setattr(socket, "if_nameindex", lambda: index)

    return install


def links() -> list[dict[str, Any]]:
    """What iproute2 tells of those that are up."""
    told = json.loads(subprocess.check_output(["ip", "-j", "addr"]))
    return [
        link for link in told if "UP" in link["flags"] and link["operstate"] in {"UP", "UNKNOWN"}
    ]


def told_addresses(link: dict[str, Any]) -> list[str]:
    """The addresses of a link, IPv4 first, link-local ones with their zone."""
    found: list[str] = []
    for info in sorted(link["addr_info"], key=lambda info: str(info["family"])):
        zone = f"%{link['ifname']}" if info["family"] == "inet6" and info["scope"] == "link" else ""
        found.append(info["local"] + zone)
    return found


def test_interfaces_are_what_ip_says() -> None:
    """Names, addresses, MTU and hardware addresses agree with iproute2, loopback last."""
    expected = sorted(links(), key=lambda link: "LOOPBACK" in link["flags"])
    found = network_interfaces()
    assert [each.name for each in found] == [link["ifname"] for link in expected]
    for each, link in zip(found, expected, strict=True):
        assert sorted(each.addresses) == sorted(told_addresses(link))
        assert each.ip_address == (each.addresses[0] if each.addresses else "")
        assert each.mtu == link["mtu"]
        assert each.mac_address == link["address"]
        assert each.is_loopback == ("LOOPBACK" in link["flags"])
        assert each.is_up


def test_masks_are_what_ip_says() -> None:
    """The mask belongs to the primary IPv4 address."""
    masks = {
        info["local"]: info["prefixlen"]
        for link in links()
        for info in link["addr_info"]
        if info["family"] == "inet"
    }
    for each in network_interfaces():
        if each.ip_address in masks:
            bits = (0xFFFFFFFF << (32 - masks[each.ip_address])) & 0xFFFFFFFF
            assert each.subnet_mask == socket.inet_ntoa(bits.to_bytes(4, "big"))


def test_interfaces_are_frozen_values() -> None:
    """A result never changes, and can be compared and kept in sets."""
    first = network_interfaces()[0]
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.name = "x"  # type: ignore[misc]
    assert not hasattr(first, "__dict__")
    assert first == network_interfaces()[0]
    assert len({first, network_interfaces()[0]}) == 1


def test_loopback_is_the_loopback_interface() -> None:
    """It is the last one of the list."""
    loopback = NetworkInterface.loopback()
    assert loopback == network_interfaces()[-1]
    assert loopback.ip_address == "127.0.0.1"
    assert loopback.is_loopback


def test_an_interface_by_its_place() -> None:
    """Places count from zero, as in the tuple."""
    every = network_interfaces()
    assert [network_interface(place) for place in range(len(every))] == list(every)


@pytest.mark.parametrize("place", [-1, 10_000])
def test_a_place_outside_the_list_is_an_index_error(place: int) -> None:
    """Negative places are mistakes, not places from the end."""
    with pytest.raises(IndexError, match=f"no interface {place}, there are"):
        network_interface(place)


def test_an_interface_by_its_name(fake: Any) -> None:
    """By name one finds those that are down as well, and is told so."""
    fake({"eth0": FakeStats(True, 1500), "eth1": FakeStats(False, 900)}, {})
    assert network_interface("eth0").is_up
    assert not network_interface("eth1").is_up
    assert [each.name for each in network_interfaces()] == ["eth0"]


def test_an_unknown_name_is_a_key_error() -> None:
    """The text names it."""
    with pytest.raises(KeyError, match="no interface 'nope'"):
        network_interface("nope")


@pytest.mark.parametrize("key", [1.0, None, b"lo"])
def test_a_key_of_another_type_is_a_type_error(key: Any) -> None:
    """Neither a place nor a name."""
    with pytest.raises(TypeError):
        network_interface(key)


def test_the_order_is_the_systems_with_loopback_last(fake: Any) -> None:
    """The order does not depend on the order in which psutil happens to find them."""
    fake(
        {
            "new": FakeStats(True, 1500),
            "lo": FakeStats(True, 65536, "up,loopback,running"),
            "wlan0": FakeStats(True, 1500),
            "eth0": FakeStats(True, 1500),
        },
        {},
        [(1, "lo"), (2, "eth0"), (3, "wlan0")],
    )
    assert [each.name for each in network_interfaces()] == ["eth0", "wlan0", "new", "lo"]


def test_the_primary_address_is_the_first_ipv4_one(fake: Any) -> None:
    """IPv4 comes first, whatever the order; without it the first IPv6 address counts."""
    six = FakeAddress(socket.AF_INET6, "fe80::1%eth0", "ffff:ffff:ffff:ffff::")
    four = FakeAddress(socket.AF_INET, "192.0.2.1", "255.255.255.0")
    other = FakeAddress(socket.AF_INET, "192.0.2.9", "255.255.255.128")
    stats = {"eth0": FakeStats(True, 1500), "eth1": FakeStats(True, 1500)}
    fake(stats, {"eth0": [six, four, other], "eth1": [six]})
    both, only_six = network_interfaces()
    assert both.ip_address == "192.0.2.1"
    assert both.subnet_mask == "255.255.255.0"
    assert both.addresses == ("192.0.2.1", "192.0.2.9", "fe80::1%eth0")
    assert only_six.ip_address == "fe80::1%eth0"
    assert only_six.subnet_mask == "ffff:ffff:ffff:ffff::"


def test_labelled_addresses_belong_to_their_interface(fake: Any) -> None:
    """``eth0:1`` is no interface, but a name that Linux gives to an address."""
    first = FakeAddress(socket.AF_INET, "192.0.2.1", "255.255.255.0")
    second = FakeAddress(socket.AF_INET, "192.0.2.2", None)
    up = FakeStats(True, 1500)
    fake({"eth01": up, "eth0": up}, {"eth0": [first], "eth0:1": [second]})
    assert network_interface("eth0").addresses == ("192.0.2.1", "192.0.2.2")
    assert [each.name for each in network_interfaces()] == ["eth01", "eth0"]


def test_labels_may_hold_only_the_beginning_of_the_name(fake: Any) -> None:
    """Both are limited to fifteen characters; a name with a colon of its own is no label."""
    up, address = FakeStats(True, 1500), FakeAddress(socket.AF_INET, "192.0.2.1", None)
    fake({"averylongname15": up, "a:b": up}, {"averylongname:1": [address], "a:b": [address]})
    assert [(each.name, each.addresses) for each in network_interfaces()] == [
        ("averylongname15", ("192.0.2.1",)),
        ("a:b", ("192.0.2.1",)),
    ]


def test_hardware_addresses_have_one_notation(fake: Any) -> None:
    """Windows writes them with dashes and capitals."""
    fake({"a": FakeStats(True, 1500)}, {"a": [FakeAddress(psutil.AF_LINK, "02-FC-00-00-00-01")]})
    assert network_interfaces()[0].mac_address == "02:fc:00:00:00:01"


def test_odd_interfaces_are_taken_as_they_are(fake: Any) -> None:
    """No address, no mask, no hardware address, a long name, point to point: all fine."""
    stats = {"averylongname15": FakeStats(True, 0), "tun0": FakeStats(True, 1420)}
    fake(stats, {"tun0": [FakeAddress(socket.AF_INET, "10.8.0.2", None)]})
    bare, tunnel = network_interfaces()
    assert bare == NetworkInterface("averylongname15", "", "", "", (), True, False, 0)
    assert tunnel == NetworkInterface("tun0", "10.8.0.2", "", "", ("10.8.0.2",), True, False, 1420)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_loopback_is_known_by_its_address_without_flags(fake: Any, address: str) -> None:
    """psutil knows no flags on Windows."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    fake({"Loopback": FakeStats(True, 1500)}, {"Loopback": [FakeAddress(family, address)]})
    assert network_interfaces()[0].is_loopback


def test_an_interface_that_appears_while_reading_is_down(fake: Any) -> None:
    """It has addresses already, but nobody said that it can carry traffic."""
    fake({}, {"eth3": [FakeAddress(socket.AF_INET, "192.0.2.3", "255.255.255.0")]})
    assert network_interfaces() == ()
    assert network_interface("eth3").addresses == ("192.0.2.3",)


def test_reading_is_tried_again_when_an_interface_vanishes_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One failure in the middle of a change is not seen by anybody."""
    expected = network_interfaces()
    real, failures = psutil.net_if_addrs, [OSError(19, "No such device"), ValueError("torn line")]

    def flaky() -> Any:
        if failures:
            raise failures.pop()
        return real()

    monkeypatch.setattr(psutil, "net_if_addrs", flaky)
    assert network_interfaces() == expected


def test_reading_never_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """When nothing can be read, nothing is there; loopback is what it is everywhere."""

    def broken() -> Any:
        raise OSError(19, "No such device")

    monkeypatch.setattr(psutil, "net_if_addrs", broken)
    monkeypatch.setattr(psutil, "net_if_stats", broken)
    monkeypatch.setattr(socket, "if_nameindex", broken)
    assert network_interfaces() == ()
    assert NetworkInterface.loopback().ip_address == "127.0.0.1"
    assert broadcast_address(NetworkInterface.loopback()) == "127.255.255.255"


@pytest.mark.parametrize(
    ("address", "mask", "broadcast"),
    [
        ("10.77.0.1", "255.255.255.0", "10.77.0.255"),
        ("10.77.1.1", "255.255.254.0", "10.77.1.255"),
        ("10.0.0.1", "255.0.0.0", "10.255.255.255"),
        ("10.0.0.1", "255.255.255.252", "10.0.0.3"),
        ("10.0.0.1", "0.0.0.0", "255.255.255.255"),
        ("10.0.0.0", "255.255.255.254", "255.255.255.255"),
        ("10.0.0.1", "255.255.255.255", "255.255.255.255"),
        ("10.0.0.1", "255.0.255.0", "10.255.0.255"),
        ("10.0.0.1", "", "255.255.255.255"),
        ("", "", "255.255.255.255"),
        ("fe80::1%eth0", "ffff:ffff:ffff:ffff::", "255.255.255.255"),
    ],
)
def test_the_broadcast_address_is_computed(address: str, mask: str, broadcast: str) -> None:
    """From address and mask; where there is no such thing the limited broadcast remains."""
    assert broadcast_address(make(address, mask)) == broadcast


def test_the_default_route_has_a_local_address() -> None:
    """It is one of this machine's."""
    every = {address for each in network_interfaces() for address in each.addresses}
    assert default_route_address(socket.AF_INET) in every
    assert default_route_address(socket.AF_INET6) in every
    assert default_route_address() == default_route_address(socket.AF_INET)


def test_nothing_is_sent_to_find_the_default_route(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connecting a datagram socket is all that happens, and it is closed again."""
    probes: list[socket.socket] = []
    real = socket.socket

    class Probe(real):  # type: ignore[valid-type, misc]
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            probes.append(self)

        def send(self, *args: Any) -> int:
            pytest.fail("sent something")

        sendto = send

    monkeypatch.setattr(socket, "socket", Probe)
    default_route_address()
    assert [(probe.type, probe.fileno()) for probe in probes] == [(socket.SOCK_DGRAM, -1)]


@pytest.fixture
def reachable(monkeypatch: pytest.MonkeyPatch) -> dict[int, str]:
    """The local addresses of the default routes; none to begin with."""
    routes: dict[int, str] = {}

    def route_address(family: int) -> str:
        return routes.get(family, "")

    monkeypatch.setattr(_interface, "_route_address", route_address)
    return routes


def test_without_a_default_route_it_is_loopback(reachable: dict[int, str]) -> None:
    """A machine that is offline can still talk to itself."""
    assert reachable == {}
    assert default_route_address(socket.AF_INET) == "127.0.0.1"
    assert default_route_address(socket.AF_INET6) == "::1"
    assert local_address_of(None) == "127.0.0.1"


def test_without_ipv4_the_local_address_is_an_ipv6_one(reachable: dict[int, str]) -> None:
    """IPv4 is preferred, IPv6 better than loopback."""
    reachable[socket.AF_INET6] = "2001:db8::5"
    assert local_address_of(None) == "2001:db8::5"
    reachable[socket.AF_INET] = "192.0.2.5"
    assert local_address_of(None) == "192.0.2.5"


def test_a_missing_family_or_descriptor_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """``local_address`` never raises."""

    def refused(*_: object) -> Any:
        raise OSError(97, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", refused)
    assert default_route_address(socket.AF_INET6) == "::1"
    assert local_address_of(None) == "127.0.0.1"


def test_the_chosen_interfaces_address_comes_first() -> None:
    """An interface without an address leaves it to the default route."""
    assert local_address_of(make("192.0.2.7", "255.255.255.0")) == "192.0.2.7"
    assert local_address_of(make()) == local_address_of(None)


def test_bindable_addresses_leave_out_what_cannot_be_bound() -> None:
    """Zones that are gone, and what is no address at all, are passed over."""
    interface = make("192.0.2.1", "", "192.0.2.1", "fe80::1%gone-away", "rubbish", "2001:db8::1")
    assert bindable_addresses(interface, 5) == [
        literal_address("192.0.2.1", 5),
        literal_address("2001:db8::1", 5),
    ]
