"""Ports, addresses and endpoints as values."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_xsock._machines.endpoint import (
    ResolvedAddress,
    address_text,
    check_address,
    check_port,
    format_endpoint,
    ip_address,
    is_link_local,
    literal_address,
    shown,
)
from trio_xsock._values.errors import ErrorCode, InvalidPortError, NameResolutionError

LOOPBACK_INDEX = socket.if_nameindex()[0][0]
LOOPBACK_NAME = socket.if_nameindex()[0][1]


@pytest.mark.parametrize("port", [1, 80, 65535])
def test_a_port_in_the_range_comes_back(port: int) -> None:
    """What is a port is handed back unchanged, whether or not zero would be allowed."""
    assert check_port(port, allow_zero=True) == port
    assert check_port(port, allow_zero=False) == port


@pytest.mark.parametrize("port", [-1, 65536, 65536 + 80, 2**64, -(2**64)])
def test_a_port_outside_the_range_is_refused(port: int) -> None:
    """No port is ever taken modulo 65536."""
    with pytest.raises(InvalidPortError, match=rf"must be in 0\.\.65535, not {port}"):
        check_port(port, allow_zero=True)


def test_zero_is_refused_where_it_makes_no_sense() -> None:
    """A client's port cannot be zero, and the text names the range that it may be in."""
    assert check_port(0, allow_zero=True) == 0
    with pytest.raises(InvalidPortError, match=r"must be in 1\.\.65535, not 0") as caught:
        check_port(0, allow_zero=False)
    assert caught.value.error_number == ErrorCode.INVALID_PORT_ERROR
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("port", ["80", 80.0, True, None, b"80"])
def test_a_port_of_another_type_is_a_type_error(port: object) -> None:
    """Only integers are ports; a truth value is none."""
    with pytest.raises(TypeError, match=f"port must be an int, not {type(port).__name__}"):
        check_port(port, allow_zero=True)


@pytest.mark.parametrize("address", ["", "example.org", "::1"])
def test_an_address_comes_back(address: str) -> None:
    """Any string may be an address; what it means is found out later."""
    assert check_address(address) == address


@pytest.mark.parametrize("address", [None, b"localhost", 1, ["::1"]])
def test_an_address_of_another_type_is_a_type_error(address: object) -> None:
    """Bytes and the rest are no addresses."""
    with pytest.raises(TypeError, match="address must be a str, not"):
        check_address(address)


def test_endpoints_of_ipv6_get_brackets() -> None:
    """The colon before the port can be told from those inside the address."""
    assert format_endpoint("::1", 80) == "[::1]:80"
    assert format_endpoint("fe80::1%eth0", 80) == "[fe80::1%eth0]:80"
    assert format_endpoint("127.0.0.1", 80) == "127.0.0.1:80"
    assert format_endpoint("example.org", 80) == "example.org:80"


def test_hosts_are_shown_printable_and_not_endless() -> None:
    """Messages stay one short line, whatever was given as the host."""
    assert shown("a\nb\udcff") == r"'a\nb\udcff'"
    assert shown("x" * 80) == "'" + "x" * 80 + "'"
    assert shown("x" * 81) == "'" + "x" * 80 + "'... (81 characters)"


@pytest.mark.parametrize(
    ("host", "family", "address"),
    [
        ("127.0.0.1", socket.AF_INET, ("127.0.0.1", 9)),
        ("::1", socket.AF_INET6, ("::1", 9, 0, 0)),
        ("0:0:0:0:0:0:0:1", socket.AF_INET6, ("::1", 9, 0, 0)),
        ("FE80::1", socket.AF_INET6, ("fe80::1", 9, 0, 0)),
        ("fe80::1%7", socket.AF_INET6, ("fe80::1", 9, 0, 7)),
        (f"fe80::1%{LOOPBACK_NAME}", socket.AF_INET6, ("fe80::1", 9, 0, LOOPBACK_INDEX)),
        ("::ffff:192.0.2.1", socket.AF_INET, ("192.0.2.1", 9)),
        ("::ffff:c000:201", socket.AF_INET, ("192.0.2.1", 9)),
    ],
)
def test_literals_are_read(
    host: str, family: socket.AddressFamily, address: tuple[str, int]
) -> None:
    """IPv4, IPv6 in any spelling, zones by name and number, and mapped IPv4 are understood."""
    assert literal_address(host, 9) == ResolvedAddress(family, address)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost",
        "127.0.0.1.",
        "127.1",
        "1.2.3.4\0",
        "::1\0",
        "\udcff",
        "[::1]",
        "127.0.0.1%1",
    ],
)
def test_names_are_no_literals(host: str) -> None:
    """What only resembles an address is left to the resolver, without an exception."""
    assert literal_address(host, 9) is None


@pytest.mark.parametrize(
    "zone", ["", "no such zone", "\0", "\udcff", "4294967296", "\N{FULLWIDTH DIGIT ONE}"]
)
def test_an_unknown_zone_is_a_resolution_error(zone: str) -> None:
    """An address on an interface that is not there cannot be reached; the text shows it."""
    with pytest.raises(NameResolutionError, match="names no interface of this machine") as caught:
        literal_address(f"fe80::1%{zone}", 9)
    assert caught.value.__cause__ is not None
    assert "'fe80::1%" in str(caught.value)


def test_link_local_addresses_are_recognised() -> None:
    """All of fe80::/10, and nothing else, needs a zone."""
    for host in ("fe80::1", "febf::1"):
        assert is_link_local(literal_address(host, 0) or pytest.fail(host))
    for host in ("fec0::1", "::1", "169.254.0.1"):
        assert not is_link_local(literal_address(host, 0) or pytest.fail(host))


def test_mapped_addresses_are_shown_as_ipv4() -> None:
    """Users of a dual-stack socket see IPv4 peers as IPv4."""
    assert address_text(("::ffff:192.0.2.1", 9, 0, 0)) == "192.0.2.1"
    assert address_text(("::ffff:0:0", 9, 0, 0)) == "::ffff:0:0"


def test_zones_are_shown_by_name() -> None:
    """A link-local address keeps the zone by which it can be answered."""
    assert address_text(("fe80::1", 9, 0, LOOPBACK_INDEX)) == f"fe80::1%{LOOPBACK_NAME}"
    assert address_text(("fe80::1%eth0", 9, 0, 2)) == "fe80::1%eth0"
    assert address_text(("fe80::1", 9, 0, 0)) == "fe80::1"
    assert address_text(("192.0.2.1", 9)) == "192.0.2.1"


def test_the_zone_of_a_vanished_interface_is_shown_by_number() -> None:
    """Two vanished zones can still be told apart."""
    assert address_text(("fe80::1", 9, 0, 999_999)) == "fe80::1%999999"


@given(st.ip_addresses(), st.integers(0, 65535))
def test_shown_addresses_can_be_read_back(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int
) -> None:
    """Reading and showing undo each other for every address there is."""
    read = literal_address(str(address), port)
    assert read is not None
    shown_text = address_text(read.address)
    assert literal_address(shown_text, port) == read
    assert read.address[1] == port


@pytest.mark.parametrize(
    ("text", "shown"),
    [("127.0.0.1", "127.0.0.1"), ("::ffff:127.0.0.1", "127.0.0.1"), ("FE80:0::1%lo", "fe80::1%lo")],
)
def test_ip_addresses_are_shown_as_a_sender_is(text: str, shown: str) -> None:
    """So that they can be compared."""
    assert ip_address(text) == shown


@pytest.mark.parametrize("text", ["localhost", "", "127.0.0", "127.0.0.1."])
def test_what_is_no_ip_address_is_refused(text: str) -> None:
    """Names, and what is nearly an address."""
    with pytest.raises(NameResolutionError, match="an IP address is needed here"):
        ip_address(text)
    with pytest.raises(TypeError):
        ip_address(None)
